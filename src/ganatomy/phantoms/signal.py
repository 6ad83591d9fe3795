"""What a 3 T scanner would measure in a virtual subject: tissue properties, sequences and noise.

Tissue values, in the middle of what is published for 3 T:
    T1: Wansapura et al., J Magn Reson Imaging 9:531, 1999 (grey matter 1331, white matter 832 ms); Wright et al.,
        MAGMA 21:121, 2008 (cortex 1607, putamen 1332, white matter 838 ms; here for nuclei against cortex).
    T2: Wansapura (grey matter 110, white matter 80 ms); Stanisz et al., Magn Reson Med 54:507, 2005 (99, 69 ms);
        Gelman et al., Radiology 210:759, 1999 (prefrontal cortex 69, white matter 56, globus pallidus 39 ms).
    Proton density relative to fluid: Whittall et al., Magn Reson Med 37:34, 1997.
Fluid is taken as nearly free water. Lesions are given the contrast to white matter that multiple-sclerosis plaques
have in the scans of docs/phantom.md.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Values = NDArray[np.float64]


class TissueValues(NamedTuple):
    """Proton density (fluid = 1), T1 and T2 in ms, each [5]: cortex, deep nuclei, white matter, fluid, lesion."""

    density: Values
    t1: Values
    t2: Values


TYPICAL = TissueValues(
    density=np.array([0.82, 0.80, 0.70, 1.00, 0.80]),
    t1=np.array([1331.0, 1110.0, 835.0, 4300.0, 1400.0]),
    t2=np.array([81.0, 65.0, 72.0, 2000.0, 140.0]))


def draw_values(rng: np.random.Generator, spread: float = 0.03) -> TissueValues:
    """The tissue values of one subject: the typical ones with a relative standard deviation of `spread`."""
    factors = 1 + spread * np.clip(rng.standard_normal((3, 5)), -2, 2)
    factors[0] = 1 + (factors[0] - 1) / 2  # water content differs less between people than relaxation does
    density, t1, t2 = (v * f for v, f in zip(TYPICAL, factors, strict=True))
    return TissueValues(density, t1, t2)


def spin_echo(values: TissueValues, tr: float = 4500.0, te: float = 98.0) -> Values:
    """S = PD (1 - exp(-TR/T1)) exp(-TE/T2) for each tissue; times in ms."""
    return np.asarray(values.density * (1 - np.exp(-tr / values.t1)) * np.exp(-te / values.t2))


def inversion_gradient_echo(values: TissueValues, tr: float = 2300.0, ti: float = 900.0, spacing: float = 7.0,
                            echoes: int = 176, angle: float = 9.0) -> Values:
    """The signal of an inversion-prepared, spoiled gradient echo (MPRAGE) at the centre of k-space, with its sign.

    The steady state of: inversion; recovery for TA = TI - echoes x spacing / 2; `echoes` excitations by `angle`
    degrees, `spacing` ms apart; recovery for TD until the next inversion, TR after the first. Along the excitations,
    with E = exp(-spacing / T1), the longitudinal magnetisation goes towards m* = (1 - E) / (1 - q) by a factor
    q = E cos(angle) an echo. The magnetisation before the inversion repeats itself, which makes a linear equation
    (Deichmann et al., NeuroImage 12:112, 2000; Marques et al., NeuroImage 49:1271, 2010, appendix). The decay over
    an echo time of about 3 ms, much alike in all tissues, is left out.

    Returns:
        density x sin(angle) x magnetisation at the middle echo, one value a tissue.
    """
    flip = np.deg2rad(angle)
    ta, td = ti - spacing * echoes / 2, tr - ti - spacing * echoes / 2
    q = np.exp(-spacing / values.t1) * np.cos(flip)
    plateau = (1 - np.exp(-spacing / values.t1)) / (1 - q)
    fade_a, fade_d, fade_all = np.exp(-ta / values.t1), np.exp(-td / values.t1), q**echoes
    # start = 1 - fade_a - fade_a * before;  end = plateau + (start - plateau) * fade_all;
    # before = 1 - fade_d + fade_d * end
    fixed = 1 - fade_d + fade_d * (plateau + (1 - fade_a - plateau) * fade_all)
    before = fixed / (1 + fade_d * fade_all * fade_a)
    start = 1 - fade_a - fade_a * before
    middle = plateau + (start - plateau) * q ** (echoes / 2)
    return np.asarray(values.density * np.sin(flip) * middle)


def rician(rng: np.random.Generator, signal: Array, sd: float) -> Array:
    """The magnitude of a signal with normal noise in both channels (Gudbjartsson & Patz, MRM 34:910, 1995)."""
    real, imaginary = rng.standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sd)
    return np.asarray(np.hypot(signal + real, imaginary), np.float32)
