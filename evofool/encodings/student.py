"""The student encoding: a network that draws on a blank page (Frigeni, "How to fool a neural network")."""

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.caching import cached
from evofool.encodings.encoding import Encoding, Estimator, Vary, vary_by
from evofool.errors import require_positive
from evofool.numerics.random_numbers import centred_uniform, fold_in_each, normals, random_words
from evofool.numerics.reductions import fold
from evofool.registry import Entry, Registry, choice

_SMALLEST = 1e-30


class Student(NamedTuple):
    """A student. Its input is a blank page, so its first layer is only a bias.

    Attributes:
        bias: of the hidden layer, `h` units.
        weights: from the hidden units to the `p` pixels.
    """

    bias: Float[Array, "*n h"]
    weights: Float[Array, "*n p h"]


@dataclass(frozen=True)
class GaussianVariation:
    """Normal noise on every weight of each parent.

    Attributes:
        mutation_sigma: standard deviation of the noise.

    Raises:
        UsageError: a value that is not positive.
    """

    mutation_sigma: float = 0.1

    def __post_init__(self) -> None:
        require_positive(mutation_sigma=self.mutation_sigma)


def _gaussian(options: GaussianVariation) -> Vary:
    def mutate(key: Key[Array, ""], parents: Student) -> Student:
        bias_key, weights_key = jax.random.split(key)
        return Student(
            parents.bias + options.mutation_sigma * jax.random.normal(bias_key, parents.bias.shape),
            parents.weights + options.mutation_sigma * jax.random.normal(weights_key, parents.weights.shape),
        )

    def vary(keys: Key[Array, " p"], pairs: Student, generation: Int[Array, ""]) -> Student:
        return jax.vmap(mutate)(keys, pairs)

    return vary


_VARIATIONS = Registry(
    "variation", {"gaussian": Entry("normal noise on every weight", GaussianVariation, _gaussian)}
)


@dataclass(frozen=True)
class StudentOptions:
    """The student's size and how it mutates.

    Attributes:
        hidden: hidden units; the source has 100.
        variation: how offspring are made.

    Raises:
        UsageError: a value that is not positive.
    """

    hidden: int = 100
    variation: GaussianVariation | None = choice(_VARIATIONS, GaussianVariation())

    def __post_init__(self) -> None:
        require_positive(hidden=self.hidden)


@cached
def student(image_shape: tuple[int, int, int], options: StudentOptions = StudentOptions()) -> Encoding:
    """Drawings of ones and zeros: `image = 1[W relu(b) > 0]` (Frigeni's student).

    `b ~ N(0, 1)` and `W ~ N(0, 1) / sqrt(hidden)` at the start. MAP-Elites adds normal noise to every weight
    of each parent. Evolution strategies can use two estimators besides the literal one. They draw one number
    per hidden unit and one per pixel instead of one per weight (see `marginalised` and
    `marginalised_pixels`).

    Args:
        image_shape: height, width and channels of the drawing.
        options: the student's size and how it mutates; the source's size if not given.

    Raises:
        UsageError: a size that is not positive.

    Example:
        >>> encoding = student((28, 28, 1))
        >>> students = encoding.init(jax.random.split(jax.random.key(0), 4))
        >>> encoding.render(students).shape
        (4, 28, 28, 1)
    """
    height, width, channels = image_shape
    require_positive(height=height, width=width, channels=channels)
    pixels = height * width * channels

    def init(keys: Key[Array, " n"]) -> Student:
        return jax.vmap(partial(_random_student, pixels, options.hidden))(keys)

    def render(genomes: Student) -> Float[Array, "n h w c"]:
        hidden = jax.nn.relu(genomes.bias)
        drive = jnp.einsum("nph,nh->np", genomes.weights, hidden, precision=jax.lax.Precision.HIGHEST)
        return _drawing(drive > 0, image_shape)

    estimators = {
        "marginalised": marginalised(image_shape),
        "marginalised-pixels": marginalised_pixels(image_shape),
    }
    return Encoding(init, vary_by(_VARIATIONS, options.variation), render, estimators)


def _random_student(pixels: int, hidden: int, key: Key[Array, ""]) -> Student:
    bias_key, weights_key = jax.random.split(key)
    weights = jax.random.normal(weights_key, (pixels, hidden)) / math.sqrt(hidden)
    return Student(jax.random.normal(bias_key, (hidden,)), weights)


class _Drawn(NamedTuple):
    """The conditional means of the noise of `n` policies, given their drawings.

    Attributes:
        bias: mean of the noise of the hidden layer's bias.
        pixels: mean of the noise of the pixels' drives, in units of their standard deviation.
        direction: the perturbed hidden layer, of length 1.
    """

    bias: Float[Array, "n h"]
    pixels: Float[Array, "n p"]
    direction: Float[Array, "n h"]


