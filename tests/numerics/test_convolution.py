"""Convolutions and pooling with gradients written by hand, against those that JAX derives."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evofool.numerics.convolution import conv_general_dilated, max_pool
from evofool.numerics.platform import assumed

LAYOUT = ("NHWC", "HWIO", "NHWC")
IMAGES = jax.random.normal(jax.random.key(0), (2, 9, 8, 4))


@pytest.mark.parametrize(
    ("strides", "padding", "window", "options"),
    [
        ((1, 1), "VALID", 3, {}),
        ((2, 2), "SAME", 3, {}),
        ((2, 1), ((1, 2), (0, 3)), 5, {}),
        ((2, 1), ((1, 1), (0, 2)), 3, {"feature_group_count": 2}),
        ((1, 1), "SAME", 3, {"rhs_dilation": (2, 2)}),
    ],
)
def test_convolutions_and_their_gradients_in_a_loop_are_the_librarys(
    strides: Any, padding: Any, window: int, options: dict[str, Any]
) -> None:
    groups = options.get("feature_group_count", 1)
    kernel = jax.random.normal(jax.random.key(window), (window, window, 4 // groups, 6)) / window

    def descend(convolve: Callable[..., jax.Array]) -> Any:
        def loss(images: jax.Array, kernel: jax.Array) -> jax.Array:
            return (
                convolve(images, kernel, strides, padding, dimension_numbers=LAYOUT, **options) ** 2
            ).mean()

        def step(_: Any, both: Any) -> Any:
            return jax.tree.map(lambda leaf, slope: leaf - slope, both, jax.grad(loss, (0, 1))(*both))

        return jax.jit(lambda: jax.lax.fori_loop(0, 2, step, (IMAGES, kernel)))()

    for ours, theirs in zip(
        descend(conv_general_dilated), descend(jax.lax.conv_general_dilated), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert not np.allclose(theirs, IMAGES if theirs.shape == IMAGES.shape else kernel, atol=1e-3)


def test_pooling_and_its_gradient_are_the_librarys_where_no_pixels_are_equal() -> None:
    def both(pool: Callable[[jax.Array], jax.Array]) -> Any:
        return jax.value_and_grad(lambda images: (pool(images) ** 3).sum())(IMAGES)

    ours, theirs = both(max_pool), both(lambda images: nnx.max_pool(images, (2, 2), (2, 2)))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


def test_equal_pixels_share_the_gradient_of_pooling() -> None:
    images = jnp.array([[3.0, 3.0, 9.0], [1.0, 0.0, 9.0], [9.0, 9.0, 9.0]]).reshape(1, 3, 3, 1)
    gradient = jax.grad(lambda images: max_pool(images).sum())(images)
    assert gradient[0, :, :, 0].tolist() == [[0.5, 0.5, 0], [0, 0, 0], [0, 0, 0]]


def test_on_other_platforms_than_cpu_images_are_channels_last_too() -> None:
    kernel = jax.random.normal(jax.random.key(1), (3, 3, 2, 6))
    options = {"feature_group_count": 2}
    expected = conv_general_dilated(IMAGES, kernel, (1, 1), "SAME", **options)
    with assumed("gpu"):
        library = conv_general_dilated(IMAGES, kernel, (1, 1), "SAME", **options)
        program = jax.make_jaxpr(lambda: conv_general_dilated(IMAGES, kernel, (1, 1), "SAME", **options))()
    np.testing.assert_allclose(library, expected, atol=1e-5)
    assert str(program).count("conv_general_dilated[") == 1
