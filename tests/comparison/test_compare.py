"""compare: groups and names, intervals over seeds, who is ahead of whom, and what is refused."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ganatomy.cli.main import cli
from ganatomy.comparison.compare import compare
from ganatomy.comparison.groups import difference, differences, over_seeds
from ganatomy.comparison.table import WIDTH, table, write_table
from ganatomy.core.errors import UserError
from ganatomy.core.recipe import load
from ganatomy.core.run import Run
from ganatomy.generators.config import GeneratorConfig
from ganatomy.statistics.resampling import holm

CONTENT = "c0ffee" * 10


def result(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "against": "test", "value": value, "interval": [value - 0.04, value + 0.06], "n_images": 40,
            "n_subjects": 20, "n_synthetic": 500, "better": "lower"} | more


def noise_metrics(kd: float, **more: Any) -> dict[str, Any]:
    reference = {"what": "real train against real test", "value": 0.002, "interval": [-0.01, 0.01], "n_images": 80}
    results = [result("KD-Lite0", kd, reference=reference), result("KD-Lite0", 9.0, against="train"),
               result("FD-Lite0", 100 * kd), result("Precision-Lite0", 0.97),
               result("Diversity-Lite0", 12.0, ratio=0.9, ratio_interval=[0.8, 1.0])]
    return {"schema_version": 1, "extractor": "Lite0", "dataset": CONTENT, "synthetic": f"{kd}", "step": 4000,
            "seed": 0, "domain": "T1", "label": None, "size": 64, "warnings": [],
            "counts": {"test": {"images": 40, "subjects": 20}, "synthetic": {"images": 500}}, "results": results,
            "controls": [{"control": "mean image", "name": "KD-Lite0", "value": 0.5, "interval": [0.4, 0.6]}]} | more


def translation_metrics(kd: float, mae: float, ways: tuple[tuple[str, str], ...] = (("T1", "T2"),)) -> dict[str, Any]:
    directions = [{"source": source, "target": target, "n_images": 30, "n_subjects": 10, "kernel": {
        "translators": {"model": result("KD-Lite0", kd), "input returned": result("KD-Lite0", 0.4)},
        "reference": {"value": 0.01, "interval": None}}, "translators": {"model": [result("MAE foreground", mae)]},
        "returned": {"finding": ""}, "anatomy": {"kept": True}} for source, target in ways]
    return {"kind": "translation", "extractor": "Lite0", "dataset": CONTENT, "step": 4000, "seed": 0, "n": None,
            "source": "T1", "domain": "T2", "size": 64, "directions": directions, "warnings": []}


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes a run folder as training and evaluation leave it: make(name, metrics, seed, **overrides)."""
    def write(name: str, metrics: dict[str, Any] | None, seed: int = 0, *, seconds: float = 60.0, step: int = 4000,
              content: str = CONTENT, recipe: str = "rpgan-64", **overrides: Any) -> Path:
        run, keys = Run(tmp_path / name), {key.replace("__", "."): value for key, value in overrides.items()}
        run.path.mkdir()
        run.recipe_file.write_text(load(recipe, {"seed": seed, **keys}).to_yaml())
        run.status_file.write_text(json.dumps({"state": "finished", "step": step, "seconds": seconds}))
        (run.path / "dataset.json").write_text(json.dumps({"content": content}))
        if metrics is not None:
            run.metrics_file.write_text(json.dumps(metrics))
        return run.path
    return write


def two_groups(make: Make, first: list[float], second: list[float], shift: int = 0, **more: Any) -> dict[str, Any]:
    """Two widths; their kernel distances by seed, the second's seeds from `shift` on."""
    runs = [make(f"a{s}", noise_metrics(kd), s) for s, kd in enumerate(first)]
    runs += [make(f"b{s}", noise_metrics(kd), s + shift, model__width=48, **more) for s, kd in enumerate(second)]
    (found,) = compare(runs)["tables"]
    return dict(found)


def test_a_planted_lead_is_claimed_with_five_seeds(make: Make) -> None:
    noise = np.array([0.0, 0.004, -0.003, 0.002, -0.004])
    found = two_groups(make, list(0.10 + noise), list(0.05 + noise[::-1]))
    assert [g["name"] for g in found["groups"]] == ["rpgan-64, model.width=48", "rpgan-64, model.width=32"]
    assert [g["rank"] for g in found["groups"]] == [1, 2]
    (d,) = found["differences"]
    assert d["claim"]
    assert d["ahead_by"] == pytest.approx(0.05)
    assert "rpgan-64, model.width=48 is ahead of rpgan-64, model.width=32 by 50.0 (" in d["sentence"]
    assert "cost" not in d["sentence"]


