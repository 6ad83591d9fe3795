"""How often a perfect generator gets a green light: fresh phantom subjects in the place of synthetic images.

    python benchmarks/perfect_generator.py [--draws 30]

Cohorts of so many test, training and validation subjects, of one slice or five each, and 300 images of further
subjects, one of each, evaluated as any generator's would be, without controls. All are drawn from one population, 64
px. Prints, as markdown, how often each question's light is green, what the others said, and how often each check
objects.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from ganatomy.evaluation.verdicts import verdicts, with_fault
from ganatomy.features.base import choose
from ganatomy.metrics import bounded, metric_modules
from ganatomy.metrics.base import Sample, Samples
from ganatomy.phantoms.cohort import subject_images

SIZE, WHITE, MADE = 64, 800, 300
COHORTS = ((40, 140, 20, 1), (20, 80, 10, 5), (8, 24, 4, 1), (5, 12, 0, 1))  # test, train, val subjects; slices
SUBJECTS = {1: 1000, 5: 450}  # of the populations
QUESTIONS = ("realistic", "diverse", "copies", "enough data")


def population(subjects: int, slices: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [subjects, slices, 1, s, s] and features [subjects, slices, d]."""
    images = np.concatenate([np.clip(subject_images(i, seed, SIZE, slices, anatomy="first").t1 / WHITE, 0, 1)
                             for i in range(subjects)])
    images = (images * 2 - 1).astype(np.float32).reshape(-1, 1, SIZE, SIZE)
    features = choose()(images)
    return images.reshape(subjects, slices, 1, SIZE, SIZE), features.reshape(subjects, slices, -1)


def sample(images: np.ndarray, features: np.ndarray, people: np.ndarray) -> Sample:
    """All slices of these subjects."""
    names = [f"s{p}" for p in np.repeat(people, images.shape[1])]
    return Sample(images[people].reshape(-1, 1, SIZE, SIZE), names, features[people].reshape(-1, features.shape[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=30)
    draws, started = parser.parse_args().draws, time.perf_counter()
    known = {slices: population(subjects, slices, 31 + slices) for slices, subjects in SUBJECTS.items()}
    print(f"| test / train / val subjects, slices | {' | '.join(QUESTIONS)} | objections |\n|{'---|' * 6}")
    for test, train, val, slices in COHORTS:
        images, features = known[slices]
        lights: dict[str, Counter[str]] = {question: Counter() for question in QUESTIONS}
        objections: Counter[str] = Counter()
        for draw in range(draws):
            rng = np.random.default_rng((slices, test, draw))
            people = np.split(rng.permutation(len(images)), np.cumsum([test, train, val, MADE]))
            real = [sample(images, features, part) for part in people[:3]]
            one = rng.integers(slices, size=MADE)
            fake = Sample(images[people[3], one], None, features[people[3], one])
            samples = Samples(real[0], fake, real[1], real[2] if val else None, seed=draw)
            results = [with_fault(bounded(r)) for m in metric_modules() for r in m.compute(samples)]
            results = [r for r in results if r.value is not None]
            for verdict in verdicts(results):
                lights[verdict.question][verdict.light] += 1
            objections.update(r.name for r in results if r.fault and r.against == "test")
        cells = [", ".join(f"{light} {n / draws:.0%}" for light, n in lights[q].most_common()) for q in QUESTIONS]
        said = ", ".join(f"{name} {n}" for name, n in objections.most_common())
        print(f"| {test} / {train} / {val}, {slices} | {' | '.join(cells)} | {said} |", flush=True)
    print(f"\n{draws} draws a row; {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
