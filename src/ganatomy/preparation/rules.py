"""Which intensity mapping suits a domain: by its modality, the type of its values, or, failing both, by their look."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.data.intensity import AIR, ARBITRARY, HOUNSFIELD, Decision
from ganatomy.formats import Pixels

DType = np.dtype[Any]

WIDE = (-1000.0, 1000.0)
"""HU that `window` keeps."""
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
BYTE = np.dtype(np.uint8)
SAMPLE_VALUES = 400_000
_UNSCALED = 800
"""If a tenth of the values is above this and none below zero, they were not rescaled: no patient is all bone."""
_USUAL = "so each volume runs from its background to its 99.8th percentile"
_NO_UNIT = {"MR": "MR has no absolute unit", "NM": "counts depend on dose and time",
            "PT": "PET uptake depends on dose and time (--intensity fixed:LOW:HIGH keeps SUV comparable)",
            "CT": "its values are never below 0 and so no Hounsfield units (was it rescaled?)",
            "": "no file names a modality and the values do not look like Hounsfield units"}
"""Why the values of a modality cannot be compared between volumes."""


_PLAIN = {"auto": None, "identity": Decision("identity"), "percentile": Decision("percentile"),
          "minmax": Decision("minmax"), "window": Decision("window", *WIDE)}


def parse_intensity(text: str) -> Decision | None:
    """What --intensity asks for, None for `auto`. Raises `UserError`."""
    asked = str(text).strip().lower()
    if asked in _PLAIN:
        return _PLAIN[asked]
    word, _, rest = asked.partition(":")
    low = high = math.nan
    with suppress(ValueError):
        if word == "window":
            centre, width = WINDOWS.get(rest) or [float(part) for part in rest.split("/")]
            low, high = centre - width / 2, centre + width / 2
        elif word == "fixed":
            low, high = (float(part) for part in rest.split(":"))
    if not -LARGEST < low < high < LARGEST:
        raise UserError(f"{text!r} is unknown", where="--intensity",
                        fix=f"use auto, identity, percentile, minmax, window, window:NAME ({', '.join(WINDOWS)}), "
                            "window:CENTRE/WIDTH or fixed:LOW:HIGH")
    return Decision("window" if word == "window" else "fixed", low, high)


def needs_sample(modalities: Set[str], dtypes: Set[DType], wanted: Decision | None) -> bool:
    """Whether `choose` has to see values: it must where the files leave open whether they are Hounsfield units."""
    return dtypes != {BYTE} and modalities - {""} <= {"CT"} and (wanted is None or wanted.method != "identity")


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


def has_no_air(values: NDArray[Any]) -> bool:
    """Whether a volume's values can hardly be Hounsfield units: nothing is as dark as air or lung."""
    return bool(values.size and values.min() > AIR / 5)


def choose(modalities: Set[str], dtypes: Set[DType], wanted: Decision | None,
           sample: NDArray[Any] | None = None) -> Decision:
    """How a domain is mapped, and why: by the modalities of its files, as DICOM calls them ("" for those that say
    nothing), the dtypes of their values, what is wanted, and values of some volumes (see `needs_sample`)."""
    known = modalities - {""}
    hounsfield = dtypes != {BYTE} and _hounsfield(known, sample)
    xray = bool(known) and known <= XRAY
    if wanted is not None and wanted.method == "window":
        if hounsfield or not (known or BYTE in dtypes):
            return _windowed(wanted, "as asked")
        automatic = choose(modalities, dtypes, None, sample)
        return replace(automatic, reason=f"no CT in Hounsfield units, to which a window applies; {automatic.reason}")
    if wanted is not None:
        ends = "" if wanted.low is None else f" from {wanted.low:g} to {wanted.high:g}"
        return replace(wanted, units=HOUNSFIELD if hounsfield else ARBITRARY,
                       reason=f"{wanted.method}{ends}, as asked", projection=xray)
    if dtypes == {BYTE}:
        return Decision("identity", reason="8 bits a pixel, kept as they are")
    if hounsfield:
        return _windowed(Decision("window", *WIDE), "CT, in Hounsfield units" if known else
                         "the values look like Hounsfield units (air near -1000, soft tissue near 0; --intensity "
                         "percentile if they are not)")
    return Decision("percentile", reason=_why_percentile(known, dtypes), projection=xray)


def no_window(samples: Mapping[str, NDArray[Any] | None], wanted: Decision | None, has_ct: bool) -> list[str]:
    """Domains without a modality that must not be windowed though asked: another looks like CT, and these do not.

    `samples` holds values of each domain whose files name no modality, None for the others.
    """
    if wanted is None or wanted.method != "window":
        return []
    like = {domain: looks_like_hounsfield(values) for domain, values in samples.items() if values is not None}
    return [domain for domain, hounsfield in like.items() if not hounsfield and (has_ct or any(like.values()))]


def _hounsfield(known: Set[str], sample: NDArray[Any] | None) -> bool:
    """Whether the values are Hounsfield units: CT, unless its values were never rescaled, or what looks like it."""
    if known == {"CT"}:
        if sample is None or not sample.size:
            return True
        return float(sample.min()) < 0 or float(np.percentile(sample, 90)) < _UNSCALED
    return not known and sample is not None and looks_like_hounsfield(sample)


def _windowed(wanted: Decision, why: str) -> Decision:
    return replace(wanted, units=HOUNSFIELD, reason=f"{why}: {wanted.low:g} to {wanted.high:g} HU are kept and what "
                   "lies outside is clipped; --intensity window:brain (or soft, lung, bone, 40/80, ...) gives one "
                   "tissue more contrast")


def _why_percentile(known: Set[str], dtypes: Set[DType]) -> str:
    if BYTE in dtypes:
        return f"some files hold 8 bits a pixel and others more, {_USUAL}"
    if known and known <= XRAY:
        return ("X-ray values depend on exposure and processing, so each image runs from the 0.1th to the 99.9th "
                "percentile of what is neither collimator, bare beam nor saturated")
    names = " and ".join(sorted(known))
    return f"{_NO_UNIT.get(names, f'{names} with more than 8 bits a pixel: no absolute unit')}, {_USUAL}"


def settle(decisions: Mapping[str, Decision], dtypes: Mapping[str, Set[DType]]) -> tuple[dict[str, Decision], DType]:
    """The type in which a dataset is stored, and the decisions adapted to it.

    If every domain keeps its values, they are stored in the files' type (float32 where they differ). Otherwise all is
    uint16, and domains that keep theirs lose nothing: bytes are spread over it (x 257), 16-bit values shifted.
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
