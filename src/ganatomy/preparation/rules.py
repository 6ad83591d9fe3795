"""Which intensity mapping suits a domain: by its modality, the type of its values, or, failing both, by their look."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.intensity import AIR, ARBITRARY, HOUNSFIELD, Decision, Method
from ganatomy.formats import Pixels

DType = np.dtype[Any]

WIDE = (0.0, 2000.0)
LARGEST = 1e30
"""No value of an image reaches it, and differences of smaller ones are finite."""
WINDOWS: dict[str, tuple[float, float]] = {
    "brain": (40, 80), "subdural": (75, 215), "stroke": (40, 40), "temporal": (600, 2800), "soft": (40, 400),
    "lung": (-600, 1500), "mediastinum": (50, 350), "abdomen": (50, 400), "liver": (30, 150), "bone": (400, 1800),
}
"""Centre and width in HU of the usual windows: Radiopaedia, "Windowing (CT)", doi 10.53347/rID-52108. Where it gives
ranges their middle stands here: subdural 50-100 / 130-300, soft tissues of the neck 20-60 / 350-400 (of which the
wider end)."""

XRAY = frozenset({"CR", "DX", "DR", "RG", "XA", "RF", "MG", "PX", "IO"})
PHOTOGRAPH = frozenset({"XC", "GM", "SM", "ES", "OP"})
BYTE = np.dtype(np.uint8)
_HERE = "--intensity"
SAMPLE_VALUES = 400_000
_UNSCALED = 800
"""If a tenth of the values is above this and none below zero, they were not rescaled: no patient is all bone."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What --intensity asked for: a method or auto, and the ends where it names them."""

    method: Method | str
    low: float | None = None
    high: float | None = None


def parse_intensity(text: str) -> Choice:
    """The choice in `auto`, `identity`, `percentile`, `minmax`, `window`, `window:NAME`, `window:CENTRE/WIDTH` (HU) or
    `fixed:LOW:HIGH` (the files' values).

    Raises:
        UserError: anything else.
    """
    if not isinstance(text, str):
        raise _unknown(text)
    method, _, rest = text.strip().lower().partition(":")
    if method in ("auto", "identity", "percentile", "minmax") and ":" not in text:
        return Choice(method)
    if method == "window":
        centre, width = _window(text, rest) if ":" in text else WIDE
        return Choice("window", centre - width / 2, centre + width / 2)
    if method == "fixed":
        low, high = _two_numbers(text, rest, ":")
        if not low < high:
            raise UserError(f"{text!r} does not rise", where=_HERE, fix="give the lower value first: fixed:0:4095")
        return Choice("fixed", low, high)
    raise _unknown(text)


def _window(text: str, rest: str) -> tuple[float, float]:
    if rest in WINDOWS:
        return WINDOWS[rest]
    centre, width = _two_numbers(text, rest, "/")
    if width <= 0:
        raise UserError(f"{text!r} has no width", where=_HERE, fix="give centre/width in HU: window:40/400")
    return centre, width


def _two_numbers(text: str, rest: str, sign: str) -> tuple[float, float]:
    try:
        one, two = (float(part) for part in rest.split(sign))
    except ValueError as error:
        raise _unknown(text) from error
    if not max(abs(one), abs(two)) < LARGEST or math.isnan(two):
        raise _unknown(text)
    return one, two


def _unknown(text: object) -> UserError:
    return UserError(f"{text!r} is unknown", where=_HERE,
                     fix=f"use auto, identity, percentile, minmax, window, window:NAME ({', '.join(WINDOWS)}), "
                         "window:CENTRE/WIDTH or fixed:LOW:HIGH")


def needs_sample(modalities: Set[str], dtypes: Set[DType], wanted: Choice) -> bool:
    """Whether `choose` has to see values: it must where the files leave open whether they are Hounsfield units."""
    return dtypes != {BYTE} and modalities - {""} <= {"CT"} and wanted.method != "identity"


