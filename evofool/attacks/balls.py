"""The sets of changes that an attack may make: balls of a norm around each image, within valid pixels."""

import math
from collections.abc import Collection
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, Shaped

from evofool.errors import UsageError, require_choice, require_not_negative, require_share
from evofool.images import round_to_8_bits

Norm = Literal["linf", "l2", "l1"]
"""How the size of a change is measured: its largest value, its Euclidean length, or the sum of all values."""

CommonNorm = Literal["linf", "l2"]
"""The norms of attacks that know no other."""

# The share of the values that a step of the L1 norm changes: Tramer and Boneh's quantile of 99%.
_SHARE_OF_L1 = 0.01
# What rounding in single precision adds to a level of 256.
_ROUNDING = 1e-3


def require_ball(epsilon: float | None, norm: str, norms: Collection[str] = get_args(Norm)) -> None:
    """Raise `UsageError` unless these are a norm and the size of a ball.

    Example:
        >>> require_ball(0.1, "linf")
    """
    require_choice(norms, norm=norm)
    if norm == "linf":
        require_share(epsilon=epsilon)
    else:
        require_not_negative(epsilon=epsilon)


def radius(
    epsilon: float | None,
    norm: Norm,
    shape: tuple[int, ...],
    usual: tuple[float, float] = (0.3, 8 / 255),
) -> float:
    """The size of a ball: epsilon, or a default that only the norm linf has.

    Args:
        epsilon: the size, if it is given.
        norm: of the ball.
        shape: of an image.
        usual: the default for grey images and the one for colour, by default those of Madry et al. on MNIST
            and on CIFAR-10.

    Raises:
        UsageError: epsilon is needed and not given.

    Example:
        >>> radius(None, "linf", (28, 28, 1)), radius(2.0, "l2", (28, 28, 1))
        (0.3, 2.0)
    """
    if epsilon is not None:
        return epsilon
    default = usual[0] if shape[2] == 1 else usual[1]
    if norm == "linf":
        return default
    size = math.prod(shape)
    what = {"l2": "the Euclidean length", "l1": "the sum of the absolute values"}[norm]
    as_large = default * (math.sqrt(size) if norm == "l2" else size)
    raise UsageError(
        f"norm {norm} requires epsilon, {what} of the whole change: one of {round(255 * default)}/255 in "
        f"every value of these images has {as_large:.2g}"
    )


def lengths(changes: Float[Array, "n h w c"], norm: Norm) -> Float[Array, " n"]:
    """The size of each change.

    Example:
        >>> changes = jnp.array([3.0, -4.0]).reshape(1, 1, 2, 1)
        >>> [lengths(changes, norm).tolist() for norm in ("linf", "l2", "l1")]
        [[4.0], [5.0], [7.0]]
    """
    axes = (1, 2, 3)
    if norm == "linf":
        return jnp.abs(changes).max(axis=axes)
    if norm == "l1":
        return jnp.abs(changes).sum(axis=axes)
    return jnp.sqrt(jnp.square(changes).sum(axis=axes))


def project(
    changes: Float[Array, "n h w c"], norm: Norm, epsilon: float | Float[Array, ""]
) -> Float[Array, "n h w c"]:
    """The nearest change of at most this size (of L1: Duchi et al., ICML 2008, figure 1).

    Example:
        >>> changes = jnp.array([3.0, -4.0]).reshape(1, 1, 2, 1)
        >>> [project(changes, norm, 1.0).ravel().round(3).tolist() for norm in ("linf", "l2", "l1")]
        [[1.0, -1.0], [0.6000000238418579, -0.800000011920929], [0.0, -1.0]]
    """
    if norm == "linf":
        return jnp.clip(changes, -epsilon, epsilon)
    if norm == "l2":
        return changes * of_rows(jnp.minimum(1, epsilon / _divisor(lengths(changes, norm))))
    sizes = jnp.abs(changes).reshape(len(changes), -1)
    ordered = jnp.sort(sizes, axis=1)[:, ::-1]
    count = jnp.arange(1, sizes.shape[1] + 1)
    excess = (jnp.cumsum(ordered, axis=1) - epsilon) / count
    last = jnp.maximum((ordered > excess).sum(axis=1), 1) - 1
    threshold = jnp.take_along_axis(excess, last[:, None], axis=1)
    kept = jnp.where(sizes.sum(axis=1, keepdims=True) > epsilon, jnp.maximum(sizes - threshold, 0), sizes)
    return jnp.sign(changes) * kept.reshape(changes.shape)


