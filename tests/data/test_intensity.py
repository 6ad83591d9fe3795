"""What each modality's values become, and that they come back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ganatomy.core.errors import UserError
from ganatomy.data.intensity import Decision, Method, mapping, measure
from ganatomy.preparation.rules import (
    choose,
    looks_like_hounsfield,
    needs_sample,
    no_window,
    parse_intensity,
    pool,
    settle,
)

U8, U16, I16, F32 = (np.dtype(t) for t in (np.uint8, np.uint16, np.int16, np.float32))
AUTO = parse_intensity("auto")


def chest(seed: int = 0, size: int = 64, padding: int | None = None, noise: float = 10.0) -> np.ndarray:
    """A CT slice: air around a body of soft tissue with lungs and bone, int16 HU; maybe padding in the corners."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:size * 1j, -1:1:size * 1j]
    hu = np.full((size, size), -1000.0)
    hu[x**2 / 0.8 + y**2 / 0.5 < 1] = 40
    hu[(np.abs(x) - 0.4) ** 2 / 0.06 + y**2 / 0.2 < 1] = -820
    hu[x**2 + (y - 0.5) ** 2 < 0.01] = 700
    hu = np.maximum(hu + rng.normal(0, noise, hu.shape), -1024)
    if padding is not None:
        hu[x**2 + y**2 > 1] = padding
    return np.rint(hu).astype(np.int16)


def radiograph(seed: int = 0, size: int = 200, collimated: bool = True, marker: bool = True) -> np.ndarray:
    """Anatomy of 1000 to 3000, uint16; a noisy collimator's border near 100 and a saturated lead marker."""
    rng = np.random.default_rng(seed)
    values = np.linspace(1000, 3000, size)[:, None] + rng.normal(0, 20, (size, size))
    if collimated:
        inside = np.zeros((size, size), bool)
        inside[25:-25, 30:-30] = True
        values = np.where(inside, values, rng.normal(100, 10, values.shape))
    if marker:
        values[30:40, 35:45] = 16383
    return np.clip(np.rint(values), 0, 16383).astype(np.uint16)


@pytest.mark.parametrize(("text", "method", "low", "high"), [
    ("identity", "identity", None, None), ("minmax", "minmax", None, None),
    ("percentile", "percentile", None, None), ("window", "window", -1000, 1000), ("window:brain", "window", 0, 80),
    ("window:Lung", "window", -1350, 150), ("window:-600/1500", "window", -1350, 150),
    ("window:40.5/81", "window", 0, 81), ("fixed:-100:200", "fixed", -100, 200), ("fixed:0:1.5", "fixed", 0, 1.5),
])
def test_what_can_be_asked_for(text: str, method: str, low: float | None, high: float | None) -> None:
    choice = parse_intensity(text)
    assert (choice.method, choice.low, choice.high) == (method, low, high)


@pytest.mark.parametrize("text", ["", "zscore", "window:", "window:heart", "window:40", "window:40/0", "window:40/-80",
                                  "window:a/b", "window:1/2/3", "window:nan/400", "window:0/inf", "fixed", "fixed:1",
                                  "fixed:2:1", "fixed:1:1", "fixed:0:nan", "fixed:-1e308:1e308",
                                  "window:1e308/1e308", "auto:1", "minmax:", None, 3])