def test_the_same_lead_with_four_seeds_has_no_interval(make: Make) -> None:
    found = two_groups(make, [0.100, 0.104, 0.097, 0.102], [0.050, 0.052, 0.049, 0.051])
    (d,) = found["differences"]
    assert not d["claim"] and d["interval"] is None and d["p"] is None
    assert d["sentence"].startswith("No interval over seeds (4 seeds, 5 a side are needed): on average")
    assert {g["figures"]["kd"]["interval_over"] for g in found["groups"]} == {"subjects"}


def test_a_tie_is_told_by_its_interval(make: Make) -> None:
    found = two_groups(make, [0.05, 0.07, 0.06, 0.08, 0.04], [0.07, 0.04, 0.08, 0.05, 0.07], shift=3)
    (d,) = found["differences"]
    assert not d["claim"]
    assert d["interval"][0] < 0 < d["interval"][1]
    assert d["sentence"].startswith("Not told apart: on average") and " (−" in d["sentence"]
    assert d["method"] == "Welch"  # seeds 0 to 4 and 3 to 7
    assert "no difference" not in table({"tables": [found]})


def test_one_seed_has_the_interval_over_patients_and_says_so(make: Make) -> None:
    (found,) = compare([make("a", noise_metrics(0.05))])["tables"]
    figure = found["groups"][0]["figures"]["kd"]
    assert (figure["interval_over"], figure["interval"]) == ("subjects", pytest.approx([0.01, 0.11]))
    assert found["differences"] == []
    assert "50 (10 to 110)*" in table({"tables": [found]})


def test_both_intervals_stand_beside_each_other(make: Make) -> None:
    runs = [make(f"a{s}", noise_metrics(kd), s) for s, kd in enumerate([0.05, 0.06, 0.10, 0.07, 0.07])]
    (found,) = compare(runs)["tables"]
    figure = found["groups"][0]["figures"]["kd"]
    assert figure["mean"] == pytest.approx(0.07)
    half = 2.776445 * (0.0014 / 4 / 5) ** 0.5
    assert figure["interval"] == pytest.approx([0.07 - half, 0.07 + half], abs=1e-5)
    assert figure["over_subjects"] == pytest.approx([0.03, 0.13])  # the median of each end


def test_a_share_never_exceeds_one(make: Make) -> None:
    runs = []
    for s, precision in enumerate([0.9, 1.0, 1.0, 0.95, 1.0]):
        metrics = noise_metrics(0.05 + s / 100)
        metrics["results"][3]["value"] = precision
        runs.append(make(f"a{s}", metrics, s))
    (found,) = compare(runs)["tables"]
    interval = found["groups"][0]["figures"]["precision"]["interval"]
    assert interval == pytest.approx([0.97 - 2.776445 * 0.02, 1.0], abs=1e-4)


def test_a_bound_below_zero_beats_nobody_who_has_zero(make: Make) -> None:
    """A divergence cannot be negative: the estimate says how wrong the critic is, in training as here."""
    runs = []
    for s, critic in enumerate([-0.05, 0.0]):
        metrics = noise_metrics(0.1)
        metrics["results"].append(result("Critic-JS", critic))
        runs.append(make(f"a{s}", metrics, 0, model__width=32 + 16 * s))
    (found,) = compare(runs, primary="critic")["tables"]
    figures = [group["figures"]["critic"] for group in found["groups"]]
    assert [figure["mean"] for figure in figures] == [0, 0] and figures[0]["interval"] == [0, pytest.approx(0.01)]
    assert found["differences"][0]["ahead_by"] == 0


def test_seeds_that_are_all_alike_have_no_interval_of_zero_width(make: Make) -> None:
    (found,) = compare([make(f"a{s}", noise_metrics(0.1 + s / 50), s) for s in range(5)])["tables"]
    figure = found["groups"][0]["figures"]["precision"]  # 0.97 of every seed
    assert (figure["interval_over"], figure["interval"]) == ("subjects", pytest.approx([0.93, 1.0]))


def test_groups_with_copies_are_marked_and_never_first(make: Make) -> None:
    copies = noise_metrics(0.01)
    copies["results"].append(result("Copies", 0.2, against="train", details={"verdict": "copies"}))
    runs = [make("thief", copies, 0, model__width=48), make("thief-1", noise_metrics(0.011), 1, model__width=48),
            make("honest", noise_metrics(0.2), 0)]
    (found,) = compare(runs)["tables"]
    assert [(g["name"], g["rank"]) for g in found["groups"]] == [("rpgan-64, model.width=32", 1),
                                                                 ("rpgan-64, model.width=48", None)]
    assert found["groups"][1]["words"]["copies"] == "copies (1 of 2)"
    assert "copies images of real patients and cannot rank first" in found["differences"][0]["sentence"]
    assert any("is not ranked" in note for note in found["notes"])
    assert any(note.startswith("Not every run was searched for copies: rpgan-64, model.width=32; rpgan") for note in
               found["notes"])
    (alone,) = compare(runs[:2])["tables"]
    assert any("No group can rank first" in note for note in alone["notes"])


