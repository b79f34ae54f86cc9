"""Cutting a generation into parts that are made and scored one after the other."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from evofool.classifiers.classifier import Classifier
from evofool.numerics.platform import cache_bytes, memory_bytes
from evofool.numerics.program_memory import peak_bytes, tree_bytes

_LARGE_LAYERS = 1e6
"""Bytes per image: a network that needs fewer is fastest with all images at once."""

_SHARE_OF_MEMORY = 0.5
_CUTS_COMPARED = 1000


def in_parts(function: Callable[[Int[Array, " n"]], PyTree], rows: Int[Array, " n"], most: int) -> PyTree:
    """The results of a function of many rows, computed for at most `most` of them at once.

    Args:
        function: of some of the rows; it gives arrays whose leading axis is that of the rows, or a fixed
            multiple of it.
        rows: all of them.
        most: rows at once, at least 1.

    Example:
        >>> in_parts(lambda rows: jnp.repeat(rows, 2), jnp.arange(3), 2).tolist()
        [0, 0, 1, 1, 2, 2]
    """
    count = len(rows)
    fewest = -(-count // max(1, most))
    if fewest == 1:
        return function(rows)
    # The last part is filled up and its surplus dropped: of these cuts the one with the smallest surplus.
    cuts = range(fewest, min(2 * fewest, fewest + _CUTS_COMPARED))
    parts = min(cuts, key=lambda cut: -(-count // cut) * cut)
    size = -(-count // parts)
    filled = jnp.pad(rows, (0, parts * size - count), mode="edge").reshape(parts, size)
    results = jax.lax.map(function, filled)
    return jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[: leaf.shape[1] // size * count], results
    )


def images_at_once(classifier: Classifier, images: int) -> int:
    """How many of a batch's images a classifier scores fastest at once.

    On a CPU, a large network writes every layer of a large batch to memory and reads it back: as many images
    as fit the cache are faster. For small networks and on accelerators the whole batch is fastest, where it
    takes no more than half of the memory.

    Args:
        classifier: what scores them.
        images: the size of the batch.

    Returns:
        At least 2, and at most `images` if that is more.

    Example:
        >>> from evofool import load_classifier
        >>> images_at_once(load_classifier("lenet-digits"), 500)
        500
    """
    batch = jax.ShapeDtypeStruct((images, *classifier.spec.input_shape), "float32")
    program = jax.make_jaxpr(Classifier.logits)(classifier, batch)
    per_image = (peak_bytes(program) - tree_bytes(classifier)) / images
    room = cache_bytes()
    if room is None:
        room = _SHARE_OF_MEMORY * memory_bytes()
    elif per_image < _LARGE_LAYERS:
        return images
    return min(images, max(2, int(room / max(1, per_image))))
