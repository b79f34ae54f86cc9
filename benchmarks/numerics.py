"""What is computed by hand in evofool, beside what the library does in its place."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import evofool
from benchmarks.harness import Effort, Table, compiled, interleaved, spread
from evofool.classifiers.classifier import _softmax
from evofool.classifiers.networks import layers
from evofool.encodings.node_functions import of_each_row, sine
from evofool.encodings.operators import _power
from evofool.images import round_to_8_bits
from evofool.numerics.convolution import conv_general_dilated, max_pool
from evofool.numerics.random_numbers import normals, random_words
from evofool.numerics.reductions import fold, logsumexp
from evofool.search import Archive
from evofool.search.archive import _store, empty_archive

_BATCHES = (2, 4, 16, 48, 256)


@dataclass(frozen=True)
class _Piece:
    """Two functions of the same arguments.

    Attributes:
        name: of the piece.
        ours: as evofool computes it.
        library: as JAX or Flax computes it.
        arguments: of both.
        by_rows: whether each row of the only argument has a result of its own, which should not depend on
            the other rows.
    """

    name: str
    ours: Callable[..., Any]
    library: Callable[..., Any]
    arguments: tuple[Any, ...]
    by_rows: bool = False


def numerics(effort: Effort) -> Iterator[Table]:
    """Random numbers, reductions, convolutions and functions by hand, beside those of the library.

    A result varies with the batch if a row of the whole batch has other bits in a batch of 2, 4, 16, 48 or
    256 rows.
    """
    rows = []
    for piece in [*_random(effort), *_reductions(effort), *_networks(effort), *_encodings(effort)]:
        sides = {
            "evofool": compiled(piece.ours, *piece.arguments),
            "library": compiled(piece.library, *piece.arguments),
        }
        seconds = interleaved(sides, effort.repeats(7))
        varies = {
            f"{side}_varies_with_the_batch": _varies(function, *piece.arguments) if piece.by_rows else None
            for side, function in {"evofool": piece.ours, "library": piece.library}.items()
        }
        rows.append(
            {
                "piece": piece.name,
                "evofool_milliseconds": spread(1000 * seconds["evofool"], 3),
                "library_milliseconds": spread(1000 * seconds["library"], 3),
                "evofool_is_times_as_fast": spread(seconds["library"] / seconds["evofool"], 3),
                **varies,
            }
        )
    yield Table("What is computed by hand, beside the library", rows, bars="evofool_is_times_as_fast")


def _varies(function: Callable[[Any], Any], rows: Any) -> bool:
    whole = np.asarray(jax.jit(function)(rows))
    return any(
        not np.array_equal(jax.jit(function)(rows[:size]), whole[:size])
        for size in _BATCHES
        if size < len(rows)
    )


def _random(effort: Effort) -> Iterator[_Piece]:
    keys = jax.random.split(jax.random.key(0), effort.size(512, 4))
    count = effort.size(1568, 8)
    yield _Piece(
        "random words",
        lambda keys: jnp.concatenate(random_words(keys, count), axis=1),
        jax.vmap(lambda key: jax.random.bits(key, (count,))),
        (keys,),
        by_rows=True,
    )
    yield _Piece(
        "normal numbers",
        lambda keys: normals(keys, count),
        jax.vmap(lambda key: jax.random.normal(key, (count,))),
        (keys,),
        by_rows=True,
    )


def _reductions(effort: Effort) -> Iterator[_Piece]:
    images = effort.size(1024, 64)
    for classes in (10, 100, 1000):
        logits = 5 * jax.random.normal(jax.random.key(classes), (images, classes))
        yield _Piece(
            f"sum over {classes} columns",
            lambda array: fold(jnp.add, array, 0)[:, 0],
            lambda array: array.sum(axis=1),
            (logits,),
            by_rows=True,
        )
        yield _Piece(
            f"softmax of {classes} classes",
            _softmax,
            partial(jax.nn.softmax, axis=1),
            (logits,),
            by_rows=True,
        )
        yield _Piece(
            f"logsumexp over {classes} columns",
            logsumexp,
            partial(jax.nn.logsumexp, axis=1, keepdims=True),
            (logits,),
            by_rows=True,
        )


def _networks(effort: Effort) -> Iterator[_Piece]:
    def normal(*shape: int) -> jax.Array:
        return jax.random.normal(jax.random.key(sum(shape)), shape)

    rngs = nnx.Rngs(0)
    many, few = effort.size((128, 4), (4, 1))
    highest = jax.lax.Precision.HIGHEST
    library = partial(
        jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=highest
    )
    ours = partial(conv_general_dilated, precision=highest)
    kernel = normal(5, 5, 20, 50)

    def climb(convolve: Callable[..., Any], images: Any) -> Any:
        slope = jax.grad(lambda images: (convolve(images, kernel, (1, 1), "VALID") ** 2).sum())
        return jax.lax.fori_loop(0, 3, lambda _, images: images + slope(images), images)

    images = normal(many // 4, 12, 12, 20)
    yield _Piece(
        "gradient of a convolution in a loop", partial(climb, ours), partial(climb, library), (images,)
    )

    grouped = normal(5, 5, 48, 256)
    yield _Piece(
        "convolution in two groups",
        lambda images: ours(images, grouped, (1, 1), "SAME", feature_group_count=2),
        lambda images: library(images, grouped, (1, 1), "SAME", feature_group_count=2),
        (normal(few, 27, 27, 96),),
    )

    depthwise = layers.Depthwise(64, 1, rngs)
    as_convolution = depthwise.kernel[...][:, :, None]
    yield _Piece(
        "depthwise convolution",
        depthwise,
        lambda images: library(images, as_convolution, (1, 1), "VALID", feature_group_count=64),
        (normal(few, 58, 58, 64),),
    )

    pointwise = layers.pointwise(64, 128, rngs)
    as_kernel = pointwise.kernel[...][None, None]
    yield _Piece(
        "1x1 convolution",
        pointwise,
        lambda images: library(images, as_kernel, (1, 1), "VALID"),
        (normal(few, 56, 56, 64),),
    )

    def slope_of(pool: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return jax.grad(lambda images: (pool(images) ** 2).sum())

    yield _Piece(
        "gradient of pooling",
        slope_of(max_pool),
        slope_of(lambda images: nnx.max_pool(images, (2, 2), (2, 2))),
        (normal(many, 24, 24, 20),),
    )

    dense = layers.dense(800, 500, rngs)
    for rows in (8, many):
        yield _Piece(
            f"fully connected layer, {rows} rows",
            dense,
            super(layers.Dense, dense).__call__,
            (normal(rows, 800),),
            by_rows=rows == many,
        )

    network = evofool.create_classifier("lenet", (28, 28, 1), tuple("0123456789"))
    yield _Piece(
        "rounding to 8 bits before a LeNet",
        lambda images: network.logits(round_to_8_bits(images)),
        lambda images: network.logits(jnp.round(images * 255) / 255),
        (jax.random.uniform(jax.random.key(0), (8 * many, 28, 28, 1)),),
    )


def _encodings(effort: Effort) -> Iterator[_Piece]:
    count = effort.size(2**20, 2**8)
    values = 20 * jax.random.normal(jax.random.key(0), (64, count // 64))
    functions = jnp.arange(64)[:, None] % 4
    yield _Piece("sine", sine, jnp.sin, (values,))
    yield _Piece(
        "node functions of CPPNs",
        of_each_row,
        lambda function, z: jnp.select(
            [function == index for index in range(4)],
            [jnp.sin(z), jnp.tanh(z / 2), jnp.exp(-z * z), jnp.clip(z, -3, 3) / 3],
        ),
        (functions, values),
    )

    share = jax.random.uniform(jax.random.key(1), (count,))
    yield _Piece("16th root", lambda base: _power(base, 1 / 16), lambda base: base ** (1 / 16), (share,))
    exponents = jnp.where(share < 0.5, 1 / 11, -1 / 11)
    yield _Piece("power of an array", _power, jnp.power, (share, exponents))

    niches, offspring = effort.size((1000, 200), (10, 4))
    archive = empty_archive(jax.ShapeDtypeStruct((64 * 64 * 3,), "float32"), niches)
    candidates = jnp.ones((offspring, 64 * 64 * 3))
    won = jnp.arange(niches) % effort.size(20, 2) == 0
    winners = jnp.arange(niches) % offspring

    def stored(candidates: jax.Array, won: jax.Array, winners: jax.Array) -> Any:
        def insert(_: Any, archive: Archive) -> Archive:
            pool, slots = _store(archive, candidates, won, winners)
            return archive._replace(pool=pool, slots=slots)

        return jax.lax.fori_loop(0, 10, insert, archive._replace(pool=archive.pool + won[0])).pool

    def rewritten(candidates: jax.Array, won: jax.Array, winners: jax.Array) -> jax.Array:
        def insert(_: Any, pool: jax.Array) -> jax.Array:
            return jnp.where(won[:, None], candidates[winners], pool)

        return jax.lax.fori_loop(0, 10, insert, archive.pool + won[0])

    yield _Piece("insertion into a large archive", stored, rewritten, (candidates, won, winners))