def test_groups_behind_a_control_are_named(make: Make) -> None:
    (found,) = compare([make("a", noise_metrics(0.6)), make("b", noise_metrics(0.1), model__width=48)])["tables"]
    (said,) = [note for note in found["notes"] if note.startswith("NOT ahead")]
    assert "“mean image”" in said
    assert "width=32" in said
    assert "width=48" not in said
    assert found["controls"]["mean image"]["kd"]["value"] == 0.5
    assert found["reference"]["kd"]["value"] == 0.002


def test_runs_of_one_budget_are_one_group_whatever_steps_it_became(make: Make) -> None:
    runs = [make(f"{seed}", noise_metrics(0.1), seed, budget="5m") for seed in (0, 1)]
    for run, steps in zip(runs, (4000, 4100), strict=True):
        recipe = Run(run).recipe_file
        recipe.write_text(recipe.read_text().replace("steps: null", f"steps: {steps}"))
    (found,) = compare(runs)["tables"]
    assert [group["name"] for group in found["groups"]] == ["rpgan-64"]


def test_unequal_cost_is_said_beside_the_difference(make: Make) -> None:
    found = two_groups(make, [0.1, 0.11], [0.05, 0.06], seconds=90.0, step=4100)
    sentence = found["differences"][0]["sentence"]
    assert "Not at equal cost: 2 min against 60 s" in sentence
    assert "updates" not in sentence  # 2.4% more


@pytest.mark.parametrize(("change", "said"), [
    ({"dataset": "beef" * 16}, "test dataset is beefbeefbeef"),
    ({"domain": "T2"}, "domain is T2, there T1"),
    ({"label": "tumour"}, "class is tumour, there (all)"),
    ({"size": 32}, "size is 32, there 64"),
    ({"extractor": "Inception"}, "extractor is Inception, there Lite0"),
    ({"counts": {"test": {"images": 40, "subjects": 20}, "synthetic": {"images": 64}}}, "synthetic images is 64"),
    ({"counts": {"test": {"images": 39, "subjects": 20}, "synthetic": {"images": 500}}}, "number of test images is 39"),
])
def test_what_was_measured_otherwise_is_refused(make: Make, change: dict[str, Any], said: str) -> None:
    a, b = make("a", noise_metrics(0.1)), make("b", noise_metrics(0.2) | change, 1)
    with pytest.raises(UserError) as error:
        compare([a, b])
    assert said in str(error.value)
    assert str(a) in str(error.value)
    assert str(error.value).startswith(str(b))


def test_another_evaluation_seed_matters_only_where_it_draws_the_test_images(make: Make) -> None:
    small = [noise_metrics(0.1 + s / 100, seed=s) for s in range(2)]
    assert compare([make(f"s{s}", m, s) for s, m in enumerate(small)])["tables"]
    large = [m | {"counts": {"test": {"images": 2000, "subjects": 90}, "synthetic": {"images": 500}}} for m in small]
    with pytest.raises(UserError, match="test images were drawn with the evaluation seed 1, there 0"):
        compare([make(f"l{s}", m, s) for s, m in enumerate(large)])


def test_trained_on_another_dataset_is_refused(make: Make) -> None:
    with pytest.raises(UserError, match="training dataset is dddddddddddd"):
        compare([make("a", noise_metrics(0.1)), make("b", noise_metrics(0.2), 1, content="d" * 64)])


def test_one_run_needs_no_list(make: Make) -> None:
    run = make("a", noise_metrics(0.1))
    assert compare(run) == compare(str(run)) == compare([run])


def test_every_run_that_was_not_evaluated_is_named_with_the_command(make: Make) -> None:
    a, b, c = make("a", noise_metrics(0.1)), make("b", None, 1), make("c", None, 2)
    with pytest.raises(UserError) as error:
        compare([a, b, c])
    for path in (b, c):
        assert f"ganatomy evaluate {path}" in str(error.value)


def test_a_run_given_twice_counts_once(make: Make) -> None:
    a, said = make("a", noise_metrics(0.1)), list[str]()
    (found,) = compare([a, a / ".." / "a"], say=said.append)["tables"]
    assert found["groups"][0]["seeds"] == [0]
    assert "given twice" in said[0]


