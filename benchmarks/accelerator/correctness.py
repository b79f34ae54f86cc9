"""Logits, saved images, CPPNs and precisions on this device against references."""

import itertools
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

import evofool
from benchmarks.accelerator.sections import Step
from benchmarks.harness import Effort, Row, Table, lenet
from evofool import Classifier, CPPNOptions, Search, cppn, load_classifier, with_precision
from evofool.classifiers import Precision
from evofool.encodings import cppn_kernel, cppn_rendering
from evofool.encodings.cppn import _inputs
from evofool.encodings.graphs import Graphs
from evofool.errors import EvofoolError
from evofool.images import from_uint8, read_png, to_uint8, write_png
from evofool.runs.pictures import draw
from evofool.search import target_classes
from tests.classifiers.golden_networks import SIDES, golden_network

CLOSE = 1e-5
"""How far logits, as a share of the largest one, and confidences may be from the references."""

_GOLDEN_FILES = {
    "lenet-nguyen2015": "lenet_nguyen2015",
    "squeezenet-1.0": "squeezenet_v1.0",
    "mobilenet-v1-0.25": "mobilenet_v1_0.25_224",
}


def golden_steps(effort: Effort) -> Mapping[str, Step]:
    """Logits of every network with references: PyTorch's for random weights, those of EVOFOOL_DATA."""
    released = {name: partial(_released, name) for name in _GOLDEN_FILES}
    random = {name: partial(_random, name) for name in SIDES}
    return effort.size({**released, **random}, {"lenet-nguyen2015": released["lenet-nguyen2015"]})


def _random(name: str) -> Table:
    return _beside_golden(name, *golden_network(name))


def _released(name: str) -> Table:
    classifier = load_classifier(name)
    path = Path(os.environ.get("EVOFOOL_DATA", ""), "golden", f"{_GOLDEN_FILES[name]}.npz")
    if not path.is_file():
        raise EvofoolError("EVOFOOL_DATA has no golden logits of it")
    with np.load(path, allow_pickle=False) as golden:
        levels = golden["images"].reshape(-1, *classifier.spec.input_shape)
        return _beside_golden(name, classifier, np.float32(levels) / 255, golden["logits"])


def _beside_golden(name: str, classifier: Classifier, images: np.ndarray, expected: np.ndarray) -> Table:
    found = np.asarray(jax.jit(Classifier.logits)(classifier, images))
    gap = np.abs(found - expected).max() / np.abs(expected).max()
    row = {
        "network": name,
        "images": len(images),
        "largest_difference_as_part_of_the_largest_logit": float(gap),
        "close": bool(gap <= CLOSE),
        "same_most_likely_classes": bool((found.argmax(1) == expected.argmax(1)).all()),
    }
    return Table(f"Logits of {name} beside the reference, to {CLOSE:g}", [row])


def scored_again_steps(effort: Effort) -> Mapping[str, Step]:
    """Elites are saved as PNGs, read and scored again in another batch."""
    steps: dict[str, Step] = {
        f"{encoding}, LeNet": partial(_scored_again, lenet, encoding, effort)
        for encoding in effort.size(("direct", "cppn", "student"), ("direct",))
    }
    if not effort.quick:
        steps["cppn, MobileNet"] = partial(_scored_again, _mobilenet, "cppn", effort)
    return steps


def _mobilenet(effort: Effort) -> Classifier:
    return load_classifier("mobilenet-v1-0.25")


def _scored_again(network_of: Any, encoding: str, effort: Effort) -> Table:
    network = network_of(effort)
    search = search_of(encoding, network, effort.size(200, 8))
    archive = evofool.run(search, network, effort.size(20, 2)).archive
    with tempfile.TemporaryDirectory() as folder:
        for index, image in enumerate(draw(archive, search)):
            write_png(Path(folder, f"{index}.png"), image)
        files = [Path(folder, f"{index}.png") for index in range(len(archive.confidences))]
        levels = np.stack([read_png(file) for file in files])
    again = np.asarray(jax.jit(Classifier.__call__)(network, from_uint8(levels)))
    found = np.asarray(archive.confidences)
    filled = np.isfinite(found)
    targets = np.array(target_classes(network, targets_of(encoding)))
    gap = np.abs(again[np.arange(len(targets)), targets] - found)[filled].max()
    row = {
        "encoding": encoding,
        "network": network.spec.name,
        "images": int(filled.sum()),
        "largest_difference": float(gap),
        "close": bool(gap <= CLOSE),
    }
    return Table(f"Saved PNGs of {network.spec.name} scored again, {encoding}, to {CLOSE:g}", [row])


def targets_of(encoding: str) -> tuple[int, ...] | None:
    """The classes that an encoding's search has here: one for a strategy, as its policies are per class."""
    return (3,) if encoding in ("student", "direct-es") else None


def search_of(encoding: str, network: Classifier, batch: int) -> Search:
    """A search by the name of its encoding: MAP-Elites of "direct" and "cppn", a strategy of the others."""
    shape = network.spec.input_shape
    if encoding in ("direct", "cppn"):
        bred = evofool.direct(shape) if encoding == "direct" else evofool.cppn(shape)
        return evofool.map_elites(bred, evofool.MapElitesOptions(batch))
    perturbed = evofool.student(shape) if encoding == "student" else evofool.direct(shape)
    return evofool.evolution_strategy(perturbed, evofool.StrategyOptions(batch), targets=targets_of(encoding))


