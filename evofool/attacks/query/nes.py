"""Gradients from answers: an evolution strategy around the image, and sign steps along its estimate."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import AttackResult
from evofool.attacks.balls import radius
from evofool.attacks.goals import Goal
from evofool.attacks.options import AttackOptions
from evofool.attacks.query.asking import Image, Logits, Problem, QueryAttack, attack_by_asking
from evofool.classifiers.black_box import AnyClassifier
from evofool.errors import UsageError, require_positive, require_seed, require_share
from evofool.numerics.random_numbers import fold_in_each, normals

_EPSILONS = (0.25, 8 / 255)
"""For grey images and for colour."""
_STEPS_THROUGH_BALL = 5


@dataclass(frozen=True)
class NESOptions(AttackOptions):
    """The ball, the samples and the queries.

    Attributes:
        epsilon: the most that a value may change, in (0, 1]; by default 0.25 for grey images and 8/255 for
            colour.
        samples: queries for one estimate of the gradient, an even number.
        sigma: standard deviation of their noise, in [0, 1] units. A black box, which sees 8 bits, needs a
            grey level or more (0.004).
        step_size: the change of every value in one step; by default a fifth of epsilon.
        max_queries: of each image, the original among them.
        seed: of all random numbers.

    Raises:
        UsageError: a value is out of range, or the samples do not come in pairs.
    """

    epsilon: float | None = None
    samples: int = 50
    sigma: float = 0.02
    step_size: float | None = None
    max_queries: int = field(default=5000, kw_only=True)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(epsilon=self.epsilon, step_size=self.step_size, sigma=self.sigma)
        require_positive(samples=self.samples)
        require_share(epsilon=self.epsilon, sigma=self.sigma)
        require_seed(self.seed)
        if self.samples % 2:
            raise UsageError(f"samples must be even, because they come in pairs, not {self.samples}")


def nes(
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: NESOptions = NESOptions(),
) -> AttackResult:
    r"""Projected steps along estimated gradients (Ilyas, Engstrom, Athalye & Lin, ICML 2018, section 2.2).

    $$g = \frac{1}{n \sigma} \sum_i F(x + \sigma u_i) u_i, \quad
    x \leftarrow \text{clip}_{[0, 1] \cap [x_0 - \epsilon, x_0 + \epsilon]}(x + \alpha \, \text{sign}(g))$$

    with normal $u_i$ in antithetic pairs: the gradient of an evolution strategy (Salimans et al., 2017). F is
    the log-odds that the goal raises. Samples are clipped to the ball, so that each of them may be the image
    that reaches the goal; after each step its image is a query too. At the edge of the ball clipped noise
    has a mean, which is taken off: g is the covariance of F and the noise as it was asked about.

    It needs confidences: with the labels of a black box alone all samples look the same.

    Args:
        classifier: the classifier to fool, or a black box.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        options: the ball, the samples and the queries.

    Returns:
        The first image that reached the goal, or else that of the largest F, with the `queries` until then.

    Raises:
        UsageError: as `fast_gradient_sign`.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Untargeted, predicted_classes
        >>> classifier = create_classifier("linear", (4, 4, 1), ("even", "odd"))
        >>> images = jnp.full((1, 4, 4, 1), 0.5)
        >>> result = nes(classifier, images, Untargeted(predicted_classes(classifier, images)))
        >>> result.success.tolist(), float(result.linf[0]) <= 0.2501
        ([True], True)
    """
    return attack_by_asking(_NES, classifier, images, goal, options)


class _Attempt(NamedTuple):
    """Where the attack is.

    Attributes:
        best: the image of the best query.
        logits: its logits.
        finished: whether it has reached the goal.
        score: of the best image.
        centre: the image that is estimated around.
        centre_score: of that image.
        sums: of what the samples so far have gained on it, of their changes, and of the products.
    """

    best: Image
    logits: Logits
    finished: Bool[Array, ""]
    score: Float[Array, ""]
    centre: Image
    centre_score: Float[Array, ""]
    sums: tuple[Float[Array, ""], Image, Image]


def _begin(problem: Problem, logits: Logits) -> _Attempt:
    original = problem.original
    return _Attempt(
        best=original,
        logits=logits,
        finished=problem.reached(logits),
        score=problem.objective(logits),
        centre=original,
        centre_score=problem.objective(logits),
        sums=_nothing(original),
    )


def _propose(problem: Problem, attempt: _Attempt, asked: Int[Array, ""]) -> Image:
    samples = problem.options.samples
    step, place = (asked - 1) // (samples + 1), (asked - 1) % (samples + 1)
    key = fold_in_each(problem.key, step * samples + place // 2)
    noise = normals(key[None], problem.original.size)[0].reshape(problem.original.shape)
    sign = jnp.where(place == samples, 0, jnp.where(place % 2, -1.0, 1.0))
    return _clipped(problem, attempt.centre + sign * problem.options.sigma * noise)


def _learn(
    problem: Problem, attempt: _Attempt, image: Image, logits: Logits, asked: Int[Array, ""]
) -> _Attempt:
    samples = problem.options.samples
    place = (asked - 1) % (samples + 1)
    score, reached = problem.objective(logits), problem.reached(logits)
    gain, change = score - attempt.centre_score, image - attempt.centre
    gains, changes, products = sums = jax.tree.map(jnp.add, attempt.sums, (gain, change, gain * change))
    # The noise as it was asked about, clipped and rounded: its mean is not zero, so take the covariance.
    gradient = products - gains * changes / samples
    step = problem.options.step_size
    step = _epsilon(problem) / _STEPS_THROUGH_BALL if step is None else step
    moves = place == samples - 1
    moved = _clipped(problem, attempt.centre + step * jnp.sign(gradient))
    begins = moves | (place == samples)
    better = (score > attempt.score) | reached
    return _Attempt(
        best=jnp.where(better, image, attempt.best),
        logits=jnp.where(better, logits, attempt.logits),
        finished=reached,
        score=jnp.where(better, score, attempt.score),
        centre=jnp.where(moves, moved, attempt.centre),
        centre_score=jnp.where(place == samples, score, attempt.centre_score),
        sums=jax.tree.map(lambda new, none: jnp.where(begins, none, new), sums, _nothing(image)),
    )


def _nothing(image: Image) -> tuple[Float[Array, ""], Image, Image]:
    return jnp.float32(0), jnp.zeros_like(image), jnp.zeros_like(image)


_NES = QueryAttack(_begin, _propose, _learn)


def _epsilon(problem: Problem) -> float | Float[Array, ""]:
    epsilon = problem.options.epsilon
    return radius(None, "linf", problem.original.shape, _EPSILONS) if epsilon is None else epsilon


def _clipped(problem: Problem, image: Image) -> Image:
    original, epsilon = problem.original, _epsilon(problem)
    return jnp.clip(image, jnp.maximum(original - epsilon, 0), jnp.minimum(original + epsilon, 1))