def test_a_copied_run_is_refused_since_its_seed_is_no_other_one(make: Make) -> None:
    with pytest.raises(UserError, match=r"same recipe and seed \(0\)"):
        compare([make("a", noise_metrics(0.1)), make("b", noise_metrics(0.1))])


def test_folders_that_are_no_runs(make: Make, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with pytest.raises(UserError, match="not a run folder"):
        compare([data])
    (data / "manifest.csv").write_text("")
    with pytest.raises(UserError, match="is a dataset folder"):
        compare([data])
    with pytest.raises(UserError, match="no such folder"):
        compare([tmp_path / "nowhere"])
    with pytest.raises(UserError, match="nothing to compare"):
        compare([])
    broken = make("broken", noise_metrics(0.1) | {"results": [{"name": "KD-Lite0", "value": "much"}]})
    with pytest.raises(UserError, match=r"does not hold what it should \(results.0.value: should be a valid number"):
        compare([broken])


def test_metrics_of_another_step_than_the_generator_are_told(make: Make) -> None:
    path = make("a", noise_metrics(0.1))
    (path / "generator").mkdir()
    config = GeneratorConfig(schema_version=1, ganatomy="", weights_sha256="", channels=1, recipe=Run(path).recipe(),
                             step=6000, domain="T1", label=None, value_range=(0, 1), dtype="uint8", dataset="",
                             intensity=None, spacing=None)
    (path / "generator" / "config.json").write_text(config.model_dump_json())
    (found,) = compare([path])["tables"]
    assert any("metrics.json is of step 4,000, its generator of step 6,000" in note for note in found["notes"])


def test_metrics_of_an_older_version_are_read(make: Make) -> None:
    old = {"schema_version": 1, "results": [{"name": "KD-Lite0", "against": "test", "value": 0.1, "interval": None}]}
    (found,) = compare([make("old", old), make("new", noise_metrics(0.2), 1)])["tables"]
    figures = found["groups"][0]["figures"]
    assert figures["kd"]["mean"] == pytest.approx(0.15)
    assert "fd" not in figures  # not every run has it
    assert any("not every run has FD" in note for note in found["notes"])


def test_ranked_by_the_critic_only_where_all_runs_have_it(make: Make) -> None:
    a, b = noise_metrics(0.1), noise_metrics(0.2)
    b["results"].append(result("Critic-JS", 0.1, reference={"value": -0.01}))
    one, other = make("a", a), make("b", b, model__width=48)
    with pytest.raises(UserError) as error:
        compare([one, other], primary="critic")
    assert f"ganatomy evaluate {one} --critic" in str(error.value)
    a["results"].append(result("Critic-JS", 0.3))
    Run(one).metrics_file.write_text(json.dumps(a))
    (found,) = compare([one, other], primary="critic")["tables"]
    assert [g["runs"] for g in found["groups"]] == [[str(other)], [str(one)]]
    assert [c["key"] for c in found["columns"] if c["primary"]] == ["kd", "critic"]
    assert any("outcomes disagree: by KD" in note for note in found["notes"])


def test_kinds_and_directions_have_tables_of_their_own(make: Make) -> None:
    both = (("T1", "T2"), ("T2", "T1"))
    runs = [make("noise", noise_metrics(0.1)), make("p", translation_metrics(0.2, 5.0), recipe="pix2pix"),
            make("c", translation_metrics(0.1, 7.0, both), recipe="cyclegan")]
    noise, translation = compare(runs)["tables"]
    assert [len(t["groups"]) for t in (noise, translation)] == [1, 2]
    assert translation["direction"] == ["T1", "T2"]
    assert [g["recipe"] for g in translation["groups"]] == ["cyclegan", "pix2pix"]
    assert translation["groups"][1]["figures"]["mae"]["mean"] == 5.0
    assert translation["controls"]["input returned"]["kd"]["value"] == 0.4
    back = make("back", translation_metrics(0.1, 7.0, both[1:]), recipe="unet")
    with pytest.raises(UserError, match="it translates T2 to T1, that one T1 to T2"):
        compare([runs[1], back])


def test_the_text_fits_the_terminal_and_cuts_no_figure(make: Make) -> None:
    runs = [make(f"{width}-{s}", noise_metrics(0.1 + s / 99), s, model__width=width, model__gamma=width / 7,
                 learning_rate__generator=width * 1e-5, batch_size=width) for width in (16, 32) for s in range(2)]
    text = table(compare(runs))
    assert max(map(len, text.splitlines())) <= WIDTH
    for head in ("KD-Lite0 × 1000", "over patients", "FD-Lite0", "precision", "diversity ratio"):
        assert head in text


def test_files_and_the_command_line(make: Make, tmp_path: Path) -> None:
    runs = [str(make(f"a{s}", noise_metrics(0.1 + s / 50), s)) for s in range(3)]
    runs.append(str(make("b", noise_metrics(0.3), 0, batch_size=8)))
    for ending in ("csv", "md"):
        done = CliRunner().invoke(cli, ["compare", *runs, "--json", "--out", str(tmp_path / f"out.{ending}")])
        assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found == json.loads(json.dumps(compare(runs)))
    with (tmp_path / "out.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [row["group"] for row in rows] == ["rpgan-64, batch_size=16", "rpgan-64, batch_size=8"]
    assert float(rows[0]["kd"]) == pytest.approx(0.12)
    assert rows[1]["kd_interval_over"] == "subjects"
    assert "| 1 | rpgan-64, batch_size=16 | 3 |" in (tmp_path / "out.md").read_text()
    with pytest.raises(UserError, match=r"neither a .csv nor a .md"):
        write_table(found, tmp_path / "out.txt")
    assert not (tmp_path / "out.txt").exists()


def test_seeds_that_each_begin_from_a_generator_of_their_own_are_one_group(make: Make) -> None:
    own = [make(f"h{s}", noise_metrics(0.1 + 0.01 * s), s, init_from=f"generator {s}") for s in range(3)]
    (found,) = compare(own)["tables"]
    assert [g["seeds"] for g in found["groups"]] == [[0, 1, 2]]
    again = make("again", noise_metrics(0.2), 0, init_from="generator 9")  # the same seed: the start is what differs
    (found,) = compare([*own, again])["tables"]
    assert len(found["groups"]) == 4


def test_comparing_existing_runs_needs_no_torch(make: Make) -> None:
    runs = [str(make(f"a{s}", noise_metrics(0.1 + s / 50), s)) for s in range(2)]
    command = [sys.executable, "-X", "importtime", "-m", "ganatomy", "compare", *runs]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "KD-Lite0" in done.stdout
    assert "ganatomy.metrics.base" in done.stderr and not re.search(r"\| +torch$", done.stderr, re.MULTILINE)


# ------------------------------------------------------------------ differences over seeds

def test_interval_over_seeds_is_students() -> None:
    low, high = over_seeds([1.0, 2.0, 3.0, 4.0, 5.0])  # sd 1.5811, t(4) = 2.7764
    assert (low, high) == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-4)
    assert over_seeds([1.0, 2.0, 3.0, 4.0]) is None  # of two, t is 12.7


def test_welch_is_as_in_scipy() -> None:
    from scipy.stats import ttest_ind

    a, b = {0: 27.5, 1: 21.0, 2: 19.0, 3: 23.6, 4: 22.2}, {7: 27.1, 8: 22.0, 9: 20.8, 10: 23.4, 11: 28.9, 12: 31.0}
    ours, theirs = difference(a, b), ttest_ind(list(b.values()), list(a.values()), equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert ours.method == "Welch"
    assert (ours.p, ours.freedom) == pytest.approx((theirs.pvalue, theirs.df))
    assert ours.interval == pytest.approx((interval.low, interval.high))


def test_the_same_seeds_are_paired_in_whatever_order() -> None:
    # differences 1, 2, 3, 4, 5: mean 3, sd 1.5811, t(4) = 2.7764
    found = difference({0: 10.0, 1: 50.0, 2: 90.0, 3: 0.0, 4: 7.0}, {2: 93.0, 4: 12.0, 0: 11.0, 3: 4.0, 1: 52.0})
    assert found.method == "paired by seed"
    assert found.interval == pytest.approx((3 - 1.96324, 3 + 1.96324), abs=1e-4)


@pytest.mark.parametrize("other", [1.0, 2.0])
def test_seeds_that_do_not_differ_say_nothing_of_chance(other: float) -> None:
    found = difference(dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), other))
    assert found.ahead_by == other - 1.0 and found.p is None and found.interval is None


def test_holm_known_answer() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_equal_groups_are_seldom_told_apart_although_the_best_was_chosen_by_its_mean() -> None:
    rng, tables = np.random.default_rng(701), 200
    false = 0
    for _ in range(tables):
        values = rng.normal(size=(5, 5))
        groups = [dict(enumerate(own)) for own in values[np.argsort(values.mean(1))]]
        false += any(d.claim for d in differences(groups))
    assert false / tables <= 0.05 + 2 * (0.05 * 0.95 / tables) ** 0.5
