"""Convolution and pooling with gradients that are fast on CPU, also inside compiled loops."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.numerics.platform import convolves_best_ungrouped

_LAYOUT = ("NHWC", "HWIO", "NHWC")
Pads = tuple[tuple[int, int], tuple[int, int]]
Strides = tuple[int, int]


def conv_general_dilated(
    images: Float[Array, "n h w i"],
    kernel: Float[Array, "kh kw g o"],
    window_strides: Strides,
    padding: Any,
    *,
    feature_group_count: int = 1,
    dimension_numbers: Any = _LAYOUT,
    **options: Any,
) -> Float[Array, "n h2 w2 o"]:
    """`jax.lax.conv_general_dilated` for channels-last images, as Flax's `nnx.Conv` calls it.

    On CPU, XLA hands a convolution to its fast library only if it has no groups and its axes are in the usual
    order. For a gradient it reorders them itself, but not inside a loop. So on CPU the gradient is written
    out with ordered axes, and the groups are convolved one by one.
    """
    by_hand = convolves_best_ungrouped()
    if feature_group_count > 1 and by_hand:
        seen, kernels = (jnp.split(array, feature_group_count, axis=-1) for array in (images, kernel))
        parts = [
            conv_general_dilated(part, its_kernel, window_strides, padding, **options)
            for part, its_kernel in zip(seen, kernels, strict=True)
        ]
        return jnp.concatenate(parts, axis=-1)
    dilations = [value for name, value in options.items() if name.endswith("dilation")]
    if by_hand and all(value in (None, 1, (1, 1)) for value in dilations):
        size = kernel.shape[:2]
        pads = (
            jax.lax.padtype_to_pads(images.shape[1:3], size, window_strides, padding)
            if isinstance(padding, str)
            else padding
        )
        return _convolve(images, kernel, tuple(window_strides), tuple(map(tuple, pads)))
    return jax.lax.conv_general_dilated(
        images,
        kernel,
        window_strides,
        padding,
        feature_group_count=feature_group_count,
        dimension_numbers=dimension_numbers,
        **options,
    )


def depthwise(
    images: Float[Array, "n h w c"],
    kernel: Float[Array, "kh kw c"],
    strides: Strides,
    dilations: Strides = (1, 1),
    *,
    start: Float[Array, " c"] | float = 0.0,
) -> Float[Array, "n h2 w2 c"]:
    """A convolution of each channel by itself, as a sum of shifted images.

    On a CPU, XLA's own grouped convolution processes one channel after the other and is far slower.

    Args:
        images: with their edges added.
        kernel: one window per channel.
        strides: of the window, down and right.
        dilations: the distances of its values.
        start: what is added to all sums.

    Example:
        >>> depthwise(jnp.ones((1, 3, 3, 1)), jnp.ones((2, 2, 1)), (1, 1))[0, ..., 0].tolist()
        [[4.0, 4.0], [4.0, 4.0]]
    """
    height, width = (images.shape[1 + axis] - (kernel.shape[axis] - 1) * dilations[axis] for axis in range(2))
    total: Any = start
    for row in range(kernel.shape[0]):
        for column in range(kernel.shape[1]):
            top, left = row * dilations[0], column * dilations[1]
            shifted = images[:, top : height + top : strides[0], left : width + left : strides[1]]
            total = total + shifted * kernel[row, column]
    return total


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _convolve(
    images: Float[Array, "n h w i"], kernel: Float[Array, "kh kw i o"], strides: Strides, pads: Pads
) -> Float[Array, "n h2 w2 o"]:
    return jax.lax.conv_general_dilated(images, kernel, strides, pads, dimension_numbers=_LAYOUT)


def _backward(strides: Strides, pads: Pads, saved: Any, gradient: Float[Array, "n h2 w2 o"]) -> Any:
    images, kernel = saved
    spatial = range(2)
    # Between the values of the gradient there are zeros where a stride skipped a place.
    spread = [(gradient.shape[1 + a] - 1) * strides[a] + 1 for a in spatial]
    before = [kernel.shape[a] - 1 - pads[a][0] for a in spatial]
    of_images = jax.lax.conv_general_dilated(
        gradient,
        kernel[::-1, ::-1].transpose(0, 1, 3, 2),
        (1, 1),
        [(before[a], images.shape[1 + a] + kernel.shape[a] - 1 - spread[a] - before[a]) for a in spatial],
        lhs_dilation=strides,
        dimension_numbers=_LAYOUT,
    )
    of_kernel = jax.lax.conv_general_dilated(
        images.transpose(3, 1, 2, 0),
        gradient.transpose(1, 2, 0, 3),
        (1, 1),
        [(pads[a][0], spread[a] + kernel.shape[a] - 1 - images.shape[1 + a] - pads[a][0]) for a in spatial],
        rhs_dilation=strides,
        dimension_numbers=_LAYOUT,
    )
    return of_images, of_kernel.transpose(1, 2, 0, 3)


_convolve.defvjp(
    lambda images, kernel, strides, pads: (_convolve(images, kernel, strides, pads), (images, kernel)),
    _backward,
)


@jax.custom_vjp
def max_pool(images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    """The largest of every 2x2 pixels; an odd last row or column is left out.

    The gradient goes to the largest pixel, in equal parts if there are several. On CPU the gradient of a
    maximum over a reshaped axis is faster than that of a window, while forward the window is faster.

    Example:
        >>> import jax.numpy as jnp
        >>> max_pool(jnp.arange(4.0).reshape(1, 2, 2, 1)).tolist()
        [[[[3.0]]]]
    """
    return nnx.max_pool(images, (2, 2), (2, 2))


def _max_of_reshaped(images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    n, height, width, channels = images.shape
    whole = images[:, : height // 2 * 2, : width // 2 * 2]
    return whole.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


max_pool.defvjp(
    lambda images: (max_pool(images), images),
    lambda images, gradient: jax.vjp(_max_of_reshaped, images)[1](gradient),
)
