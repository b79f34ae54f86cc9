"""Random words and normal numbers, faster than the library's."""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry_2x32
from jaxtyping import Array, Float, Int, Key, UInt32


def fold_in_each(key: Key[Array, ""], numbers: Int[Array, " n"]) -> Key[Array, " n"]:
    """A key for each number, by `jax.random.fold_in`.

    Example:
        >>> fold_in_each(jax.random.key(0), jnp.arange(3)).shape
        (3,)
    """
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


def random_words(key: Key[Array, ""], count: int) -> UInt32[Array, " count"]:
    """Random words, two from each call of the cipher, where `jax.random.bits` takes only one.

    (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011: Threefry-2x32 in counter mode.)

    Args:
        key: determines the words.
        count: how many words.

    Example:
        >>> random_words(jax.random.key(0), 3).shape
        (3,)
    """
    return threefry_2x32(jax.random.bits(key, (2,)), jnp.arange(count, dtype=jnp.uint32))


def centred_uniform(words: UInt32[Array, "*n"]) -> Float[Array, "*n"]:
    """Uniform numbers (k + 1/2) / 2^23 in (0, 1): symmetric, and 1 - u is exact.

    Example:
        >>> centred_uniform(jnp.array([0, 2**32 - 1], jnp.uint32)).tolist()
        [5.960464477539063e-08, 0.9999999403953552]
    """
    return ((words >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2**-23)


def normals(keys: Key[Array, " n"], count: int) -> Float[Array, "n {count}"]:
    r"""Standard normal numbers for each key, two from two words.

    G. E. P. Box & M. E. Muller, "A Note on the Generation of Random Normal Deviates", 1958: $r \cos a$ and
    $r \sin a$ with $r = \sqrt{-2 \ln u}$. None is above 5.8.

    Args:
        keys: determine the numbers, each those of its own row.
        count: how many numbers per key.

    Example:
        >>> normals(jax.random.split(jax.random.key(0), 2), 3).shape
        (2, 3)
    """
    words = jax.vmap(lambda key: random_words(key, count + count % 2))(keys)
    first, second = jnp.split(words, 2, axis=-1)
    radius = jnp.sqrt(-2 * jnp.log(centred_uniform(first)))
    # Taylor series of sine and cosine within an eighth of a turn of zero, exact to float32 with these terms;
    # two bits of the word then choose a quarter turn. The library's functions are slower on CPU.
    angle = second.astype(jnp.int32).astype(jnp.float32) * jnp.float32(2**-33 * math.pi)
    square = angle * angle
    sine = angle * (1 + square * (-1 / 6 + square * (1 / 120 + square * (-1 / 5040 + square / 362880))))
    cosine = 1 + square * (-1 / 2 + square * (1 / 24 + square * (-1 / 720 + square / 40320)))
    radius = jnp.where(second & 2, -radius, radius)
    swap = (second & 1).astype(bool)
    pair = [radius * jnp.where(swap, sine, cosine), radius * jnp.where(swap, cosine, sine)]
    return jnp.concatenate(pair, axis=-1)[:, :count]
