"""Passes, searches, many runs, parts of a generation, chunks and checkpoints on this device."""

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

import evofool
from benchmarks.accelerator.correctness import evolved_graphs, search_of
from benchmarks.accelerator.sections import Step
from benchmarks.harness import (
    BARE,
    Effort,
    Side,
    Table,
    bare_forward,
    compare,
    compiled,
    contender,
    interleaved,
    lenet,
    searching,
    spread,
)
from benchmarks.independent import beside_alone, beside_bare, direct_search
from evofool import Classifier, ClassifierSpec, load_classifier, with_precision
from evofool.classifiers import Precision, weights_digest
from evofool.classifiers.classifier import _softmax
from evofool.images import round_to_8_bits
from evofool.results import Results
from evofool.runs import RUN, RunSettings
from evofool.runs.checkpoints import Checkpoints
from evofool.search import empty_archive, insert

_PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_IMAGES_PER_CALL = {"LeNet": 2**18, "MobileNet": 2**13}
"""What a GPU scores in some 50 ms, which is long beside the start of a program."""


def passes_steps(effort: Effort) -> Mapping[str, Step]:
    """The bare pass in every precision."""
    return {f"{name}, {batch:,}": partial(_passes, name, batch, effort) for name, batch in _batches(effort)}


def _batches(effort: Effort) -> list[tuple[str, int]]:
    lenets, mobilenets = effort.size(((1024, 16_384), (512, 2048)), ((8,), ()))
    return [*(("LeNet", batch) for batch in lenets), *(("MobileNet", batch) for batch in mobilenets)]


def _network(name: str, effort: Effort, precision: Precision = "float32") -> Classifier:
    network = lenet(effort) if name == "LeNet" else load_classifier("mobilenet-v1-0.25")
    return with_precision(network, precision)


