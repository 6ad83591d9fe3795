"""Power spectra: blur, noise, and checkerboards, which are narrow peaks that real images do not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.metrics.appearance import (
    Profiles,
    chosen_rows,
    chunks,
    compare,
    drawn,
    joined,
    ratio_off,
    reference,
)
from ganatomy.metrics.base import MIN_SUBJECTS, POSITIVE, About, Images, Result, Sample, Samples
from ganatomy.metrics.permutation import significant
from ganatomy.statistics.resampling import (
    BOOTSTRAPS,
    HALVINGS,
    Array,
    bootstrap_interval,
    central,
    halvings,
    multinomial_weights,
)

ORDER = 15
NAME, SHARPNESS = "Spectrum", "Sharpness"
ABOUT = (
    About(NAME, "How far apart the power spectra are, from coarse to fine detail. Blur shows as too little at high "
          "frequencies, a checkerboard as a peak.", "realistic", "lower", span=POSITIVE),
    About(SHARPNESS, "How much fine detail the images hold. Should match: less is blur, more is noise.", "realistic",
          "match", span=POSITIVE),
)
LEAST = 1.0  # dB: a smaller difference matters to nobody
ROUNDING = (2 / 255) ** 2 / 12  # power of rounding to 256 grey levels: weaker frequencies cannot be seen
_FINE = 0.25  # cycles a pixel: the upper half of the frequencies
GROUPS = 20  # groups of subjects, of which the spread is taken
LEAST_EXCESS = 3.0  # dB
ERRORS = 6.0  # standard errors, and spreads over frequencies: there are thousands, and 20 groups or fewer
MOST = 8
_LOWEST = 1 / 10  # cycles a pixel: below it anatomy itself is narrow
_NEAR, _FAR = 5, 9  # the neighbourhood of a frequency: a square ring, 9 wide with a hole of 5
_CAVEAT = "from 1 cycle an image to 1/2 a pixel; power below that of rounding to 256 grey levels does not count"


def power(images: Images) -> NDArray[np.float32]:
    """The power spectrum of each image under a Hann window, its windowed mean removed, averaged over channels.

    Scaled so that the mean over all frequencies is the image's variance under the window (Parseval).

    Args:
        images: [n, c, s, s].

    Returns:
        [n, s, s // 2 + 1], the half plane of `scipy.fft.rfft2`; the grey scale is 2 wide.
    """
    from scipy.fft import rfft2

    size = images.shape[-1]
    line = np.sin(np.pi * (np.arange(size) + 0.5) / size) ** 2
    window = (line[:, None] * line).astype(np.float32)
    mean = np.einsum("ncyx,yx->nc", images, window) / window.sum()
    spectrum = rfft2((images - mean[..., None, None].astype(np.float32)) * window)
    squared: NDArray[np.float32] = (spectrum.real ** 2 + spectrum.imag ** 2).mean(1)
    squared /= np.float32(np.square(window, dtype=np.float64).sum())
    return squared


def frequencies(size: int) -> tuple[Array, Array]:
    """Of the half plane of `power`: cycles a pixel [s, s // 2 + 1], and how often each counts in the whole plane."""
    along, across = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    counts = np.full(len(across), 2.0)
    counts[0] = 1.0
    if size % 2 == 0:
        counts[-1] = 1.0
    return np.hypot(along[:, None], across), np.broadcast_to(counts, (size, len(across)))


@dataclass(frozen=True)
class Spectra:
    """Of a sample: every image's radial spectrum [n, k] in dB, its power in the upper half of the frequencies [n, 1],
    and mean 2-D spectra in dB of up to 20 groups of subjects, with the images in each."""

    radial: Profiles
    fine: Profiles
    maps: Array
    counts: Array

    @classmethod
    def of(cls, sample: Sample, seed: int) -> Spectra:
        """Measure them; of more than 2,000 images, 2,000 drawn at random."""
        rows, size = chosen_rows(sample.n_images, 410, seed), sample.images.shape[-1]
        radius, weight = frequencies(size)
        ring = np.rint(radius * size).astype(np.intp)
        rings = _rings(ring, weight, size // 2)
        upper = np.where((radius >= _FINE) & (ring <= size // 2), weight, 0).ravel()
        groups = np.random.default_rng((seed, 411)).permutation(sample.n_subjects)[sample.subjects[rows]] % GROUPS
        radial, fine, start = [], [], 0
        sums, counts = np.zeros((GROUPS, radius.size)), np.bincount(groups, minlength=GROUPS).astype(np.float64)
        for chunk in chunks(sample, rows):
            flat = power(chunk).reshape(len(chunk), -1)
            radial.append(10 * np.log10((rings @ flat.T).T + ROUNDING))
            fine.append(flat @ upper / upper.sum())
            member = groups[start:start + len(chunk)] == np.arange(GROUPS)[:, None]
            sums += member.astype(np.float32) @ (10 * np.log10(flat + np.float32(ROUNDING)))
            start += len(chunk)
        kept = counts > 0
        maps, counts = sums.reshape(GROUPS, *radius.shape)[kept] / counts[kept, None, None], counts[kept]
        return cls(Profiles.of(np.concatenate(radial).astype(np.float64), sample, rows),
                   Profiles.of(np.concatenate(fine)[:, None].astype(np.float64), sample, rows), maps, counts)


def _rings(ring: NDArray[np.intp], weight: Array, most: int) -> Any:
    """What averages the half plane over rings 1 to `most`: sparse [most, frequencies]."""
    from scipy.sparse import csr_array

    inside = np.flatnonzero((ring.ravel() >= 1) & (ring.ravel() <= most))
    weights, number = weight.ravel()[inside], ring.ravel()[inside] - 1
    shares = (weights / np.bincount(number, weights)[number]).astype(np.float32)
    return csr_array((shares, (number, inside)), shape=(most, ring.size))


def decibels(a: Array, b: Array) -> Array:
    """Root mean square difference over frequencies of spectra in dB: [draws, k], either with one row -> [draws]."""
    return np.asarray(np.sqrt(np.square(a - b).mean(1)))


def compute(samples: Samples) -> list[Result]:
    """The spectrum's distance and the sharpness of synthetic images, against test and against train."""
    synthetic = Spectra.of(samples.synthetic, samples.seed)
    real = {against: Spectra.of(sample, samples.seed) for against, sample in samples.real()}
    size, results = samples.test.images.shape[-1], []
    notes = {against: joined(drawn(sample, "real"), drawn(samples.synthetic, "synthetic"))
             for against, sample in samples.real()}
    for against, own in real.items():
        fields: dict[str, Any] = {}
        if not samples.control:
            train = real["train"].radial if "train" in real else None
            fields = {"reference": reference(samples, against, train, own.radial, decibels),
                      "details": _details(own, synthetic, size)}
        results.append(compare(NAME, against, own.radial, synthetic.radial, decibels, samples.seed,
                               not samples.control, caveat=joined(_CAVEAT, notes[against]), **fields))
    return results + [_sharpness(samples, against, own.fine, synthetic.fine, notes[against])
                   for against, own in real.items()]


def _details(real: Spectra, synthetic: Spectra, size: int) -> dict[str, Any]:
    """Curves for a plot, with the central 95% of the real subjects (None below five), and the peaks."""
    subjects = len(real.radial.names)
    low = high = None
    if subjects >= MIN_SUBJECTS:
        low, high = np.quantile(real.radial.mean(np.eye(subjects)), [0.025, 0.975], axis=0).round(2).tolist()
    return {"frequency": (np.arange(1, size // 2 + 1) / size).tolist(),
            "real": real.radial.mean()[0].round(2).tolist(), "synthetic": synthetic.radial.mean()[0].round(2).tolist(),
            "real_low": low, "real_high": high,
            "peaks": peaks((real.maps, real.counts), (synthetic.maps, synthetic.counts))}


def _sharpness(samples: Samples, against: str, real: Profiles, synthetic: Profiles, note: str) -> Result:
    """The power in the upper half of the frequencies: below real images it is blur, above them noise."""
    value, theirs = float(synthetic.mean()[0, 0]), float(real.mean()[0, 0])
    few = len(real.names) < MIN_SUBJECTS
    rng = np.random.default_rng((samples.seed, 412))
    draws, real_draws = (p.mean(multinomial_weights(len(p.names), BOOTSTRAPS, rng))[:, 0] for p in (synthetic, real))
    extra: dict[str, Any] = {} if few else {"interval": bootstrap_interval(value, draws, len(synthetic.names))}
    if not samples.control:
        interval = None if few else bootstrap_interval(theirs, real_draws, len(real.names))
        extra |= {"reference": {"what": f"{against} images", "value": theirs, "interval": interval,
                                "n_images": len(real.values)}, "floor": theirs, "floor_interval": interval}
    if not samples.control and theirs > 0:
        extra["ratio"] = value / theirs
        fewest = min(len(real.names), len(synthetic.names))
        if fewest >= MIN_SUBJECTS:
            with np.errstate(divide="ignore", invalid="ignore"):
                extra["ratio_interval"] = bootstrap_interval(value / theirs, draws / real_draws, fewest)
            extra["details"] = {"halves": _halves(real, samples.seed)}
    caveat = joined("power between 1/4 and 1/2 cycles a pixel: below real images blur, above them noise", note)
    return Result(name=SHARPNESS, against=against, value=value, n_images=len(real.values), n_subjects=len(real.names),
                  n_synthetic=len(synthetic.values), better="match", ranked=False, caveat=caveat, **extra)


def _halves(real: Profiles, seed: int) -> list[float] | None:
    """The central 95% of the ratio between random halves of the real subjects."""
    a = halvings(len(real.names), HALVINGS, np.random.default_rng((seed, 413)))
    own, other = real.mean(a)[:, 0], real.mean(1 - a)[:, 0]
    return list(central(own / other)) if (other > 0).all() else None


def fault(result: Result) -> str:
    """That the spectrum (a peak; or the permutation test, and 1 dB more than by chance) or the sharpness is off."""
    if result.name == SHARPNESS:
        side = ratio_off(result)
        return f"Fine detail has {result.ratio:.2g} times the power of real images: the images are " \
            f"{'blurred' if side == 'low' else 'noisy'}." if side else ""
    named = (result.details or {}).get("peaks") or []
    if named:
        each = [f"every {p['period_px']:g} px, {p['direction']}, {p['excess_db']:.0f} dB" for p in named[:3]]
        return f"A regular pattern that real images do not have: {'; '.join(each)}."
    off = significant(result, LEAST)
    return f"The power spectrum is off by {result.value:.1f} dB (root mean square)." if off else ""


def peaks(real: tuple[Array, Array], synthetic: tuple[Array, Array]) -> list[dict[str, Any]]:
    """The peaks, strongest first, at most eight.

    A frequency stands out by how far it is above the mean of its neighbourhood. It is a peak if synthetic images stand
    out there more than at the frequencies next to it, and more than real ones by 3 dB, six standard errors, and six
    times the spread over all frequencies: a few images that are repeated have rough spectra everywhere.

    Args:
        real, synthetic: mean spectra of groups of subjects in dB [g, s, s // 2 + 1], and their numbers of images [g].

    Returns:
        {"period_px", "direction", "excess_db"} of each: "horizontal" repeats from left to right. Stripes both ways, or
        the checks between them, are "both (checkerboard)".
    """
    from scipy.ndimage import maximum_filter

    size = real[0].shape[1]
    (own, own_error), (theirs, error) = _standing_out(*synthetic), _standing_out(*real)
    if error is None or (own_error is not None and len(real[1]) < 5):
        error = None if own_error is None else own_error * synthetic[1].sum() / real[1].sum()
    if error is None:
        return []
    own_error = error * real[1].sum() / synthetic[1].sum() if own_error is None else own_error
    excess = own - theirs
    spread = 1.4826 * float(np.median(np.abs(excess - np.median(excess))))  # of a normal distribution its deviation
    limit = np.maximum(max(LEAST_EXCESS, ERRORS * spread), ERRORS * np.sqrt(own_error + error))
    radius, _ = frequencies(size)
    highest = maximum_filter(excess, 3, mode=("wrap", "nearest"))
    high = (excess >= limit) & (own >= LEAST_EXCESS) & (radius >= max(_LOWEST, 4 / size)) & (excess >= highest)
    return _merged([_named(y, x, size, float(excess[y, x])) for y, x in zip(*np.nonzero(high), strict=True)])


def _standing_out(maps: Array, counts: Array) -> tuple[Array, Array | None]:
    """How far each frequency is above its neighbourhood, dB, and the square of its standard error (None of one group).

    The error is smoothed over the neighbourhood, as there are only twenty groups.
    """
    from scipy.ndimage import uniform_filter

    above = np.stack([_above(x) for x in maps])
    shares = counts / counts.sum()
    mean: Array = np.tensordot(shares, above, 1)
    if len(maps) < 2:
        return mean, None
    squared = np.tensordot(shares ** 2, np.square(above - mean), 1) * len(maps) / (len(maps) - 1)
    error: Array = np.maximum(uniform_filter(squared, _FAR, mode="nearest"), 0)
    return mean, error


def _above(half: Array) -> Array:
    """A half plane less the mean of each frequency's neighbourhood in the whole plane, which is periodic."""
    from scipy.ndimage import uniform_filter

    size, across = half.shape
    mirrored = np.roll(half[::-1, 1:(size + 1) // 2][:, ::-1], 1, axis=0)
    whole = np.concatenate([half, mirrored], 1)
    far, near = (uniform_filter(whole, width, mode="wrap") * width ** 2 for width in (_FAR, _NEAR))
    return np.asarray((whole - (far - near) / (_FAR ** 2 - _NEAR ** 2))[:, :across])


def _named(row: int, column: int, size: int, excess: float) -> dict[str, Any]:
    y, x = abs(float(np.fft.fftfreq(size)[row])), float(np.fft.rfftfreq(size)[column])
    tolerance = 1.5 / size  # a window widens a peak
    if y < tolerance or x < tolerance:
        direction, frequency = ("horizontal", x) if y < tolerance else ("vertical", y)
    elif abs(x - y) < tolerance:
        direction, frequency = ("both (checkerboard)" if min(x, y) > 0.5 - tolerance else "diagonal"), max(x, y)
    else:
        direction, frequency = "diagonal", float(np.hypot(x, y))
    return {"period_px": round(1 / frequency, 2), "direction": direction, "excess_db": round(excess, 1)}


def _merged(peaks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One entry for each period: peaks in two directions make a checkerboard."""
    merged: dict[float, dict[str, Any]] = {}
    for peak in sorted(peaks, key=lambda p: -p["excess_db"]):
        first = merged.setdefault(peak["period_px"], dict(peak))
        if peak["direction"] != first["direction"]:
            first["direction"] = "both (checkerboard)"
    return list(merged.values())[:MOST]
