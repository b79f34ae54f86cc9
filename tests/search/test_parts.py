"""Cutting a generation into parts: the same results, in parts that a classifier scores fast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool import UsageError
from evofool.numerics.platform import assumed
from evofool.search.parts import images_at_once, in_parts


@pytest.mark.parametrize(
    ("count", "most", "parts"), [(10, 20, 1), (10, 10, 1), (10, 4, 5), (11, 4, 3), (7, 1, 7)]
)
def test_parts_give_the_results_of_the_whole(count: int, most: int, parts: int) -> None:
    sizes = []

    def function(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        sizes.append(len(rows))
        return rows * rows, jnp.stack([rows, -rows], axis=1).reshape(-1)

    rows = jnp.arange(count)
    for ours, whole in zip(in_parts(function, rows, most), function(rows), strict=True):
        np.testing.assert_array_equal(ours, whole)
    assert sizes[0] <= most
    assert sizes[0] * parts >= count


def test_a_large_network_scores_few_images_at_once_and_a_small_one_all() -> None:
    classes = ("a", "b")
    small = evofool.create_classifier("lenet", (28, 28, 1), classes)
    large = evofool.create_classifier("mobilenet-v1-0.25", (224, 224, 3), classes, seed=None)
    assert images_at_once(small, 500) == 500
    assert images_at_once(large, 4) == 4
    if jax.default_backend() == "cpu":
        assert 4 < images_at_once(large, 500) < 20
    with assumed("gpu"):
        assert images_at_once(large, 100) == 100
        assert images_at_once(large, 10**7) < 10**6


def test_a_classifier_of_one_batch_size_is_searched_with_any() -> None:
    def logits(params: jax.Array, images: jax.Array) -> jax.Array:
        assert len(images) == 12
        return params * images.mean(axis=(1, 2))

    spec = {"input_shape": (4, 4, 1), "class_names": ("bright",), "activation": "sigmoid"}
    fixed = evofool.from_callable(logits, jnp.float32(3), batch_size=12, **spec)
    search = evofool.map_elites(evofool.direct((4, 4, 1)), evofool.MapElitesOptions(20))
    assert float(evofool.run(search, fixed, 5).archive.confidences[0]) > 0.5
    with pytest.raises(UsageError, match="told its batch_size"):
        evofool.from_callable(logits, jnp.float32(3), **spec)