def _repeats(name: str, batch: int, effort: Effort) -> int:
    return effort.scaled(max(1, _IMAGES_PER_CALL[name] // batch // 16), 2)


def _passes(name: str, batch: int, effort: Effort) -> Table:
    repeats = _repeats(name, batch, effort)
    sides = {
        BARE if precision == "float32" else f"{BARE}, {precision}": partial(
            bare_forward, _network(name, effort, precision), batch, repeats
        )
        for precision in _PRECISIONS
    }
    return _plain(compare(f"Bare passes of {name}, {batch:,} images", sides, effort.repeats(5)))


def _plain(table: Table) -> Table:
    """The table without bars: there are too many tables here to draw."""
    return replace(table, bars=None)


def searches_steps(effort: Effort) -> Mapping[str, Step]:
    """Each search beside the bare pass in the same precision: all in float32 first."""
    precisions = effort.size(("float32", "bfloat16", "tensorfloat32"), ("float32",))
    kinds = effort.size(("direct", "cppn", "student", "direct-es"), ("direct",))
    bred = ("direct", "cppn")
    return {
        f"{kind}, {name}, {batch:,}, {precision}": partial(_beside_bare, kind, name, batch, precision, effort)
        for precision, (name, batch), kind in itertools.product(precisions, _batches(effort), kinds)
        if name == "LeNet" or kind in bred
    }


def _beside_bare(kind: str, name: str, batch: int, precision: Precision, effort: Effort) -> Table:
    network, repeats = _network(name, effort, precision), _repeats(name, batch, effort)
    sides = {
        BARE: lambda: bare_forward(network, batch, repeats),
        f"evofool, {kind}": lambda: searching(
            contender(search_of(kind, network, batch), network, repeats), network
        ),
    }
    title = f"{kind} against {name}, {batch:,} images per generation, {precision}"
    return _plain(compare(title, sides, effort.repeats(5)))


def independent_steps(effort: Effort) -> Mapping[str, Step]:
    """Runs of 20 offspring in one program: speed, and bits beside those of each run alone."""
    counts, offspring, generations = effort.size((1, 30, 300), (2,)), effort.size(20, 8), effort.size(20, 2)
    network = lenet(effort)
    speeds = {
        f"{count} runs, speed": partial(
            _independent, network, count, offspring, _repeats("LeNet", count * offspring, effort), effort
        )
        for count in counts
    }
    alone = {
        f"{count} runs, alone": partial(beside_alone, network, count, offspring, generations)
        for count in counts
    }
    return {**speeds, **alone}


def _independent(network: Classifier, count: int, offspring: int, generations: int, effort: Effort) -> Table:
    # The smallest batch is not as fast as the largest by far.
    return _plain(beside_bare(network, count, offspring, min(generations, 500), effort.repeats(5)))


def parts_steps(effort: Effort) -> Mapping[str, Step]:
    """Insertion, drawing, softmax and rounding, each in a loop inside one program."""
    batch, times = effort.size(4096, 8), effort.size(100, 2)
    steps: dict[str, Step] = {}
    for niches in effort.size((10, 1000), (10,)):
        steps[f"insertion, {niches:,} niches"] = partial(_insertion, batch, niches, times, effort)
        steps[f"softmax, {niches:,} classes"] = partial(_softmaxes, batch, niches, times, effort)
    drawings = effort.size({(28, 28, 1): batch, (224, 224, 3): 256}, {(28, 28, 1): 4})
    for shape, count in drawings.items():
        of = "x".join(map(str, shape))
        steps[f"drawing, {of}"] = partial(_drawing, shape, count, max(1, times // 5), effort)
        steps[f"rounding, {of}"] = partial(_rounding, shape, count, times, effort)
    return steps


def _insertion(batch: int, niches: int, times: int, effort: Effort) -> Table:
    archive = empty_archive(jax.ShapeDtypeStruct((784,), jnp.float32), niches)
    key = jax.random.key(0)
    genomes = jax.random.uniform(key, (batch, 784))
    confidences = jax.random.uniform(key, (batch, niches))
    parents = jax.random.randint(key, (batch,), 0, niches)
    arguments = (genomes, confidences, parents, jnp.int32(1))
    return _part(
        f"Insertion of {batch:,} genomes into {niches:,} niches", insert, archive, arguments, times, effort
    )


def _softmaxes(batch: int, classes: int, times: int, effort: Effort) -> Table:
    logits = 5 * jax.random.normal(jax.random.key(0), (batch, classes))
    title = f"Softmax of {batch:,} rows of {classes:,} classes"
    return _part(title, lambda before, logits: before + _softmax(logits), logits, (logits,), times, effort)


def _drawing(shape: tuple[int, int, int], count: int, times: int, effort: Effort) -> Table:
    graphs = evolved_graphs(shape, count, effort.size(60, 0))
    render = evofool.cppn(shape).render
    title = f"Drawing of {count:,} CPPNs of {'x'.join(map(str, shape))}"
    return _part(
        title,
        lambda before, graphs: before + render(graphs),
        jnp.zeros((count, *shape)),
        (graphs,),
        times,
        effort,
    )


def _rounding(shape: tuple[int, int, int], count: int, times: int, effort: Effort) -> Table:
    images = jax.random.uniform(jax.random.key(0), (count, *shape))
    title = f"Rounding to 8 bits of {count:,} images of {'x'.join(map(str, shape))}"
    return _part(
        title, lambda before, images: before + round_to_8_bits(images), images, (images,), times, effort
    )


def _part(
    title: str,
    function: Callable[..., Any],
    carry: Any,
    arguments: tuple[Any, ...],
    times: int,
    effort: Effort,
) -> Table:
    """The time of `carry = function(carry, *arguments)` in a compiled loop.

    The result must depend on the carry, or the compiler computes it once.
    """

    def loop(carry: Any, arguments: tuple[Any, ...]) -> Any:
        def once(_: Any, carry: Any) -> Any:
            # The barrier ties the arguments to the carry, so that nothing is computed before the loop.
            carry, own = jax.lax.optimization_barrier((carry, arguments))
            return function(carry, *own)

        return jax.lax.fori_loop(0, times, once, carry)

    side = compiled(loop, carry, arguments)
    (seconds,) = interleaved({title: side}, effort.repeats(5)).values()
    row = {
        "part": title,
        "microseconds": spread(1e6 * seconds / times),
        "compile_seconds": round(side.compile_seconds or 0, 3),
    }
    return Table(title, [row])


def chunks_steps(effort: Effort) -> Mapping[str, Step]:
    """Runs with chunks of several lengths beside the same generations in one compiled loop."""
    return {f"batch {batch:,}": partial(_chunks, batch, effort) for batch in effort.size((20, 1024), (8,))}


def _chunks(batch: int, effort: Effort) -> Table:
    network, generations = lenet(effort), effort.size(256, 2)
    search = direct_search(network, batch)
    lengths = effort.size((256, 16, 1), (2, 1))
    begun = evofool.run(search, network, 1)

    def running(length: int) -> Side:
        return Side(
            lambda: evofool.run(search, network, 1 + generations, state=begun, chunk=length).archive,
            batch * generations,
        )

    loop = "one compiled loop"
    sides = {
        loop: searching(contender(search, network, generations), network),
        **{f"run, chunks of {length}": running(length) for length in lengths},
    }
    seconds = interleaved(sides, effort.repeats(3))
    rows = [
        {
            "side": name,
            "milliseconds_per_generation": spread(1000 * taken / generations),
            "times_the_loop": spread(taken / seconds[loop]),
        }
        for name, taken in seconds.items()
    ]
    return Table(f"{generations} generations of {batch:,} images, by the length of chunks", rows)


def checkpoint_steps(effort: Effort) -> Mapping[str, Step]:
    """A checkpoint of the archive of 1,000 colour images of 224x224."""
    return {"direct, 1,000 classes": partial(_checkpoint, effort)}


def _checkpoint(effort: Effort) -> Table:
    side, classes = effort.size((224, 1000), (32, 10))
    names = tuple(f"class {index}" for index in range(classes))
    spec = ClassifierSpec("none", (side, side, 3), names)
    network = Classifier((), lambda params, images: jnp.zeros((len(images), classes)), spec)
    state = jax.block_until_ready(direct_search(network, 2).init(jax.random.key(0), network))
    settings, rows = RunSettings(), []
    with tempfile.TemporaryDirectory() as folder:
        results = Results.create(Path(folder, "run"), RUN)
        checkpoints = Checkpoints(results, settings, weights_digest(network))
        for number in range(effort.repeats(2)):
            numbered = state._replace(generation=jnp.int32(number + 1))
            started = time.perf_counter()
            checkpoints.save(numbered)
            returned = time.perf_counter()
            checkpoints.finish()
            written = time.perf_counter()
            restored, _ = checkpoints.restore(state)
            jax.block_until_ready(restored)
            read = time.perf_counter()
            rows.append(
                {
                    "checkpoint": number + 1,
                    "MB": round(sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 1e6, 1),
                    "seconds_until_the_run_goes_on": round(returned - started, 4),
                    "seconds_until_it_is_written": round(written - started, 4),
                    "seconds_to_read_it": round(read - written, 4),
                    "equal": bool(
                        np.array_equal(restored.archive.pool, state.archive.pool)
                        and int(restored.generation) == number + 1
                    ),
                }
            )
        checkpoints.close()
        results.release()
    return Table(f"Checkpoints of {classes:,} colour images of {side}x{side}", rows)
