"""What a generation of CPPN images costs beside the classifier's bare forward pass.

The parts of a generation - variation, rendering, scoring, insertion - the whole of it, and the bare batched
forward pass are timed in turns in one process, so that what else the machine does falls on all alike; the
medians are reported. The population is that of a short run: random genomes are smaller than evolved ones.

    python benchmarks/cppn.py --classifier mobilenet-v1-0.25 --batch-size 128 --out benchmarks/results
"""

import json
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from evofool import cppn, load_classifier, map_elites, run
from evofool.errors import EvofoolError
from evofool.search import insert


@dataclass(frozen=True)
class Benchmark:
    """Time the parts of a generation.

    Attributes:
        classifier: what scores the images.
        batch_size: offspring per generation.
        generations: evolved before anything is timed.
        rounds: how often each part is timed.
        out: folder to leave the figures in, named after the classifier and the device.
    """

    classifier: str = "lenet-nguyen2015"
    batch_size: int = 1024
    generations: int = 60
    rounds: int = 15
    out: Path | None = None


def main() -> None:
    """Measure, print, and save if asked to."""
    benchmark = tyro.cli(Benchmark)
    figures = measure(benchmark)
    text = json.dumps(figures, indent=2)
    print(text)
    if benchmark.out is not None:
        benchmark.out.mkdir(parents=True, exist_ok=True)
        device = figures["device"].replace(" ", "-").lower()
        path = benchmark.out / f"cppn-{benchmark.classifier}-{benchmark.batch_size}-{device}.json"
        path.write_text(text + "\n")


def measure(benchmark: Benchmark) -> dict[str, Any]:
    """Seconds of each part, and evaluations per second of the whole and of the bare forward pass."""
    classifier, batch = load_classifier(benchmark.classifier), benchmark.batch_size
    encoding = cppn(classifier.spec.input_shape)
    search = map_elites(encoding, batch)
    state = run(search, classifier, benchmark.generations)
    archive = state.archive

    drawn = jax.random.randint(jax.random.key(1), ((batch + 1) // 2, 2), 0, len(archive.parents))
    pairs = jax.tree.map(lambda leaf: leaf[drawn], archive.genomes)
    keys = jax.random.split(jax.random.key(2), len(drawn))
    vary, render, score = jax.jit(encoding.vary), jax.jit(encoding.render), jax.jit(call)
    take = jax.jit(lambda *arguments: insert(archive, *arguments))
    step = jax.jit(search.step)

    children = vary(keys, pairs, state.generation)
    genomes = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:batch], children)
    images = render(genomes)
    confidences = score(classifier, images)
    parents = drawn.reshape(-1)[:batch]
    seconds = interleaved(
        {
            "variation": lambda: vary(keys, pairs, state.generation),
            "rendering": lambda: render(genomes),
            "scoring": lambda: score(classifier, images),
            "insertion": lambda: take(genomes, confidences, parents, state.generation),
            "generation": lambda: step(state, classifier),
        },
        benchmark.rounds,
    )
    return {
        "classifier": benchmark.classifier,
        "batch_size": batch,
        "image_shape": classifier.spec.input_shape,
        "mean_hidden_nodes": round(float(genomes.hidden_nodes.mean()), 2),
        "mean_connections": round(float((genomes.targets > 0).sum(axis=1).mean()), 2),
        "seconds": {name: round(value, 6) for name, value in seconds.items()},
        "evaluations_per_second": round(batch / seconds["generation"], 1),
        "forward_passes_per_second": round(batch / seconds["scoring"], 1),
        "fraction_of_forward_pass": round(seconds["scoring"] / seconds["generation"], 3),
        "device": jax.devices()[0].device_kind,
        "processor": platform.machine(),
        "jax": jax.__version__,
    }


def call(classifier: Any, images: Any) -> jax.Array:
    """The bare forward pass."""
    return classifier(images)


def interleaved(parts: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The median seconds of each part, all parts in turns."""
    for part in parts.values():
        jax.block_until_ready(part())
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(rounds):
        for name, part in parts.items():
            started = time.perf_counter()
            jax.block_until_ready(part())
            seconds[name].append(time.perf_counter() - started)
    return {name: float(np.median(values)) for name, values in seconds.items()}


if __name__ == "__main__":
    try:
        main()
    except EvofoolError as error:
        sys.exit(f"{sys.argv[0]}: {error}")
