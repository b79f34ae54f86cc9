"""Scoring in batches: the same rows in the same order, in batches of one size."""

import jax.numpy as jnp
import numpy as np
import pytest

from evofool import UsageError
from evofool.numerics.batches import in_batches


@pytest.mark.parametrize(("count", "size", "batches"), [(7, 3, 3), (6, 3, 2), (2, 5, 1), (5, 1, 5)])
def test_every_row_is_computed_once_in_batches_of_one_size(count: int, size: int, batches: int) -> None:
    seen = []

    def double(arrays: dict) -> tuple:
        seen.append(arrays["x"].shape)
        return 2 * arrays["x"], arrays["y"]

    arrays = {"x": jnp.arange(2 * count).reshape(count, 2), "y": jnp.arange(count)}
    doubled, numbers = in_batches(double, arrays, size)
    np.testing.assert_array_equal(doubled, 2 * arrays["x"])
    np.testing.assert_array_equal(numbers, arrays["y"])
    assert seen == [(min(size, count), 2)] * batches


def test_no_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="there are no images"):
        in_batches(lambda rows: rows, jnp.zeros((0, 3)), 2)