def within(
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    norm: Norm,
    epsilon: float | Float[Array, ""],
) -> Float[Array, "n h w c"]:
    """Attacked images brought back into the ball around each image, and into [0, 1].

    Example:
        >>> within(jnp.full((1, 1, 1, 1), 0.5), jnp.full((1, 1, 1, 1), 2.0), "linf", 0.25).item()
        0.75
    """
    if norm == "linf":  # what is inside stays as it is, to the bit
        return jnp.clip(attacked, jnp.maximum(images - epsilon, 0), jnp.minimum(images + epsilon, 1))
    return jnp.clip(images + project(attacked - images, norm, epsilon), 0, 1)


def on_grid(
    images: Float[Array, "n h w c"],
    attacked: Float[Array, "n h w c"],
    norm: Norm,
    epsilon: float | Float[Array, ""],
) -> Float[Array, "n h w c"]:
    """Attacked images rounded to 8 bits. In a ball of linf they stay in it, if a level is in it at all.

    Args:
        images: the originals.
        attacked: the same after the attack.
        norm: of the ball.
        epsilon: its size.

    Example:
        >>> image, attacked = jnp.full((1, 1, 1, 1), 100 / 255), jnp.full((1, 1, 1, 1), 102.7 / 255)
        >>> [round(255 * on_grid(image, attacked, "linf", size / 255).item()) for size in (2.7, 3)]
        [102, 103]
    """
    if norm != "linf":
        return round_to_8_bits(attacked)
    lowest = jnp.ceil(255 * (images - epsilon) - _ROUNDING)
    highest = jnp.floor(255 * (images + epsilon) + _ROUNDING)
    levels = jnp.where(lowest > highest, 255 * images, jnp.clip(255 * attacked, lowest, highest))
    return round_to_8_bits(jnp.clip(levels / 255, 0, 1))


def steepest(gradient: Float[Array, "n h w c"], norm: Norm) -> Float[Array, "n h w c"]:
    """The change of size one that follows each gradient furthest; zero where there is no gradient.

    That of L1 would change a single value. Like Tramer & Boneh (NeurIPS 2019, algorithm 1) it changes the
    hundredth of the values with the largest gradients, by the same amount.

    Example:
        >>> gradient = jnp.array([3.0, -4.0]).reshape(1, 1, 2, 1)
        >>> [steepest(gradient, norm).ravel().round(3).tolist() for norm in ("linf", "l2", "l1")]
        [[1.0, -1.0], [0.6000000238418579, -0.800000011920929], [0.0, -1.0]]
    """
    if norm == "linf":
        return jnp.sign(gradient)
    if norm == "l2":
        # In two steps, because the square of a tiny gradient is zero.
        scaled = gradient / of_rows(_divisor(lengths(gradient, "linf")))
        return scaled / of_rows(_divisor(lengths(scaled, norm)))
    sizes = jnp.abs(gradient).reshape(len(gradient), -1)
    count = max(1, round(_SHARE_OF_L1 * sizes.shape[1]))
    least = of_rows(jax.lax.top_k(sizes, count)[0][:, -1])
    chosen = (jnp.abs(gradient) >= least) & (gradient != 0)
    return jnp.sign(gradient) * chosen / of_rows(jnp.maximum(chosen.sum(axis=(1, 2, 3)), 1))


def random_changes(
    keys: Key[Array, " n"], shape: tuple[int, ...], norm: Norm, epsilon: float | Float[Array, ""]
) -> Float[Array, "n h w c"]:
    """A change for each key, drawn uniformly from a ball.

    Args:
        keys: one for each change.
        shape: of a change.
        norm: of the ball.
        epsilon: its size.

    Example:
        >>> changes = random_changes(jax.random.split(jax.random.key(0), 3), (4, 4, 1), "l2", 2.0)
        >>> changes.shape, bool((lengths(changes, "l2") <= 2).all())
        ((3, 4, 4, 1), True)
    """
    dimensions = math.prod(shape)

    def draw(key: Key[Array, ""]) -> Float[Array, "h w c"]:
        if norm == "linf":
            return jax.random.uniform(key, shape, minval=-1, maxval=1)
        direction, size = jax.random.split(key)
        if norm == "l2":
            normal = jax.random.normal(direction, shape)
            share = jax.random.uniform(size) ** (1 / dimensions)
            return share * normal / _divisor(jnp.sqrt(jnp.square(normal).sum()))
        spread = jax.random.laplace(direction, shape)
        return spread / (jnp.abs(spread).sum() + jax.random.exponential(size))

    return epsilon * jax.vmap(draw)(keys)


def _divisor(values: Float[Array, "*n"]) -> Float[Array, "*n"]:
    return jnp.maximum(values, jnp.finfo(values.dtype).tiny)


def of_rows(values: Shaped[Array, " n"]) -> Shaped[Array, "n 1 1 1"]:
    """A value for each image, in the shape that goes with images."""
    return values[:, None, None, None]
