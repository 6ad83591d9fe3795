"""A finished study, read once for its report, and in prose: its protocol, the literature, what to beware of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ConfigDict, Field

from ganatomy.core.errors import UserError
from ganatomy.core.reading import Record, Whole, read_json
from ganatomy.core.text import counted, grouped, listed
from ganatomy.studies.answers import LEARNT_NOTHING, companion_of
from ganatomy.studies.cell import Audit, light_of
from ganatomy.studies.folder import StudyFolder
from ganatomy.studies.protocol import StudySettings
from ganatomy.studies.results import poor_gans

Results = Mapping[str, Any]
TO_ITS_END = "run `ganatomy study DATASET STUDY` to its end, then report again"
FEW_SUBJECTS = 30
CLASSIFIERS = {"fcn": "a small fully convolutional network", "resnet": "a small residual network",
               "features": "a logistic regression on the features of EfficientNet-Lite0, which was trained on "
                           "photographs (ImageNet)"}
SOURCES = {"ORG": "{name}: the cell's real images alone",
           "OVERSAMPLE": "{name}: with {many} repeated {what}",
           "GAN": "{name}: with {many} synthetic {what}",
           "GAN_ONLY": "{name}: synthetic images alone, of all classes, as many as in the arm GAN",
           "FRESH": "{name} (positive control): with {many} real {what} of further patients",
           "COPIES": "{name} (negative control): with {many} random draws of the {what}",
           "NOISE": "{name} (negative control): with {many} images of noise in place of {what}"}
AUGMENTED = {"AUG_": "AUG: with random horizontal and vertical flips on the fly",
             "AUG2_": "AUG2: with random flips, rotation by up to 15°, elastic deformation and changes of contrast on "
                      "the fly"}
REFERENCES = (
    ("Alyafi B, Diaz O, Martí R. DCGANs for realistic breast mass augmentation in x-ray mammography. Proc. "
     "SPIE 11314, Medical Imaging 2020. doi:10.1117/12.2543506.",
     "F1 against k with and without synthetic images."),
    ("Rao JNK, Wu CFJ. Resampling inference with complex survey data. Journal of the American Statistical "
     "Association 83, 231–241, 1988.", "The bootstrap of test subjects."),
    ("Nadeau C, Bengio Y. Inference for the generalization error. Machine Learning 52, 239–281, 2003.",
     "Why refits that share training data vary less among each other than their mean does."),
    ("Holm S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, "
     "65–70, 1979.", "The correction for several comparisons."),
    ("Davis J, Goadrich M. The relationship between precision-recall and ROC curves. ICML 2006.",
     "Why average precision and F1 stand before ROC AUC where positives are rare."),
    ("Bissoto A, Valle E, Avila S. GAN-based data augmentation and anonymization for skin-lesion analysis: a "
     "critical review. arXiv:2104.10603, 2021.",
     "Gains were found out of distribution, if at all; hence a second test set from elsewhere."),
)


class _Shape(Record):
    model_config = ConfigDict(strict=True, extra="allow")


class _Answer(_Shape):
    verdict: str
    sentence: str
    why: list[str]
    primary: tuple[str, str] | None = None


class _Score(_Shape):
    arm: str
    k: Whole | None
    metric: str
    better: str
    value: float | None
    interval: tuple[float, float] | None
    floor: float | None


class _Contrast(_Shape):
    treatment: str
    reference: str
    metric: str
    k: Whole | None
    difference: float | None
    interval: tuple[float, float] | None
    p: float | None
    p_holm: float | None
    floor: float | None
    answer: str | None
    primary: bool
    sentence: str


class _Control(_Shape):
    treatment: str
    says: str
    as_expected: bool


class _Part(_Shape):
    """Of one set of test images."""

    answer: _Answer
    scores: list[_Score]
    contrasts: list[_Contrast]
    controls: list[_Control] = Field(default_factory=list)
    n_images: Whole
    n_subjects: Whole
    n_positive_subjects: dict[str, Whole]
    per_subject: dict[str, dict[str, float | None]] | None = None


class _Audit(Audit):
    cell: str
    k: Whole
    fold: Whole
    seed: Whole


class _Results(_Part):
    schema_version: Literal[1]
    dataset: str
    external_dataset: str | None
    settings: StudySettings
    arms: list[str]
    ks: list[Whole]
    audits: list[_Audit]
    external: _Part | None


@dataclass(frozen=True)
class StudyContext:
    """A finished study: its folder, its protocol, results.json, and whom to tell of progress."""

    folder: StudyFolder
    settings: StudySettings
    results: dict[str, Any]
    say: Callable[[str], None]

    @property
    def audits(self) -> list[dict[str, Any]]:
        """The audits of its GANs, in the order of k, fold and seed."""
        return sorted(self.results["audits"], key=lambda a: (a["k"], a["fold"], a["seed"], a["label"]))

    @property
    def lights(self) -> Counter[str]:
        """How many GANs have which light."""
        return Counter(light_of(audit) for audit in self.audits)

    @property
    def one_class(self) -> bool:
        """Whether there is one class with synthetic images, which need not be named."""
        return len(self.settings.positives) == 1

    @property
    def positives(self) -> str:
        """The rare classes in words."""
        return listed(self.settings.positives)


def read_results(folder: StudyFolder) -> dict[str, Any]:
    """results.json.

    Raises:
        UserError: there are none yet, cells are not done, or results.json is broken or of another study.
    """
    if not folder.results_file.is_file():
        raise UserError("has no results yet", where=folder.path, fix=TO_ITS_END)
    if folder.cells.is_dir():  # a study may be passed on without its cells, which hold images of patients
        left = [c for c in folder.all_cells() if not folder.cell(c).is_done()]
        if left:
            raise UserError(f"{counted(len(left), 'cell')} not done, the first is {left[0].name}", where=folder.path,
                            fix=TO_ITS_END)
    results, about = read_json(folder.results_file, _Results, TO_ITS_END, strict=None), folder.about()
    if (results.settings, results.dataset, results.external_dataset) != \
            (about.settings, about.dataset, about.external) or (results.external is None) != (about.external is None):
        raise UserError("is of another study than study.json: its settings or datasets differ",
                        where=folder.results_file, fix=TO_ITS_END)
    return results.model_dump(mode="json")


# -- in words

def methods(context: StudyContext) -> list[str]:
    """The protocol in paragraphs fit for a methods section: data, training, arms, statistics."""
    settings, results = context.settings, context.results
    return [_data(settings, results), _training(settings), _arms(settings), _statistics(settings, results)]


def _data(s: StudySettings, results: Results) -> str:
    whose = "; ".join(f"{grouped(n, 'subject')} with {c}" for c, n in results["n_positive_subjects"].items())
    also = ", nested: the subjects drawn for a smaller k are among those for a larger one" if s.k[1:] else ""
    chosen, had = ("decision threshold", "was that with") if s.classifier.name == "features" else \
        ("checkpoint and the decision threshold", "were those with")
    each, cells = " each" if s.positives[1:] else "", grouped(len(s.k) * s.folds * s.seeds, "cell")
    return (f"The data were {grouped(results['n_images'], s.domain + ' image')} of "
            f"{grouped(results['n_subjects'], 'subject')} ({whose}), {s.size} × {s.size} pixels. Subjects were dealt "
            f"into {s.folds} folds, stratified by class; each fold was held out in turn and is the same for every k, "
            f"arm and seed. A held-out fold was divided by subject into two halves: the {chosen} "
            f"applied to one half {had} the best F1 on the other, so that no image was judged by "
            f"what had been chosen on it. Of the other folds, k images of {listed(s.positives)}{each} "
            f"were drawn subject by subject, the last one in part (k = {listed(f'{k:,}' for k in s.k)}{also}), and "
            f"likewise {s.imbalance:g} × k images of other classes, repeated with {grouped(s.seeds, 'seed')}: "
            f"{cells} in all.")


def _training(s: StudySettings) -> str:
    c = s.classifier
    fitted = "" if c.name == "features" else (
        f", trained with {grouped(c.updates, 'gradient update')} of {grouped(c.batch_size, 'image')} (Adam, step size "
        f"{c.learning_rate:g} falling to {c.learning_rate * c.final_rate:g}, weight decay {c.weight_decay:g}; the best "
        f"of {grouped(c.checkpoints, 'checkpoint')}), from the same first weights in every arm")
    classifier = f"The classifier was {CLASSIFIERS[c.name]}{fitted}."
    if not s.needs_gan:
        return classifier
    r = s.recipe
    steps = grouped(r.steps, "generator step") if r.steps else f"{r.epochs:g} epochs"
    only = any(arm.source == "GAN_ONLY" for arm in s.parsed_arms())
    which = "every class" if only else "each positive class" if len(s.positives) > 1 else listed(s.positives)
    average = "averaged weights of the last step" if r.ema is not None else "weights of the last step"
    return (f"In each cell a GAN ({r.gan}, recipe {r.name}, {r.size} × {r.size} pixels, {steps}, batch size "
            f"{r.batch_size}) was trained for {which} on the cell's own real training images of that class and no "
            f"others (begun again with another seed where it collapsed), and shared by the cell's arms. The {average} "
            f"were used: no validation image guided the choice. "
            f"Each GAN was audited by its kernel distance from the held-out images of its class and for copies of "
            f"training images. {classifier}")


def _arms(s: StudySettings) -> str:
    arms = s.parsed_arms()
    plain = {(a.source, a.factor): a for a in arms}
    what = "images of each positive class" if len(s.positives) > 1 else f"images of {s.positives[0]}"
    texts = [SOURCES[a.source].format(name=a.name.removeprefix(a.prefix), many=f"{a.factor:g} × k", what=what)
            for a in plain.values()]
    texts += [text for prefix, text in AUGMENTED.items() if any(a.prefix == prefix for a in arms)]
    return (f"The arms ({', '.join(a.name for a in arms)}) differed in nothing but their training images. "
            f"{'; '.join(texts)}.")


def _statistics(s: StudySettings, results: Results) -> str:
    primary = results["answer"].get("primary")
    refits = "seeds" if s.seeds > 1 else "folds"
    texts = ["F1 and the other figures were computed from the held-out images of all folds pooled within a seed, "
            "average precision and ROC AUC within folds, then averaged over seeds"
            f"{'; with several positive classes, each one against the rest, then averaged' * bool(s.positives[1:])}.",
            "The variance behind a 95% interval is that from resampling test subjects, jointly for all arms, k and "
            "seeds, within folds and strata of class, and that of training: by how much "
            f"{refits} differed beyond what their test subjects explain, with an eighth of it taken for common to all "
            "classifiers. In simulations such intervals held the true difference in 93 to 97% of studies. Below five "
            "subjects with or without a class no interval is given."]
    if primary:
        other = companion_of((primary[0], primary[1]), [a.name for a in s.parsed_arms()])
        beside = f" and {other[0]} − {other[1]}" if other else ""
        agrees = f", and {other[0]} also beat {other[1]}" if other else ""
        texts.append(f"The primary comparison, named before any result was known, was {primary[0]} − {primary[1]} in "
                    f"F1, averaged over k, with {s.margin:g} as the smallest difference that would matter; all "
                    f"comparisons averaged over k but it{beside} had to pass "
                    "Holm's correction to be said to help or hurt; single k are descriptions.")
        texts.append("“Helps” was to be said only if the interval lay above 0, the difference was "
                     f"{s.margin:g} or more{agrees}; “does not help” only if the interval lay below {s.margin:g}.")
    if results.get("external"):
        texts.append("The same classifiers judged an external set; its figures are the means of all classifiers'.")
    return " ".join(texts)


def warnings(context: StudyContext) -> list[str]:
    """What a reader must know before believing the answer."""
    results, texts = context.results, []
    fewest = min(results["n_positive_subjects"].values(), default=0)
    if results.get("per_subject"):
        texts.append("There are fewer than five test subjects with or without a class: too few for any interval.")
    elif fewest < FEW_SUBJECTS:
        texts.append(f"There are {grouped(fewest, 'test subject')} with the rarest positive class. Intervals are wide, "
                    "and patients of a kind that is not among them may be judged quite differently.")
    texts += [text for text in results["answer"]["why"] if text.startswith(LEARNT_NOTHING)]
    texts += [*poor_gans(context.audits), *_of_gans(context)]
    texts += [f"Control {c['says']}" for c in results.get("controls") or [] if not c["as_expected"]]
    if not results.get("external"):
        texts.append("The test subjects come from the same dataset as the training subjects. On images from elsewhere "
                    "the answer may be another: --external tests on them.")
    if context.settings.seeds == 1:
        texts.append("One seed: how much another training would change is not known.")
    return texts


def _of_gans(context: StudyContext) -> list[str]:
    n, total, texts = context.lights, grouped(len(context.audits), "GAN"), []
    if n["red"]:
        texts.append(f"{n['red']} of {total} {'makes' if n['red'] == 1 else 'make'} copies of training "
                    "images: part of what the GAN arms add in such a cell are repeated patients, and its images must "
                    "be treated like scans of patients.")
    if n["amber"]:
        texts.append(f"{n['amber']} of {total} passed the audit for copies with reservations: see the "
                    "sentence about each below.")
    if n["grey"]:
        texts.append(f"{n['grey']} of {total} could not be audited for copies, mostly for want of "
                    "patients: whether their images are new is not known.")
    fewest = min((a["training_subjects"] for a in context.audits), default=FEW_SUBJECTS)
    if fewest < 5:
        texts.append(f"Some GANs learnt from {grouped(fewest, 'patient')} only: k counts images, and k images may be "
                    "of very few patients.")
    return texts