def test_what_cannot_be_meant_is_refused_with_the_fix(text: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_intensity(text)
    assert caught.value.where == "--intensity" and caught.value.fix


@pytest.mark.parametrize(("modalities", "dtypes", "method", "units", "says"), [
    ({"CT"}, {I16}, "window", "HU", "clipped"),
    ({"CT"}, {I16, F32}, "window", "HU", "--intensity window"),
    ({"CT", ""}, {F32}, "window", "HU", "CT"),
    ({"MR"}, {U16}, "percentile", "arbitrary units", "no absolute unit"),
    ({"DX", "CR"}, {U16}, "percentile", "arbitrary units", "collimator"),
    ({"PT"}, {F32}, "percentile", "arbitrary units", "dose"),
    ({"NM"}, {U16}, "percentile", "arbitrary units", "dose"),
    ({"US"}, {U8}, "identity", "arbitrary units", "8 bits"),
    ({"MG"}, {U8}, "identity", "arbitrary units", "8 bits"),
    ({""}, {U8}, "identity", "arbitrary units", "8 bits"),
    (set(), {U8}, "identity", "arbitrary units", "8 bits"),
    ({"US"}, {U16}, "percentile", "arbitrary units", "US"),
    ({""}, {U8, U16}, "percentile", "arbitrary units", "8 bits"),
    ({"CT", "MR"}, {I16}, "percentile", "arbitrary units", "CT and MR"),
    ({"CT"}, {U8}, "identity", "arbitrary units", "8 bits"),
])
def test_the_automatic_choice(modalities: set[str], dtypes: set[np.dtype], method: str, units: str, says: str) -> None:
    found = choose(modalities, dtypes, AUTO)
    assert (found.method, found.units) == (method, units)
    assert says in found.reason


def test_a_window_asked_for_ct_spares_another_contrast_beside_it() -> None:
    ct, mr = chest().ravel(), np.abs(np.random.default_rng(0).normal(400, 150, 5000))
    brain = parse_intensity("window:brain")
    assert no_window({"CT": ct, "MR": mr}, brain, has_ct=False) == ["MR"]
    assert no_window({"CT": None, "MR": mr}, brain, has_ct=True) == ["MR"]
    assert no_window({"MR": mr}, brain, has_ct=False) == []  # nothing else is CT: the user knows better
    assert no_window({"CT": ct, "MR": mr}, AUTO, has_ct=False) == []


def test_what_was_asked_for_is_obeyed_and_keeps_the_unit_but_no_window_is_forced_upon_mr_or_bytes() -> None:
    for text in ("identity", "percentile", "minmax", "fixed:-200:300"):
        decision = choose({"CT"}, {I16}, parse_intensity(text))
        assert decision.method == text.split(":")[0] and decision.units == "HU" and "as asked" in decision.reason
    assert choose({"MR"}, {I16}, parse_intensity("fixed:-200:300")).label == "fixed -200 to 300"
    brain = parse_intensity("window:brain")
    for modality in ("CT", ""):  # who asks knows
        assert choose({modality}, {I16}, brain).label == "window 0 to 80"
    for modality, dtype, method in (("MR", I16, "percentile"), ("", U8, "identity")):
        decision = choose({modality}, {dtype}, brain)
        assert decision.method == method and "window applies" in decision.reason


def unlike_hounsfield() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 1, 40_000)
    return {
        "phase": rng.uniform(-4096, 4095, 40_000), "small phase": rng.uniform(-1000, 1000, 40_000),
        "standardised": noise, "difference": noise * 400, "magnitude": np.abs(noise) * 600,
        "skull-stripped": np.where(noise > 0, 300 + 50 * noise, 0), "CT before rescaling": chest() + 1024.0,
        "field map": noise * 60, "constant": np.zeros(500), "nothing": np.zeros(0), "air": np.full(5000, -1000.0),
        "MR minus 1000": np.abs(noise) * 600 - 1000, "photograph": rng.integers(0, 256, 5000),
    }


@pytest.mark.parametrize("kind", unlike_hounsfield())
def test_what_does_not_look_like_hounsfield_units(kind: str) -> None:
    values = unlike_hounsfield()[kind]
    assert not looks_like_hounsfield(values)
    assert choose({""}, {F32}, AUTO, values).method == "percentile"


@pytest.mark.parametrize("values", [
    chest(), chest(padding=-2000), chest(padding=-3024), chest(padding=-2048, noise=40), chest(noise=0),
    np.clip(chest(), -1000, 1000), chest().astype(np.float32) + 0.25,
])
def test_what_looks_like_hounsfield_units(values: np.ndarray) -> None:
    assert looks_like_hounsfield(values)
    found = choose({""}, {values.dtype}, AUTO, values)
    assert found.label == "window -1000 to 1000" and "--intensity percentile" in found.reason


