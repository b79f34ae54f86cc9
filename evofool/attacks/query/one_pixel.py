"""A few pixels of any colour, by differential evolution."""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from evofool.attacks.attack import AttackResult
from evofool.attacks.goals import Goal
from evofool.attacks.options import AttackOptions, static
from evofool.attacks.query.asking import Image, Logits, Problem, QueryAttack, attack_by_asking
from evofool.classifiers.black_box import AnyClassifier
from evofool.errors import UsageError, require_positive, require_seed
from evofool.numerics.random_numbers import centred_uniform, fold_in_each, normals, random_word

_MEAN, _DEVIATION = 128 / 255, 127 / 255
_FEWEST = 4


@dataclass(frozen=True)
class OnePixelOptions(AttackOptions):
    """The pixels, the population and the queries.

    Attributes:
        pixels: how many pixels change, at least one.
        population: candidates of an image, at least four.
        factor: of the difference that is added to a candidate, above zero.
        max_queries: of each image, the original among them.
        seed: of all random numbers.

    Raises:
        UsageError: a value is out of range.
    """

    pixels: int = 1
    population: int = 100
    factor: float = static(0.5)
    max_queries: int = field(default=5000, kw_only=True)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(pixels=self.pixels, population=self.population, factor=self.factor)
        require_seed(self.seed)
        if self.population < _FEWEST:
            raise UsageError(f"population must be {_FEWEST} or more, not {self.population}")


def one_pixel(
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: OnePixelOptions = OnePixelOptions(),
) -> AttackResult:
    r"""The one-pixel attack (Su, Vargas & Sakurai, IEEE TEVC 2019, section III).

    A candidate has a place and a colour for each of its pixels. A child of three others,

    $$x_i' = x_{r_1} + F (x_{r_2} - x_{r_3})$$

    (equation 3, without crossover) replaces candidate i if the goal likes it better. Places start uniform,
    colours normal around 128 with a deviation of 127 levels. Unlike in the paper a child joins the population
    at once, and the population has 100 candidates and not 400.

    Args:
        classifier: the classifier to fool, or a black box that answers with more than labels.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        options: the pixels, the population and the queries.

    Returns:
        The first image that reached the goal, or else the best, with the `queries` until then.

    Raises:
        UsageError: as `fast_gradient_sign`.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Untargeted
        >>> classifier = create_classifier("linear", (4, 4, 1), ("even", "odd"))
        >>> options = OnePixelOptions(pixels=2, max_queries=300)
        >>> result = one_pixel(classifier, jnp.full((2, 4, 4, 1), 0.5), Untargeted([0, 1]), options)
        >>> bool((result.l0 <= 2).all())
        True
    """
    return attack_by_asking(_ONE_PIXEL, classifier, images, goal, options)


class _Attempt(NamedTuple):
    """The best image, and the population: rows, columns and colours in [0, 1], with the score of each."""

    best: Image
    logits: Logits
    finished: Bool[Array, ""]
    score: Float[Array, ""]
    genes: Float[Array, "p m g"]
    scores: Float[Array, " p"]


def _begin(problem: Problem, logits: Logits) -> _Attempt:
    options, channels = problem.options, problem.original.shape[2]
    shape = (options.population, options.pixels, 2 + channels)
    # A key that no query has.
    key = fold_in_each(problem.key, options.max_queries)
    size = shape[0] * shape[1] * shape[2]
    places = centred_uniform(random_word(key, jnp.arange(size))).reshape(shape)
    normal = normals(fold_in_each(key, 0)[None], size)[0].reshape(shape)
    colours = jnp.clip(_MEAN + _DEVIATION * normal, 0, 1)
    return _Attempt(
        best=problem.original,
        logits=logits,
        finished=problem.reached(logits),
        score=problem.objective(logits),
        genes=jnp.where(jnp.arange(2 + channels) < 2, places, colours),
        scores=jnp.full(options.population, -jnp.inf),
    )


def _propose(problem: Problem, attempt: _Attempt, asked: Int[Array, ""]) -> Image:
    return _drawn(problem.original, _candidate(problem, attempt, asked))


def _learn(
    problem: Problem, attempt: _Attempt, image: Image, logits: Logits, asked: Int[Array, ""]
) -> _Attempt:
    score, reached = problem.objective(logits), problem.reached(logits)
    row = (asked - 1) % problem.options.population
    stays = score >= attempt.scores[row]
    candidate = _candidate(problem, attempt, asked)
    better = (score > attempt.score) | reached
    return _Attempt(
        best=jnp.where(better, image, attempt.best),
        logits=jnp.where(better, logits, attempt.logits),
        finished=reached,
        score=jnp.where(better, score, attempt.score),
        genes=attempt.genes.at[row].set(jnp.where(stays, candidate, attempt.genes[row])),
        scores=attempt.scores.at[row].set(jnp.where(stays, score, attempt.scores[row])),
    )


def _candidate(problem: Problem, attempt: _Attempt, asked: Int[Array, ""]) -> Float[Array, "m g"]:
    """A member of the first population, or later a child."""
    population = problem.options.population
    row = (asked - 1) % population
    first, second, third = _three_others(problem.words(asked, 3), row, population)
    genes = attempt.genes
    child = genes[first] + problem.options.factor * (genes[second] - genes[third])
    return jnp.where(asked <= population, genes[row], jnp.clip(child, 0, 1))


def _three_others(
    words: UInt32[Array, " 3"], row: Int[Array, ""], count: int
) -> tuple[Int[Array, ""], Int[Array, ""], Int[Array, ""]]:
    """Three different members of the population, none of them this one."""
    taken = [row]
    for index, word in enumerate(words):
        number = (centred_uniform(word) * (count - 1 - index)).astype(jnp.int32)
        # The n-th of those that are not taken.
        for other in jnp.sort(jnp.stack(taken)):
            number += number >= other
        taken.append(number)
    return taken[1], taken[2], taken[3]


def _drawn(image: Image, genes: Float[Array, "m g"]) -> Image:
    """The image with pixels replaced, one after the other."""
    height, width, _ = image.shape
    for pixel in genes:
        row, column = (
            jnp.minimum((gene * size).astype(jnp.int32), size - 1)
            for gene, size in zip(pixel[:2], (height, width), strict=True)
        )
        image = image.at[row, column].set(jnp.round(pixel[2:] * 255) / 255)
    return image


_ONE_PIXEL = QueryAttack(_begin, _propose, _learn, in_ball=False)
