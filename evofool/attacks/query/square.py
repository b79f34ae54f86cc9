"""Random squares: the change of a window of the image, kept where the classifier likes it."""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from evofool.attacks.attack import AttackResult
from evofool.attacks.goals import Goal, Untargeted
from evofool.attacks.options import AttackOptions, static
from evofool.attacks.query.asking import Image, Logits, Problem, QueryAttack, attack_by_asking
from evofool.classifiers.black_box import AnyClassifier
from evofool.errors import require_choice, require_positive, require_seed, require_share
from evofool.numerics.random_numbers import centred_uniform

_EPSILONS = {("linf", 1): 0.25, ("linf", 3): 8 / 255, ("l2", 1): 2.0, ("l2", 3): 0.5}

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""After which of 10,000 queries the area of the squares is halved; with fewer queries in proportion."""

_SCHEDULE = 10_000
_LEAST_CHANGE = 1e-4
_TILES = 5
_MOST_TILES = 10
_TILES_WORDS = _MOST_TILES**2


@dataclass(frozen=True)
class SquareOptions(AttackOptions):
    """The ball, the squares and the queries.

    Attributes:
        norm: "linf" or "l2".
        epsilon: the radius of the ball, above 0: of "linf" the change of every value, in [0, 1], by default
            0.25 for grey images and 8/255 for colour; of "l2" the length of the change, by default 2 for grey
            images and 0.5 for colour.
        max_queries: of each image, the original among them.
        share: of the image that the first squares cover, in [0, 1].
        seed: of all random numbers.

    Raises:
        UsageError: a value is out of range.
    """

    norm: Literal["linf", "l2"] = "linf"
    epsilon: float | None = None
    max_queries: int = field(default=5000, kw_only=True)
    share: float = static(0.8)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(("linf", "l2"), norm=self.norm)
        require_positive(epsilon=self.epsilon, share=self.share)
        require_share(share=self.share)
        if self.norm == "linf":
            require_share(epsilon=self.epsilon)
        require_seed(self.seed)


def square(
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: SquareOptions = SquareOptions(),
) -> AttackResult:
    r"""The square attack, within a ball (Andriushchenko, Croce, Flammarion & Hein, ECCV 2020, algorithm 1).

    Every query changes a random square of the best image so far, and is the best from then on if its loss is
    smaller. In the maximum norm (algorithm 2) a square takes one of the values $\pm\epsilon$ in each channel,
    and the first image has vertical stripes of them. In the Euclidean norm (algorithm 3) the change is moved
    from one square into another. The loss is the margin between the class and the best other one, for a
    target minus its log-odds. The area of the squares is halved at the times of the paper, stretched to
    `max_queries`.

    It needs confidences: with the labels of a black box alone it has nothing to follow.

    Args:
        classifier: the classifier to fool, or a black box.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        options: the ball, the squares and the queries.

    Returns:
        The first image that reached the goal or else the best, with the `queries` until then. They depend on
        the seed and on the place of an image among the others, and on nothing else.

    Raises:
        UsageError: as `fast_gradient_sign`.

    Example:
        >>> from evofool import load_classifier
        >>> from evofool.datasets import load_dataset
        >>> from evofool.images import from_uint8
        >>> dataset = load_dataset("digits")
        >>> images, labels = from_uint8(dataset.test_images[:4]), dataset.test_labels[:4]
        >>> result = square(load_classifier("lenet-digits"), images, Untargeted(labels))
        >>> result.success.tolist(), bool((result.queries <= 5000).all())
        ([True, True, True, True], True)
    """
    return attack_by_asking(_SQUARES[options.norm], classifier, images, goal, options)


class _Attempt(NamedTuple):
    """The best image so far, with its logits and its loss."""

    best: Image
    logits: Logits
    loss: Float[Array, ""]
    finished: Bool[Array, ""]


def _begin(problem: Problem, logits: Logits) -> _Attempt:
    # Whatever the second query is, it replaces the original.
    return _Attempt(problem.original, logits, jnp.float32(jnp.inf), problem.reached(logits))


def _learn(
    problem: Problem, attempt: _Attempt, image: Image, logits: Logits, asked: Int[Array, ""]
) -> _Attempt:
    untargeted = isinstance(problem.goal, Untargeted)
    loss = -(problem.margin(logits) if untargeted else problem.objective(logits))
    reached = problem.reached(logits)
    better = (loss < attempt.loss) | reached
    return _Attempt(
        jnp.where(better, image, attempt.best),
        jnp.where(better, logits, attempt.logits),
        jnp.where(better, loss, attempt.loss),
        reached,
    )


def _propose_linf(problem: Problem, attempt: _Attempt, asked: Int[Array, ""]) -> Image:
    (height, width, channels), epsilon = problem.original.shape, _epsilon(problem)
    words = problem.words(asked, 2 + channels + width * channels)
    stripes = epsilon * _signs(words[2 + channels :]).reshape(1, width, channels)
    side = _sides(problem)[_level(problem, asked)]
    window = _within(_corner(words[:2], side, height, width), side, height, width)[..., None]
    signs = epsilon * _signs(words[2 : 2 + channels])
    squares = [
        jnp.where(window, _clipped(problem.original + change), attempt.best) for change in (signs, -signs)
    ]
    # The same colours again would be a query for nothing.
    unchanged = (jnp.abs(squares[0] - attempt.best) < _LEAST_CHANGE).all()
    square = jnp.where(unchanged, squares[1], squares[0])
    return jnp.where(asked == 1, _clipped(problem.original + stripes), square)


def _propose_l2(problem: Problem, attempt: _Attempt, asked: Int[Array, ""]) -> Image:
    (height, width, channels), epsilon = problem.original.shape, _epsilon(problem)
    words = problem.words(asked, 5 + channels + _TILES_WORDS * (channels + 1))
    (bumps, sides), level = _bumps(problem), _level(problem, asked)
    side = sides[level]
    to_corner, from_corner = (_corner(each, side, height, width) for each in (words[:2], words[2:4]))
    to, from_ = (_within(corner, side, height, width)[..., None] for corner in (to_corner, from_corner))
    change = attempt.best - problem.original
    axes = (0, 1)
    norms_to, norms_both = (
        jnp.sqrt(jnp.square(change * mask).sum(axes, keepdims=True)) for mask in (to, to | from_)
    )
    bump = bumps[level, words[4] >> 31]
    bump = jnp.roll(bump, jnp.array(to_corner), (0, 1))[..., None]
    signs = _signs(words[5 : 5 + channels])
    new = jnp.where(to, bump * signs + change / (1e-10 + norms_to), 0)
    room = jnp.maximum(epsilon**2 - jnp.square(change).sum(), 0) / channels + norms_both**2
    new *= jnp.sqrt(room) / jnp.maximum(1e-10, jnp.sqrt(jnp.square(new).sum(axes, keepdims=True)))
    moved = jnp.where(to, new, jnp.where(from_, 0, change))
    change = jnp.where(asked == 1, _tiles(words[5 + channels :], problem), moved)
    length = jnp.sqrt(jnp.square(change).sum())
    return _clipped(problem.original + change * epsilon / jnp.maximum(length, 1e-10))


_SQUARES = {
    "linf": QueryAttack(_begin, _propose_linf, _learn),
    "l2": QueryAttack(_begin, _propose_l2, _learn),
}


def _epsilon(problem: Problem) -> float | Float[Array, ""]:
    epsilon = problem.options.epsilon
    if epsilon is None:
        return _EPSILONS[problem.options.norm, 1 if problem.original.shape[2] == 1 else 3]
    return epsilon


def _clipped(image: Image) -> Image:
    return jnp.clip(image, 0, 1)


def _level(problem: Problem, asked: Int[Array, ""]) -> Int[Array, ""]:
    """How often the area of the squares has been halved: of 10,000 queries after 10, 50, 200 and so on."""
    # The first square is the third query, after the original and the first change.
    reached = [-(-halving * problem.options.max_queries // _SCHEDULE) + 2 for halving in _HALVINGS]
    return (asked > jnp.array(reached)).sum()


def _areas(problem: Problem) -> np.ndarray:
    height, width, _ = problem.original.shape
    return problem.options.share * height * width / 2.0 ** np.arange(len(_HALVINGS) + 1)


def _sides(problem: Problem) -> Int[Array, " levels"]:
    """The side of the squares at each level."""
    most = max(1, min(problem.original.shape[:2]) - 1)
    return jnp.array(np.clip(np.rint(np.sqrt(_areas(problem))), 1, most), jnp.int32)


def _signs(words: UInt32[Array, " n"]) -> Float[Array, " n"]:
    return jnp.where(words >> 31, 1.0, -1.0)


def _corner(
    words: UInt32[Array, " 2"], side: Int[Array, ""], height: int, width: int
) -> tuple[Int[Array, ""], Int[Array, ""]]:
    top, left = centred_uniform(words)
    return (top * (height - side + 1)).astype(jnp.int32), (left * (width - side + 1)).astype(jnp.int32)


def _within(
    corner: tuple[Int[Array, ""], Int[Array, ""]], side: Int[Array, ""], height: int, width: int
) -> Bool[Array, "h w"]:
    rows, columns = (
        (jnp.arange(size) >= start) & (jnp.arange(size) < start + side)
        for size, start in zip((height, width), corner, strict=True)
    )
    return rows[:, None] & columns[None]


def _bumps(problem: Problem) -> tuple[Float[Array, "levels 2 h w"], Int[Array, " levels"]]:
    """The change of a square in the Euclidean norm at each level, upright and turned, and the sides."""
    shortest = min(problem.original.shape[:2])
    sides = [max(3, round(float(np.sqrt(area)))) for area in _areas(problem)]
    sides = [min(side + (side % 2 == 0), shortest) for side in sides]
    height, width, _ = problem.original.shape
    bumps = np.zeros((len(sides), 2, height, width), np.float32)
    for level, side in enumerate(sides):
        bumps[level, :, :side, :side] = _bump(side), _bump(side).T
    return jnp.array(bumps), jnp.array(sides, jnp.int32)


def _bump(side: int) -> Float[np.ndarray, "s s"]:
    """A positive and a negative hill beside each other, of length one (section 3.3 and figure 3)."""
    half = side // 2
    bump = np.zeros((side, side))
    bump[:half] = _hill(half, side)
    bump[half:] = -_hill(side - half, side)
    return bump / np.sqrt(np.square(bump).sum())


def _hill(height: int, width: int) -> Float[np.ndarray, "h w"]:
    """Nested rectangles of height 1, 1/4, 1/9 and so on, of length one."""
    hill = np.zeros((height, width))
    top, left = height // 2, width // 2
    for ring in range(max(top, left) + 1):
        rows = slice(max(top - ring, 0), min(top + ring + 1, height))
        columns = slice(max(left - ring, 0), min(left + ring + 1, width))
        hill[rows, columns] += 1 / (ring + 1) ** 2
    return hill / np.sqrt(np.square(hill).sum())


def _tiles(words: UInt32[Array, " n"], problem: Problem) -> Float[Array, "h w c"]:
    """The first change in the Euclidean norm: five by five tiles with hills of random signs."""
    height, width, channels = problem.original.shape
    side = max(1, min(height, width) // _TILES)
    rows, columns = min(_MOST_TILES, height // side), min(_MOST_TILES, width // side)
    bump = jnp.array(_bump(side) if side > 1 else np.ones((1, 1)), jnp.float32)
    signs = _signs(words[: rows * columns * (channels + 1)]).reshape(rows, columns, channels + 1)
    sign, turned = signs[..., :channels], signs[..., channels, None, None] > 0
    tile = jnp.where(turned, bump.T, bump)[..., None] * sign[:, :, None, None]
    tiles = jnp.transpose(tile, (0, 2, 1, 3, 4)).reshape(rows * side, columns * side, channels)
    above, before = (height - rows * side) // 2, (width - columns * side) // 2
    return jnp.pad(
        tiles,
        (
            (above, height - rows * side - above),
            (before, width - columns * side - before),
            (0, 0),
        ),
    )
