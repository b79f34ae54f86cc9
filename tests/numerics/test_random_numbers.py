"""Normal numbers: their distribution, and their formula in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.extend.random import threefry_2x32

from evofool.numerics.random_numbers import (
    centred_uniform,
    fold_in_each,
    normals,
    random_word,
    random_words,
)

KEYS = jax.random.split(jax.random.key(5), 2000)


def test_keys_and_words_are_those_of_the_library():
    key, own, numbers = KEYS[0], KEYS[:9], jnp.arange(9) * 7919
    derived = jax.random.key_data(fold_in_each(own, numbers))
    np.testing.assert_array_equal(derived, jax.random.key_data(jax.vmap(jax.random.fold_in)(own, numbers)))
    split = fold_in_each(own[:, None], jnp.arange(3))
    np.testing.assert_array_equal(
        jax.random.key_data(split), jax.random.key_data(jax.vmap(lambda key: jax.random.split(key, 3))(own))
    )
    np.testing.assert_array_equal(random_word(key, jnp.arange(50)), jax.random.bits(key, (50,)))


@pytest.mark.parametrize("count", [1, 6, 7])
def test_words_are_the_cipher_of_their_places(count):
    expected = [
        threefry_2x32(jax.random.bits(key, (2,)), jnp.arange(count, dtype=jnp.uint32)) for key in KEYS[:3]
    ]
    words = np.concatenate(random_words(KEYS[:3], count), axis=1)
    np.testing.assert_array_equal(words[:, :count], expected)


def test_normal_numbers_have_the_normal_distribution():
    drawn = np.asarray(normals(KEYS, 501))
    assert drawn.shape == (2000, 501)
    assert scipy.stats.kstest(drawn.reshape(-1), "norm").pvalue > 0.01
    # Also place by place, both of a pair among them, and their squares, which share a radius.
    for place in (0, 250, 251, 500):
        assert scipy.stats.kstest(drawn[:, place], "norm").pvalue > 0.001
    first, second = drawn[:, :250].reshape(-1), drawn[:, 251:].reshape(-1)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(first.size)
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 4 / np.sqrt(first.size)


def test_normal_numbers_follow_the_formula_of_box_and_muller():
    first, second = map(np.asarray, random_words(KEYS[:50], 300))
    radius = np.sqrt(-2 * np.log(((first >> 9) + 0.5) / 2**23))
    turned = second.astype(np.int32)
    # The angle is uniform over the circle: within an eighth of a turn of one of the four axes.
    angle = turned * np.pi / 2**33
    along = np.where(turned & 1, np.sin(angle), np.cos(angle))
    across = np.where(turned & 1, np.cos(angle), np.sin(angle))
    signed = np.where(turned & 2, -radius, radius)
    drawn = np.asarray(normals(KEYS[:50], 300))
    np.testing.assert_allclose(drawn[:, :150], signed * along, atol=2e-6)
    np.testing.assert_allclose(drawn[:, 150:], signed * across, atol=2e-6)


@pytest.mark.exact
def test_the_numbers_of_a_key_do_not_depend_on_the_other_keys():
    drawn = jax.jit(normals, static_argnums=1)
    together = np.asarray(drawn(KEYS[:9], 33))
    for index in (0, 4, 8):
        np.testing.assert_array_equal(drawn(KEYS[index : index + 1], 33)[0], together[index])
    assert len(np.unique(together)) == together.size


@pytest.mark.parametrize("word", [0, 1, 2**31 - 1, 2**31, 2**32 - 1])
def test_a_uniform_number_and_its_counterpart_add_up_to_one(word):
    words = jnp.array([word, 2**32 - 1 - word], jnp.uint32)
    one, other = np.asarray(centred_uniform(words))
    assert 0 < one < 1
    assert one + other == 1
