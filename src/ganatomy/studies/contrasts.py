"""Which arms are compared with which, and which comparison is the primary one, named before anything is known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ganatomy.studies.arms import CONTROLS, PREFIXES, SOURCES

ADDING = ("GAN", *CONTROLS)
PRIMARY_PREFIXES = ("AUG_", "", "AUG2_")  # in this order, the first that is there


@dataclass(frozen=True)
class Named:
    """An arm's name in parts: [AUG_|AUG2_]SOURCE[@factor]; `factor` is the text behind the @, "" without."""

    name: str
    prefix: str
    source: str
    factor: str


@dataclass(frozen=True)
class Pair:
    """Treatment against reference. `control` is the control source that takes the place of a GAN's images, or ""."""

    treatment: str
    reference: str
    primary: bool = False
    control: str = ""


def named(name: str) -> Named:
    """An arm's name in parts. Raises `ValueError` for a name that is no arm's."""
    plain, _, factor = name.partition("@")
    prefix = next(p for p in sorted(PREFIXES, key=len, reverse=True) if plain.startswith(p))
    source = plain.removeprefix(prefix)
    if source not in SOURCES:
        raise ValueError(f"{name!r} is no arm")
    return Named(name, prefix, source, factor)


def pairs_of(arms: Sequence[str]) -> list[Pair]:
    """All comparisons that the arms allow, the primary one first.

    For every kind of augmentation and factor: what is added against OVERSAMPLE, which adds as many images without new
    ones; against ORG, which adds nothing; OVERSAMPLE against ORG. Then augmentation against none, the stronger against
    flips, and synthetic images alone against real ones.

    The primary one is GAN - OVERSAMPLE with AUG_, if these arms are not there without augmentation, then with AUG2_;
    of several factors the first. Without any of them FRESH, then COPIES, then NOISE take the place of GAN. There may
    be none.
    """
    known = [named(name) for name in arms]
    first = primary_of(arms)
    found = [pair for arm in known for pair in _against(arm, known)]
    marked = [Pair(p.treatment, p.reference, (p.treatment, p.reference) == first, p.control) for p in found]
    return sorted(marked, key=lambda p: not p.primary)


def primary_of(arms: Sequence[str]) -> tuple[str, str] | None:
    """Treatment and reference of the primary comparison."""
    known = [named(name) for name in arms]
    for source in ADDING:
        for prefix in PRIMARY_PREFIXES:
            for arm in (a for a in known if (a.source, a.prefix) == (source, prefix)):
                other = _find(known, prefix, "OVERSAMPLE", arm.factor)
                if other:
                    return arm.name, other
    return None


def companion_of(primary: tuple[str, str], arms: Sequence[str]) -> tuple[str, str] | None:
    """The same comparison without augmentation, which must agree before it is said that images help."""
    known, treated = [named(name) for name in arms], named(primary[0])
    plain = _find(known, "", treated.source, treated.factor), _find(known, "", "OVERSAMPLE", treated.factor)
    if treated.prefix == "" or plain[0] is None or plain[1] is None:
        return None
    return plain[0], plain[1]


def _against(arm: Named, known: Sequence[Named]) -> list[Pair]:
    control = arm.source if arm.source in CONTROLS else ""
    if arm.source in ADDING:
        references = [_find(known, arm.prefix, "OVERSAMPLE", arm.factor), _find(known, arm.prefix, "ORG", "")]
    elif arm.source == "ORG":
        weaker = {"AUG_": ("",), "AUG2_": ("AUG_", "")}.get(arm.prefix, ())
        references = [next((r for r in (_find(known, prefix, "ORG", "") for prefix in weaker) if r), None)]
    else:  # OVERSAMPLE, GAN_ONLY
        references = [_find(known, arm.prefix, "ORG", "")]
    return [Pair(arm.name, other, False, control) for other in references if other]


def _find(known: Sequence[Named], prefix: str, source: str, factor: str) -> str | None:
    return next((a.name for a in known if (a.prefix, a.source, a.factor) == (prefix, source, factor)), None)