def pool(pictures: Iterable[Pixels], volumes: int) -> NDArray[np.float32]:
    """A sample of values for `choose`, evenly from each of about `volumes` arrays of pixels."""
    share = SAMPLE_VALUES // max(1, volumes)
    taken = [p.ravel()[:: max(1, p.size // share)].astype(np.float32) for p in pictures]
    return np.concatenate(taken) if taken else np.zeros(0, np.float32)


def looks_like_hounsfield(values: NDArray[Any]) -> bool:
    """Whether values can only be those of CT in Hounsfield units.

    They must have a heap at air (-1000, or -1024 where cut off) and one at soft tissue (within 150 of water), each
    denser than what lies beside it (lung, bone), hardly anything between air and the padding, and padding of few
    values. Phases, difference images and standardised MR have values on both sides of zero too, but no such heaps.
    """
    values = np.asarray(values, np.float32).ravel()
    if values.size < 100:
        return False

    def share(low: float, high: float) -> float:
        return float(((values >= low) & (values <= high)).mean())

    padding = values[values < AIR - 100]
    if padding.size:
        counts = np.unique(padding, return_counts=True)[1]
        if np.sort(counts)[-3:].sum() < 0.9 * padding.size or float(padding.min()) < -8192:
            return False
    air, soft = share(AIR - 100, AIR + 100), share(-150, 150)
    lung, bone = share(-800, -300), share(300, 800)
    return air >= 0.02 and soft >= 0.05 and air / 200 > 2 * lung / 500 and soft / 300 > 2 * bone / 500


def choose(domain: str, modalities: Set[str], dtypes: Set[DType], wanted: Choice,
           sample: NDArray[Any] | None = None) -> Decision:
    """How a domain is mapped.

    Args:
        domain: its name, for the reason.
        modalities: what its files say, as DICOM calls them; "" for those that say nothing.
        dtypes: of the files' values.
        wanted: see `parse_intensity`.
        sample: values of some of its volumes; see `needs_sample`.
    """
    known = modalities - {""}
    hounsfield = dtypes != {BYTE} and _hounsfield(known, sample)
    units = HOUNSFIELD if hounsfield else ARBITRARY
    xray = bool(known) and known <= XRAY
    if wanted.method == "window" and not hounsfield and (known or BYTE in dtypes):
        automatic = choose(domain, modalities, dtypes, Choice("auto"), sample)
        why = automatic.reason.removeprefix(f"{domain}: ")
        return replace(automatic, reason=f"{domain}: no CT in Hounsfield units, to which a window applies; {why}")
    if wanted.method == "window":
        return _windowed(domain, wanted, "as asked")
    if wanted.method != "auto":
        named: Mapping[str, Method] = {"identity": "identity", "percentile": "percentile", "minmax": "minmax"}
        ends = "" if wanted.low is None else f" from {wanted.low:g} to {wanted.high:g}"
        return Decision(named.get(wanted.method, "fixed"), wanted.low, wanted.high, units,
                        f"{domain}: {wanted.method}{ends}, as asked", xray)
    if dtypes == {BYTE}:
        return Decision("identity", None, None, units, f"{domain}: 8 bits a pixel, kept as they are")
    if hounsfield:
        return _windowed(domain, Choice("window", *_ends(WIDE)),
                         "CT, in Hounsfield units" if known else "the values look like Hounsfield units (air near "
                         "-1000, soft tissue near 0; --intensity percentile if they are not)")
    return Decision("percentile", None, None, units, f"{domain}: {_why_percentile(known, dtypes)}", xray)


def no_window(samples: Mapping[str, NDArray[Any] | None], wanted: Choice, has_ct: bool) -> list[str]:
    """Domains without a modality that must not be windowed though asked: another looks like CT, and these do not.

    Args:
        samples: values of each domain whose files name no modality; None for the others.
        wanted: see `parse_intensity`.
        has_ct: the modality of another domain is CT.
    """
    like = {domain: looks_like_hounsfield(values) for domain, values in samples.items() if values is not None}
    if wanted.method != "window" or not (has_ct or any(like.values())):
        return []
    return [domain for domain, hounsfield in like.items() if not hounsfield]


def _ends(window: tuple[float, float]) -> tuple[float, float]:
    return window[0] - window[1] / 2, window[0] + window[1] / 2


def _hounsfield(known: Set[str], sample: NDArray[Any] | None) -> bool:
    """Whether the values are Hounsfield units: CT, unless its values were never rescaled, or what looks like it."""
    if known == {"CT"}:
        if sample is None or not sample.size:
            return True
        return float(sample.min()) < 0 or float(np.percentile(sample, 90)) < _UNSCALED
    return not known and sample is not None and looks_like_hounsfield(sample)


def _windowed(domain: str, wanted: Choice, why: str) -> Decision:
    text = (f"{domain}: {why}: {wanted.low:g} to {wanted.high:g} HU are kept and what lies outside is clipped; "
            "--intensity window:brain (or soft, lung, bone, 40/80, ...) gives one tissue more contrast")
    return Decision("window", wanted.low, wanted.high, HOUNSFIELD, text)


def _why_percentile(known: Set[str], dtypes: Set[DType]) -> str:
    usual = "each volume runs from its background to its 99.8th percentile"
    if BYTE in dtypes:
        return f"some files hold 8 bits a pixel and others more, so {usual}"
    if len(known) > 1 and not known <= XRAY and not known <= PHOTOGRAPH:
        return f"it mixes {' and '.join(sorted(known))}, so {usual}"
    if known == {"MR"}:
        return f"MR has no absolute unit, so {usual}"
    if known == {"CT"}:
        return f"CT whose values are never below 0 and so no Hounsfield units (was it rescaled?), so {usual}"
    if known == {"PT"}:
        return f"PET uptake depends on dose and time, so {usual}; --intensity fixed:LOW:HIGH keeps SUV comparable"
    if known == {"NM"}:
        return f"counts depend on dose and time, so {usual}"
    if known and known <= XRAY:
        return ("X-ray values depend on exposure and processing, so each image runs from the 0.1th to the 99.9th "
                "percentile of what is neither collimator, bare beam nor saturated")
    if known:
        return f"{' and '.join(sorted(known))} with more than 8 bits a pixel has no absolute unit, so {usual}"
    return f"no file names a modality and the values do not look like Hounsfield units, so {usual}"


def settle(decisions: Mapping[str, Decision], dtypes: Mapping[str, Set[DType]]) -> tuple[dict[str, Decision], DType]:
    """The type in which a dataset is stored, and the decisions adapted to it.

    If every domain keeps its values, they are stored in the files' type (float32 where they differ). Otherwise all is
    uint16, and domains that keep theirs lose nothing: bytes are spread over it (x 257), 16-bit values shifted.

    Args:
        decisions: by domain.
        dtypes: of each domain's files.
    """
    every = set[DType]().union(*dtypes.values())
    if all(decision.method == "identity" for decision in decisions.values()):
        return dict(decisions), next(iter(every)) if len(every) == 1 else np.dtype(np.float32)
    return ({domain: _spread(decision, sorted(dtypes[domain], key=str)) for domain, decision in decisions.items()},
            np.dtype(np.uint16))


def _spread(decision: Decision, dtypes: Sequence[DType]) -> Decision:
    """`decision` such that values kept as they are fit into uint16; floats and mixtures are mapped by extremes."""
    if decision.method != "identity":
        return decision
    if len(dtypes) > 1 or dtypes[0].kind == "f":
        return replace(decision, method="minmax")
    ends = np.iinfo(dtypes[0])
    return replace(decision, low=float(ends.min), high=float(ends.max))
