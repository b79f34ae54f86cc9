"""Running a search: what is passed in stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import evofool
from evofool.numerics.program_memory import tree_bytes
from evofool.search import Cut, population_mesh


def _brightness(params: jax.Array, images: jax.Array) -> jax.Array:
    return params * images.mean(axis=(1, 2, 3))[:, None]


@pytest.mark.parametrize(
    ("classes", "devices"),
    [
        (2, None),
        pytest.param(500, None, marks=pytest.mark.slow),
        pytest.param(500, 1, marks=pytest.mark.slow),
    ],
)
def test_a_state_that_is_passed_in_stays(classes: int, devices: int | None) -> None:
    """One of 500 elites is updated in place while the run goes on, but not the first one."""
    spec = evofool.ClassifierSpec("brightness", (110, 110, 3), tuple(map(str, range(classes))))
    classifier = evofool.Classifier(jnp.linspace(-1, 1, classes), _brightness, spec)
    search = evofool.map_elites(evofool.direct((110, 110, 3)), evofool.MapElitesOptions(4))
    begun = search.init(jax.random.key(0), classifier)
    assert (tree_bytes(begun) > 2**26) == (classes == 500)
    words = begun._replace(key=jax.random.key_data(begun.key))
    before = [np.array(leaf) for leaf in jax.tree.leaves(words)]
    cut = Cut(None if devices is None else population_mesh(devices))
    first = evofool.run(search, classifier, 2, state=begun, cut=cut)
    words = begun._replace(key=jax.random.key_data(begun.key))
    for one, other in zip(before, jax.tree.leaves(words), strict=True):
        np.testing.assert_array_equal(one, other)
    again = evofool.run(search, classifier, 2, state=begun, cut=cut)
    np.testing.assert_array_equal(first.archive.confidences, again.archive.confidences)
    assert int(first.generation) == 2
