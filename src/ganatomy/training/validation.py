"""Looking at the generator during training: is it the best so far, and is it still alive?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ganatomy.core.errors import UserError
from ganatomy.core.recipe import Recipe
from ganatomy.data.batches import Feed
from ganatomy.data.manifest import Row
from ganatomy.features.base import independent
from ganatomy.generators.sampler import Sampler
from ganatomy.metrics.critic import Sides
from ganatomy.metrics.critic.critics import JS, LEAST_SIDE, SWAPPED, Critic, published_critic
from ganatomy.metrics.frechet import frechet_distance
from ganatomy.metrics.kernel import KDScorer
from ganatomy.training.draws import thin

SEED, CRITIC_SEED = 2, 3  # of the fakes that are scored, and of those that a critic learns from
SCORES = {"kd": "kd", "fd": "fd", "critic": "critic_js"}  # what a recipe selects by, and its name in the log
CRITIC_BATCHES, CRITIC_BYTES = 100, 2**29  # what a critic learns from, each side; both limit it
MOST_REAL, FEWEST_FAKE = 500, 256
LEAST_DIVERSITY = 0.05
TRANSLATIONS = 6  # looked at during training
WARM_UP_SHARE, WARM_UP_STEPS = 0.25, (500, 2000)


class Validator:
    """Scores a generator on the validation split and notices collapse.

    Attributes:
        scores: whether the recipe selects by a score and there are validation images to do it with.
        note: a line for the user, where a choice of checkpoint was wanted and is not possible.
    """

    def __init__(self, feed: Feed, recipe: Recipe) -> None:
        dataset = feed.dataset
        val = dataset.rows(recipe.domain, "val", recipe.label)
        self.real_spread = spread(dataset.images(thin(feed.rows, 64), recipe.size))
        if feed.source:  # translations can be no more diverse than what they start from
            self.real_spread = min(self.real_spread, spread(dataset.images(preview_rows(feed, recipe)[0], recipe.size)))
        self._dataset, self._rows, self._size = dataset, thin(val, MOST_REAL), recipe.size
        self._source = dataset.rows(recipe.source, "val", recipe.label) if recipe.source else []
        self.subjects = [r.subject for r in self._rows]
        enough = len(set(self.subjects)) >= 2 and (recipe.source is None or bool(self._source))
        self.scores = recipe.select != "last" and enough
        self._feed, self._recipe = feed, recipe
        self.note = ""
        if recipe.select != "last" and not self.scores:
            self.note = "no choice among checkpoints: fewer than two validation subjects, so the last one counts"
        if recipe.select == "critic" and recipe.size < LEAST_SIDE:
            raise UserError(f"a critic needs images of {LEAST_SIDE} pixels or more, and these have {recipe.size}",
                            where="--select", fix="use --select kd")
        self._scorer: KDScorer | None = None

    @property
    def features(self) -> str:
        """Of which features the scores are: Lite0, or others where the training looks through that."""
        return self._scorer.name if self._scorer else "Lite0"

    def prepare(self, sampler: Sampler) -> KDScorer:
        """What scores share, at the first call: the features of the validation images."""
        if self._scorer is None:
            self._scorer = KDScorer(self._dataset.images(self._rows, self._size), self.subjects,
                                    features=independent(sampler.model.looks_through))
        return self._scorer

    def score(self, sampler: Sampler) -> dict[str, float]:
        """`kd` and `fd` of fakes and validation images, over `features`, and a critic's scores if asked."""
        real = self._dataset.images(self._rows, self._size)
        scorer = self.prepare(sampler)
        fakes = self._fakes(sampler)
        features = scorer.features(fakes)
        scores = {"kd": scorer.distance(features), "fd": frechet_distance(scorer.real, features)}
        if self._recipe.select == "critic":
            scores |= self._critic_scores(sampler, Sides(real, fakes))
        return scores

    def rank(self, scores: dict[str, float]) -> tuple[float, float]:
        """What decides between checkpoints, smallest first, and what does where that is equal.

        Below 0 a critic's bound says how wrong the critic is, not how good the images are: it counts as 0.
        """
        chosen = scores[SCORES[self._recipe.select]]
        return (max(0.0, chosen), scores["kd"]) if self._recipe.select == "critic" else (chosen, 0.0)

    def _critic_scores(self, sampler: Sampler, held_out: Sides) -> dict[str, float]:
        """What a critic sees between validation images and fakes after 100 batches of training ones (Schilling 2020).

        First weights, batches and latents are the same at every checkpoint, so that checkpoints differ by their
        generators alone. `critic_js` is its lower bound of the Jensen-Shannon divergence, nats; `critic_swapped` its
        cross-entropy with labels swapped; `discriminator` that of the GAN's own discriminator, where its scores are
        logits. All three rise with the distance.
        """
        recipe, seed = self._recipe, self._recipe.seed
        critic = published_critic(self._lessons(sampler), recipe.batch_size, seed, sampler.device)
        scores = {"critic_js": critic.value(JS, held_out), "critic_swapped": critic.value(SWAPPED, held_out)}
        if sampler.model.scores_are_logits:
            # minibatch discrimination looks at a batch as a whole: as many as in training
            own = Critic(sampler.model.discriminator, 0, sampler.device, recipe.batch_size)
            scores["discriminator"] = own.value(SWAPPED, held_out)
        return scores

    def _lessons(self, sampler: Sampler) -> Sides:
        """Training images and fakes for a critic to learn from."""
        pixels = sampler.channels * sampler.size**2
        most = min(CRITIC_BATCHES * self._recipe.batch_size, max(1, CRITIC_BYTES // (4 * pixels)))
        real = self._dataset.images(thin(self._feed.rows, most), self._size)
        if sampler.model.translates:
            assert self._feed.source is not None
            sources = self._dataset.images(thin(self._feed.source.rows, most), self._size)
            return Sides(real, sampler.translate(sources, SEED))
        return Sides(real, sampler.sample(most, CRITIC_SEED))

    def _fakes(self, sampler: Sampler) -> NDArray[np.float32]:
        """Translations of validation images where the model translates, images from noise otherwise."""
        if sampler.model.translates:
            return sampler.translate(self._dataset.images(thin(self._source, MOST_REAL), self._size), SEED)
        return sampler.sample(max(FEWEST_FAKE, len(self.subjects)), SEED)

    def collapsed(self, images: NDArray[np.float32], step: int, steps: int) -> bool:
        """Whether the images differ from each other by less than a twentieth of what real ones do.

        Young generators make one grey image too, so the first quarter of the steps does not count, but for at least 500
        and at most 2,000 of them.
        """
        least, most = WARM_UP_STEPS
        if step < min(max(least, WARM_UP_SHARE * steps), most):
            return False
        return not spread(images) >= LEAST_DIVERSITY * self.real_spread  # NaN is no life either


def preview_rows(feed: Feed, recipe: Recipe) -> tuple[list[Row], bool]:
    """The source images whose translations are looked at during training, and whether they are held out."""
    assert feed.source is not None
    held_out = feed.dataset.rows(recipe.source, "val", recipe.label)
    return thin(held_out or feed.source.rows, TRANSLATIONS), bool(held_out)


def spread(images: NDArray[np.float32]) -> float:
    """Standard deviation of each pixel over the images, averaged over pixels."""
    return float(images.std(0).mean())
