"""Labels only: from a wrong image along the boundary to the nearest one."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import AttackResult
from evofool.attacks.goals import Goal, Untargeted
from evofool.attacks.options import AttackOptions
from evofool.attacks.query.asking import Image, Logits, Problem, QueryAttack, attack_by_asking
from evofool.classifiers.black_box import AnyClassifier, BlackBox
from evofool.errors import require_positive, require_seed
from evofool.numerics.random_numbers import fold_in_each, normals

_FIND, _BISECT, _ESTIMATE, _JUMP = range(4)
_FIRST_RADIUS = 0.1
_SMALLEST_JUMP = 1e-3
"""Of the distance: a jump that fails down to this length is given up, and the direction estimated again."""

_MOST_SAMPLES = 10_000


@dataclass(frozen=True)
class HopSkipJumpOptions(AttackOptions):
    """The samples and the queries.

    Attributes:
        samples: queries for the first estimate of the boundary's direction; those of the j-th are more by the
            square root of j.
        max_queries: of each image, the original among them.
        seed: of all random numbers.

    Raises:
        UsageError: a value is out of range.
    """

    samples: int = 100
    max_queries: int = field(default=5000, kw_only=True)
    seed: int = 0
    goals = (Untargeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(samples=self.samples)
        require_seed(self.seed)


def hop_skip_jump(
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: HopSkipJumpOptions = HopSkipJumpOptions(),
) -> AttackResult:
    r"""HopSkipJump in the Euclidean norm (Chen, Jordan & Wainwright, IEEE S&P 2020, algorithm 2).

    From an image of uniform noise that is wrong a bisection leads to the boundary. There the direction of the
    boundary is estimated from the labels $\phi_i = \pm 1$ of images around (equation 12),

    $$v = \frac{1}{B - 1} \sum_i (\phi_i - \bar\phi) u_i$$

    a step of the length $\|x_t - x\| / \sqrt{t}$ along it is halved until its end is wrong, and a bisection
    leads to the boundary again, nearer to the original. Only the class of each query is used, so that a black
    box that answers with labels will do. It sees 8 bits, so that it cannot be asked about smaller changes.

    Args:
        classifier: the classifier to fool, or a black box.
        images: values in [0, 1].
        goal: `Untargeted(labels)`.
        options: the samples and the queries.

    Returns:
        The nearest wrong image that was asked about; the original where none was found.

    Raises:
        UsageError: the goal is targeted, or as `fast_gradient_sign`.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import predicted_classes
        >>> classifier = create_classifier("linear", (4, 4, 1), ("even", "odd"))
        >>> images = jnp.full((1, 4, 4, 1), 0.5)
        >>> goal = Untargeted(predicted_classes(classifier, images))
        >>> result = hop_skip_jump(classifier, images, goal, HopSkipJumpOptions(max_queries=500))
        >>> result.success.tolist(), result.queries.tolist()
        ([True], [500])
    """
    return attack_by_asking(_HOP_SKIP_JUMP, classifier, images, goal, options)


class _Attempt(NamedTuple):
    """Where the attack is.

    Attributes:
        best: the nearest wrong image.
        logits: its logits.
        finished: whether the original is wrong.
        distance: of the best image, infinite before there is one.
        phase: what is asked: for any wrong image, a bisection, an estimate or the end of a jump.
        iteration: how many jumps were begun, at least one.
        point: the wrong image that everything is relative to.
        low: the share of the way to it that is known to be right, in a bisection.
        high: the share that is known to be wrong.
        samples: of the estimate so far.
        sums: of the labels, of the changes, and of their products.
        jump: the length that is tried.
    """

    best: Image
    logits: Logits
    finished: Bool[Array, ""]
    distance: Float[Array, ""]
    phase: Int[Array, ""]
    iteration: Int[Array, ""]
    point: Image
    low: Float[Array, ""]
    high: Float[Array, ""]
    samples: Int[Array, ""]
    sums: tuple[Float[Array, ""], Image, Image]
    jump: Float[Array, ""]


def _begin(problem: Problem, logits: Logits) -> _Attempt:
    original, zero = problem.original, jnp.float32(0)
    return _Attempt(
        best=original,
        logits=logits,
        finished=problem.reached(logits),
        distance=jnp.float32(jnp.inf),
        phase=jnp.int32(_FIND),
        iteration=jnp.int32(1),
        point=original,
        low=zero,
        high=jnp.float32(1),
        samples=jnp.int32(0),
        sums=(zero, jnp.zeros_like(original), jnp.zeros_like(original)),
        jump=zero,
    )


def _propose(problem: Problem, attempt: _Attempt, asked: Int[Array, ""]) -> Image:
    original, point = problem.original, attempt.point
    noise = normals(fold_in_each(problem.key, asked)[None], original.size)[0].reshape(original.shape)
    middle = original + 0.5 * (attempt.low + attempt.high) * (point - original)
    sample = point + _radius(problem, attempt) * noise / _length(noise)
    jump = point + attempt.jump * _direction(attempt)
    return jnp.clip(
        jnp.select(
            [attempt.phase == _FIND, attempt.phase == _BISECT, attempt.phase == _ESTIMATE],
            [jax.scipy.special.ndtr(noise), middle, sample],
            jump,
        ),
        0,
        1,
    )


def _learn(
    problem: Problem, attempt: _Attempt, image: Image, logits: Logits, asked: Int[Array, ""]
) -> _Attempt:
    wrong, size = problem.reached(logits), _length(image - problem.original)
    nearer = wrong & (size < attempt.distance)
    attempt = attempt._replace(
        best=jnp.where(nearer, image, attempt.best),
        logits=jnp.where(nearer, logits, attempt.logits),
        distance=jnp.where(nearer, size, attempt.distance),
    )
    after = [
        _found(attempt, image, wrong),
        _bisected(problem, attempt, wrong),
        _estimated(problem, attempt, image, wrong),
        _jumped(problem, attempt, image, wrong),
    ]
    chosen = after[0]
    for phase, other in enumerate(after[1:], 1):
        chosen = _where(attempt.phase == phase, other, chosen)
    return chosen


def _found(attempt: _Attempt, image: Image, wrong: Bool[Array, ""]) -> _Attempt:
    return _where(wrong, _bisect_from(attempt, image), attempt)


def _bisected(problem: Problem, attempt: _Attempt, wrong: Bool[Array, ""]) -> _Attempt:
    middle = 0.5 * (attempt.low + attempt.high)
    low, high = jnp.where(wrong, attempt.low, middle), jnp.where(wrong, middle, attempt.high)
    point = problem.original + high * (attempt.point - problem.original)
    nothing = jax.tree.map(jnp.zeros_like, attempt.sums)
    estimating = attempt._replace(
        phase=jnp.int32(_ESTIMATE), point=jnp.clip(point, 0, 1), samples=jnp.int32(0), sums=nothing
    )
    return _where(high - low <= _tolerance(problem), estimating, attempt._replace(low=low, high=high))


def _estimated(problem: Problem, attempt: _Attempt, image: Image, wrong: Bool[Array, ""]) -> _Attempt:
    label, change = jnp.where(wrong, 1.0, -1.0), image - attempt.point
    labels, changes, products = attempt.sums
    sums = (labels + label, changes + change, products + label * change)
    samples = attempt.samples + 1
    wanted = jnp.minimum(_MOST_SAMPLES, problem.options.samples * jnp.sqrt(attempt.iteration))
    jump = _length(attempt.point - problem.original) / jnp.sqrt(attempt.iteration)
    more = attempt._replace(samples=samples, sums=sums)
    return _where(samples < wanted, more, more._replace(phase=jnp.int32(_JUMP), jump=jump))


def _jumped(problem: Problem, attempt: _Attempt, image: Image, wrong: Bool[Array, ""]) -> _Attempt:
    landed = _bisect_from(attempt, image)._replace(iteration=attempt.iteration + 1)
    shorter = attempt._replace(jump=0.5 * attempt.jump)
    distance = _length(attempt.point - problem.original)
    # Too short to lead anywhere: another estimate may.
    again = attempt._replace(
        phase=jnp.int32(_ESTIMATE),
        samples=jnp.int32(0),
        sums=jax.tree.map(jnp.zeros_like, attempt.sums),
        iteration=attempt.iteration + 1,
    )
    given_up = shorter.jump < _SMALLEST_JUMP * distance
    return _where(wrong, landed, _where(given_up, again, shorter))


def _bisect_from(attempt: _Attempt, image: Image) -> _Attempt:
    return attempt._replace(phase=jnp.int32(_BISECT), point=image, low=jnp.float32(0), high=jnp.float32(1))


def _where(condition: Bool[Array, ""], so: _Attempt, otherwise: _Attempt) -> _Attempt:
    return jax.tree.map(lambda yes, no: jnp.where(condition, yes, no), so, otherwise)


def _direction(attempt: _Attempt) -> Image:
    labels, changes, products = attempt.sums
    count = jnp.maximum(attempt.samples, 1)
    mean = labels / count
    # All on one side: the mean of the changes leads there, or away.
    one_sided = jnp.abs(mean) > 1 - 0.5 / count
    direction = jnp.where(one_sided, mean * changes, products - mean * changes)
    return direction / jnp.maximum(_length(direction), 1e-12)


def _tolerance(problem: Problem) -> float:
    """To what share of the way a bisection finds the boundary (section 3.3.2 of the paper)."""
    return float(problem.original.size**-1.5)


def _radius(problem: Problem, attempt: _Attempt) -> Float[Array, ""]:
    """How far samples are from the point: little, but as much as the bisection is uncertain."""
    size = problem.original.size
    distance = _length(attempt.point - problem.original)
    radius = jnp.where(attempt.iteration == 1, _FIRST_RADIUS, size**0.5 * _tolerance(problem) * distance)
    # Images of 8 bits differ by whole levels.
    return jnp.maximum(radius, 2 * size**0.5 / 255) if isinstance(problem.classifier, BlackBox) else radius


def _length(change: Image) -> Float[Array, ""]:
    return jnp.sqrt(jnp.square(change).sum())


_HOP_SKIP_JUMP = QueryAttack(_begin, _propose, _learn, in_ball=False)