def test_ct_that_was_never_rescaled_is_no_hounsfield() -> None:
    unscaled = (chest() + 1024).astype(np.uint16)
    found = choose({"CT"}, {U16}, AUTO, unscaled)
    assert found.method == "percentile" and found.units != "HU" and "rescaled" in found.reason
    stripped = np.where(chest() > 0, np.clip(chest(), 0, 100), 0)
    assert choose({"CT"}, {I16}, AUTO, stripped).method == "window"


def test_values_are_looked_at_only_where_they_decide() -> None:
    assert needs_sample({""}, {I16}, AUTO) and needs_sample({"CT"}, {I16}, AUTO)
    assert not needs_sample({"MR"}, {I16}, AUTO) and not needs_sample({""}, {U8}, AUTO)
    assert not needs_sample({""}, {I16}, parse_intensity("identity"))
    many = pool((chest(seed, 200) for seed in range(30)), 30)
    assert looks_like_hounsfield(many) and many.size < 600_000


@pytest.mark.parametrize("padding", [-2000, -3024])
def test_padding_around_ct_is_neither_background_nor_low_end(padding: int) -> None:
    body, padded = chest() > -900, chest(padding=padding)
    for text in ("auto", "window:brain", "percentile", "minmax"):
        how = choose({"CT"}, {I16}, parse_intensity(text))
        levels = measure([padded], how=how)
        assert levels.background == -1000
        assert mapping(how, levels, U16).offset >= -1024
        assert (levels.foreground(padded) == body).mean() > 0.99
        assert levels.without_padding(padded).min() == -1024 and levels.without_padding(padded).dtype == I16
    levels = measure([padded], how=choose({"CT"}, {I16}, parse_intensity("identity")))
    np.testing.assert_array_equal(levels.without_padding(padded), padded)  # of what is kept as it is that stays too
    assert (levels.foreground(padded) == body).mean() > 0.99


def test_one_stored_value_means_one_density_in_every_patient() -> None:
    how = choose({"CT"}, {I16}, AUTO)
    brighter = chest(1)
    brighter[:8] = 3000  # metal must not move the rest
    maps = {mapping(how, measure([p], how=how), U16) for p in (chest(0), brighter, np.zeros((9, 9), np.int16))}
    assert len(maps) == 1


@settings(max_examples=60, deadline=None)
@given(values=arrays.arrays(np.float32, (5, 7), elements=st.floats(-3100, 4000, width=32)),
       text=st.sampled_from(["auto", "window:brain", "window:-600/1500", "fixed:-50:17.5"]))
def test_inside_the_window_values_come_back_within_half_a_step(values: np.ndarray, text: str) -> None:
    how = choose({"CT"}, {F32}, parse_intensity(text))
    found = mapping(how, measure([values], how=how), U16)
    back = found.encode(values) * found.scale + found.offset
    np.testing.assert_allclose(back, np.clip(values.astype(np.float64), how.low, how.high), rtol=0,
                               atol=found.scale / 2 * (1 + 1e-6))


@settings(max_examples=60, deadline=None)
@given(values=arrays.arrays(np.int16, (4, 6)), method=st.sampled_from(["percentile", "minmax"]))
def test_mapping_keeps_the_order_and_what_lies_between_its_ends(values: np.ndarray, method: Method) -> None:
    levels = measure([values])
    found = mapping(method, levels, U16)
    order = np.argsort(values.ravel(), kind="stable")
    stored = found.encode(values.astype(np.float32))
    assert (np.diff(stored.ravel()[order].astype(int)) >= 0).all()
    back = stored * found.scale + found.offset
    ends = (levels.low, levels.high) if method == "percentile" else (levels.lowest, levels.highest)
    np.testing.assert_allclose(back, np.clip(values, *ends), rtol=0, atol=found.scale / 2 * (1 + 1e-6))


@pytest.mark.parametrize("dtype", [U8, U16, I16])
def test_identity_is_exact_and_stays_so_beside_mapped_domains(dtype: np.dtype) -> None:
    ends = np.iinfo(dtype)
    values = np.linspace(ends.min, ends.max, 400).astype(dtype).reshape(20, 20)
    alone, beside = {"a": Decision("identity")}, {"b": Decision("percentile")}
    for decisions, dtypes, kept in ((alone, {"a": {dtype}}, dtype), (alone | beside, {"a": {dtype}, "b": {U16}}, U16)):
        settled, stored = settle(decisions, dtypes)
        assert stored == kept and settled["a"].label == "identity"
        found = mapping(settled["a"], measure([values]), stored)
        back = found.encode(values.astype(np.float32)) * found.scale + found.offset
        np.testing.assert_array_equal(np.rint(back), values)
        np.testing.assert_allclose(back, values, atol=1e-9)