def cppn_steps(effort: Effort) -> Mapping[str, Step]:
    """CPPNs of the kernels beside those of the plain renderer and of the CPU, pixel by pixel."""
    sizes = effort.size({(28, 28, 1): 1024, (224, 224, 3): 128}, {(28, 28, 1): 4})
    others = {"plain": _beside_plain} if _on_cpu() else {"plain": _beside_plain, "CPU": _beside_cpu}
    return {
        f"{_sides(shape)}, {other}": partial(compare, shape, count, effort)
        for (shape, count), (other, compare) in itertools.product(sizes.items(), others.items())
    }


def _beside_plain(shape: tuple[int, int, int], count: int, effort: Effort) -> Table:
    """The kernel, interpreted on a CPU, and the plain renderer on the same device."""
    options = CPPNOptions()
    graphs = evolved_graphs(shape, count, effort.size(60, 0))
    inputs = _inputs(*shape[:2], options.coordinates).reshape(4, -1)
    settings = {"max_weight": options.max_weight, "outputs": shape[2]}
    kernel = jax.jit(partial(cppn_kernel.draw, **settings, interpret=_on_cpu()))(graphs, inputs)
    plain = jax.jit(partial(cppn_rendering._draw, **settings))(graphs, inputs)
    title = f"{count:,} CPPNs of {_sides(shape)} by the kernel{' (interpreted)' if _on_cpu() else ''}"
    return Table(title, [_levels_row("plain renderer", kernel, plain)])


def _beside_cpu(shape: tuple[int, int, int], count: int, effort: Effort) -> Table:
    """What this device varies and draws, and what the CPU does, from these graphs and from its own."""
    generations = effort.size(60, 0)
    graphs, render = evolved_graphs(shape, count, generations), cppn(shape).render
    ours = to_uint8(jax.jit(render)(graphs))
    with jax.default_device(jax.devices("cpu")[0]):
        same = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), graphs)
        own = evolved_graphs(shape, count, generations)
        drawn = [to_uint8(jax.jit(render)(each)) for each in (same, own)]
    differ = sum(
        int((np.asarray(here) != np.asarray(there)).sum()) for here, there in zip(graphs, own, strict=True)
    )
    rows = [
        _levels_row("CPU, the same graphs", ours, drawn[0]),
        {**_levels_row("CPU, its own graphs", ours, drawn[1]), "genes_that_differ": differ},
    ]
    return Table(f"{count:,} CPPNs of {_sides(shape)} after {generations} generations of variation", rows)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _sides(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _levels_row(against: str, ours: Any, theirs: Any) -> Row:
    gap = np.abs(np.asarray(ours, np.int32) - np.asarray(theirs, np.int32))
    return {
        "against": against,
        "levels": gap.size,
        "levels_that_differ": int((gap > 0).sum()),
        "largest_difference": int(gap.max()),
    }


def evolved_graphs(shape: tuple[int, int, int], count: int, generations: int) -> Graphs:
    """Graphs that have grown for some generations without selection."""
    encoding, key = cppn(shape), jax.random.key(7)
    pairs = count // 2

    def step(number: Any, graphs: Graphs) -> Graphs:
        keys = jax.random.split(jax.random.fold_in(key, number), pairs)
        paired = jax.tree.map(lambda leaf: leaf.reshape(pairs, 2, *leaf.shape[1:]), graphs)
        children = encoding.vary(keys, paired, number)
        return jax.tree.map(lambda leaf: leaf.reshape(count, *leaf.shape[2:]), children)

    def evolve() -> Graphs:
        first = encoding.init(jax.random.split(key, count))
        return jax.lax.fori_loop(0, generations, step, first) if generations else first

    return jax.jit(evolve)()


def precision_steps(effort: Effort) -> Mapping[str, Step]:
    """Confidences in tensorfloat32 and bfloat16 beside those in float32."""
    steps: dict[str, Step] = {"LeNet": partial(_precisions, lenet, effort.size(1024, 8), effort)}
    if not effort.quick:
        steps["MobileNet"] = partial(_precisions, _mobilenet, 256, effort)
    return steps


def _precisions(network_of: Any, count: int, effort: Effort) -> Table:
    network = network_of(effort)
    shape = network.spec.input_shape
    noise = jax.random.uniform(jax.random.key(0), (count // 2, *shape))
    drawn = jax.jit(cppn(shape).render)(evolved_graphs(shape, count // 2, effort.size(60, 0)))
    images = jnp.concatenate([noise, drawn])
    score = jax.jit(Classifier.__call__)
    exact = np.asarray(score(network, images))
    rows = []
    for precision in get_args(Precision)[1:]:
        found = np.asarray(score(with_precision(network, precision), images))
        gap = np.abs(found - exact)
        rows.append(
            {
                "precision": precision,
                "largest_difference": float(gap.max()),
                "mean_difference_of_the_largest": float(gap.max(axis=1).mean()),
                "share_of_equal_most_likely_classes": float((found.argmax(1) == exact.argmax(1)).mean()),
            }
        )
    title = f"Confidences of {network.spec.name} beside float32, {count:,} images, half noise, half CPPNs"
    return Table(title, rows)
