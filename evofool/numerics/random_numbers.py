"""Random words and normal numbers, faster than the library's."""

import math

import jax
import jax.numpy as jnp
from jax.extend.random import threefry2x32_p, threefry_2x32
from jaxtyping import Array, Float, Int, Key, UInt32

from evofool.numerics.platform import computes_in_order

Words = UInt32[Array, "..."]


def fold_in_each(keys: Key[Array, "*k"], numbers: Int[Array, "*n"] | int) -> Key[Array, "*m"]:
    """The keys that `jax.random.fold_in` and `jax.random.split` derive, for each of several keys and numbers.

    XLA makes one kernel of a chain of these on a GPU, where each step of the library's chain takes one of its
    own: between them it changes the shapes of the words.

    Args:
        keys: some keys.
        numbers: what to fold into them, of a shape that broadcasts with theirs.

    Example:
        >>> fold_in_each(jax.random.key(0), jnp.arange(3)).shape
        (3,)
    """
    return jax.random.wrap_key_data(jnp.stack(_derived(keys, numbers), axis=-1), impl="threefry2x32")


def random_word(keys: Key[Array, "*k"], numbers: Int[Array, "*n"] | int) -> UInt32[Array, "*m"]:
    """The words at some places in the `jax.random.bits` of each key.

    Example:
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> bool((random_word(keys, 5) == jax.vmap(lambda key: jax.random.bits(key, (6,))[5])(keys)).all())
        True
    """
    first, second = _derived(keys, numbers)
    return first ^ second


def random_words(
    keys: Key[Array, " n"], count: int
) -> tuple[UInt32[Array, "n ({count}+1)//2"], UInt32[Array, "n ({count}+1)//2"]]:
    """Random words of each key, two from each call of the cipher, where `jax.random.bits` takes only one.

    (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011: Threefry-2x32 in counter mode.)

    Args:
        keys: determine the words, each those of its own row.
        count: how many words per key.

    Returns:
        The first and the second half of the words. If their number is odd, the last word of the second half
        is not one of them.

    Example:
        >>> first, second = random_words(jax.random.split(jax.random.key(0), 2), 6)
        >>> first.shape, second.shape
        ((2, 3), (2, 3))
    """
    half = (count + 1) // 2
    place = jnp.arange(half, dtype=jnp.uint32)
    second = jnp.where(place + half < count, place + half, 0)
    if computes_in_order():
        # Broadcast to the counters, a processor would compute the schedule of a key for every counter.
        counters = jnp.concatenate([place, second])
        words = jax.vmap(lambda key: threefry_2x32(jax.random.bits(key, (2,)), counters))(keys)
        return words[:, :half], words[:, half:]
    return _cipher(random_word(keys, 0)[:, None], random_word(keys, 1)[:, None], place, second)


def _derived(keys: Key[Array, "*k"], numbers: Int[Array, "*n"] | int) -> tuple[Words, Words]:
    words = jax.random.key_data(keys)
    second = jnp.asarray(numbers).astype(jnp.uint32)
    # Zero, made of the numbers: JAX cannot vmap the cipher over only one of its two counters.
    return _cipher(words[..., 0], words[..., 1], second ^ second, second)


def _cipher(*keys_and_counters: Words) -> tuple[Words, Words]:
    first, second = threefry2x32_p.bind(*jnp.broadcast_arrays(*keys_and_counters))
    return first, second


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
    first, second = random_words(keys, count + count % 2)
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