def test_what_cannot_share_a_type() -> None:
    both = {"a": Decision("identity"), "b": Decision("identity")}
    assert settle(both, {"a": {U8}, "b": {U8}})[1] == U8
    assert settle(both, {"a": {U8}, "b": {I16}})[1] == F32
    settled, _ = settle({"a": Decision("identity"), "b": Decision("window", 0, 80)}, {"a": {F32}, "b": {I16}})
    assert settled["a"].method == "minmax"


@pytest.mark.parametrize("value", [0, 7, -1000])
@pytest.mark.parametrize("modality", ["CT", "MR", "DX"])
def test_a_constant_volume_is_constant(value: int, modality: str) -> None:
    values = np.full((6, 6), value, np.int16)
    how = choose({modality}, {I16}, AUTO)
    levels = measure([values], how=how)
    assert levels.constant and np.unique(mapping(how, levels, U16).encode(values.astype(np.float32))).size == 1


@pytest.mark.parametrize("collimated", [True, False])
@pytest.mark.parametrize("marker", [True, False])
def test_neither_collimator_nor_marker_sets_the_range_of_a_radiograph(collimated: bool, marker: bool) -> None:
    how = choose({"DX"}, {U16}, AUTO)
    levels = measure([radiograph(collimated=collimated, marker=marker)], how=how)
    inside = (1250, 2750) if collimated else (1000, 3000)
    assert levels.low == pytest.approx(inside[0], abs=60) and levels.high == pytest.approx(inside[1], abs=60)
    if collimated:
        assert levels.background == pytest.approx(100, abs=10)
        assert levels.foreground(radiograph()).mean() == pytest.approx(150 * 140 / 200**2, rel=0.02)


def test_a_calcification_of_few_pixels_is_not_cut_off() -> None:
    values = radiograph(size=400, marker=False)
    values[200:204, 200:208] = 4000  # 0.03% of the picture: a cluster
    values[202, 203] = 4100
    levels = measure([values], how=choose({"MG"}, {U16}, AUTO))
    assert levels.high < 4000  # its top is, by design: less than a thousandth of the content
    values[150:250, 150:160] = 4000
    assert measure([values], how=choose({"MG"}, {U16}, AUTO)).high >= 4000


def scan(background: float, low: float, high: float, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(0)
    values = np.where(np.hypot(*np.mgrid[-29.5:30, -29.5:30]) < 22, rng.uniform(low, high, (60, 60)), background)
    return (values + rng.normal(0, noise, values.shape) * (noise > 0)).astype(np.float32)


@pytest.mark.parametrize(("values", "low", "background"), [
    (scan(0, 100, 900), 0, 0),                    # skull-stripped
    (scan(0, -40, 900), 0, 0),                    # with small negatives left by interpolation
    (scan(-1024, -100, 1200), -1024, -1024),      # CT with air of one value
    (np.abs(scan(0, 300, 900, noise=8)), 0, 0),   # magnitude image with noise
    (scan(255, 20, 180), 20, 255),                # bright paper around a dark object
])
def test_the_low_end_suits_the_background(values: np.ndarray, low: float, background: float) -> None:
    levels = measure([values])
    mapped = mapping("percentile", levels, np.dtype(np.uint16))
    assert mapped.offset == pytest.approx(low, abs=1) and levels.background == pytest.approx(background)
    assert levels.foreground(values).mean() == pytest.approx(np.pi * 22**2 / 3600, rel=0.15)
    stored = mapped.encode(values)
    assert stored.min() == 0 and stored.max() == 65535


def test_one_bright_vessel_does_not_darken_the_rest() -> None:
    values = scan(0, 100, 900)
    values[30, 30] = 50_000
    assert measure([values]).high < 1000