def marginalised(image_shape: tuple[int, int, int]) -> Estimator:
    r"""Exact perturbation of a student with one draw per hidden unit and pixel.

    Given the perturbed hidden layer $h' = \mathrm{relu}(b + \sigma\beta)$, the perturbed drives
    $z' = (W + \sigma E) h'$ are normal: $z' = W h' + \sigma |h'| \xi$ with $\xi \sim N(0, I)$. So $\xi$ is
    drawn in place of $E$, and rewards have exactly the same distribution. The update replaces $E$ by its
    conditional mean $\xi h'^T / |h'|$. The drawing reveals nothing about the noise of a hidden unit that is
    off except that it is off, so the update replaces it by its mean $-\phi(b/\sigma) / \Phi(-b/\sigma)$. The
    expectation is the same, and the variance of no entry is larger (Rao-Blackwell). Where $|h'| = 0$ the page
    is blank and the term zero.
    """

    def sample(
        keys: Key[Array, " n"], signs: Float[Array, " n"], genome: Student, sigma: float | Float[Array, ""]
    ) -> tuple[Float[Array, "n h w c"], _Drawn]:
        pixels, units = genome.weights.shape
        noise = signs[:, None] * normals(keys, units + pixels)
        bias, direction, length, drive = _hidden_layer(noise[:, :units], genome, sigma)
        noise = noise[:, units:]
        on = drive + (sigma * length)[:, None] * noise > 0
        return _drawing(on, image_shape), _Drawn(bias, noise, direction)

    return Estimator(sample, _combine)


def marginalised_pixels(image_shape: tuple[int, int, int]) -> Estimator:
    r"""As `marginalised`, with a uniform draw per pixel and the noise marginalised further.

    The drawing depends only on the signs of $z'$. With $t = (W h')_j / (\sigma |h'|)$ pixel $j$ is on with
    probability $\Phi(t)$, and the mean of $\xi_j$ is $\phi(t)/\Phi(t)$ if it is on and $-\phi(t)/\Phi(-t)$
    if it is off (the inverse Mills ratio).
    """

    def sample(
        keys: Key[Array, " n"], signs: Float[Array, " n"], genome: Student, sigma: float | Float[Array, ""]
    ) -> tuple[Float[Array, "n h w c"], _Drawn]:
        pixels, units = genome.weights.shape
        noise = signs[:, None] * normals(keys, units)
        bias, direction, length, drive = _hidden_layer(noise, genome, sigma)
        t = drive / jnp.maximum(sigma * length, _SMALLEST)[:, None]
        # The probability of the rarer of a pixel's two values, accurate far into the tail.
        rarer = 0.5 * jax.scipy.special.erfc(jnp.abs(t) * math.sqrt(0.5))
        # An antithetic pair uses u and 1 - u.
        words = jnp.concatenate(random_words(fold_in_each(keys, 1), pixels), axis=1)
        uniform = centred_uniform(words[:, :pixels])
        surprised = jnp.where((t > 0) == (signs > 0)[:, None], uniform, 1 - uniform) < rarer
        on = (t > 0) != surprised
        density = jnp.exp(-0.5 * t * t) * (1 / math.sqrt(2 * math.pi))
        mean = density / jnp.where(surprised, jnp.maximum(rarer, _SMALLEST), 1 - rarer)
        alive = (length > 0)[:, None]
        return _drawing(on & alive, image_shape), _Drawn(bias, jnp.where(on, mean, -mean), direction)

    return Estimator(sample, _combine)


def _hidden_layer(
    noise: Float[Array, "n h"], genome: Student, sigma: float | Float[Array, ""]
) -> tuple[Float[Array, "n h"], Float[Array, "n h"], Float[Array, " n"], Float[Array, "n p"]]:
    """Perturbed hidden layers: conditional mean of the noise, direction, length, and drives without noise."""
    hidden = jax.nn.relu(genome.bias + sigma * noise)
    # log Phi keeps the mean finite for a unit that is almost never off.
    scaled = genome.bias / sigma
    mean_if_off = -jnp.exp(jax.scipy.stats.norm.logpdf(scaled) - jax.scipy.special.log_ndtr(-scaled))
    length = jnp.sqrt(fold(jnp.add, hidden * hidden, 0)[:, 0])
    direction = hidden / jnp.maximum(length, _SMALLEST)[:, None]
    drive = jnp.matmul(hidden, genome.weights.T, precision=jax.lax.Precision.HIGHEST)
    return jnp.where(hidden > 0, noise, mean_if_off), direction, length, drive


def _combine(drawn: _Drawn, weights: Float[Array, " n"]) -> Student:
    weighted = weights[:, None] * drawn.direction
    return Student(
        bias=jnp.matmul(weights, drawn.bias, precision=jax.lax.Precision.HIGHEST),
        weights=jnp.matmul(drawn.pixels.T, weighted, precision=jax.lax.Precision.HIGHEST),
    )


def _drawing(on: Bool[Array, "n p"], image_shape: tuple[int, int, int]) -> Float[Array, "n h w c"]:
    return on.astype(jnp.float32).reshape(-1, *image_shape)
