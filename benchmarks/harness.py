"""Timing several sides in turns, in one process, so that what else the machine does falls on all alike."""

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from evofool import Classifier

Side = Callable[[], Any]

RESULTS = Path(__file__).parent / "results"


def interleaved(sides: dict[str, Side], rounds: int) -> dict[str, list[float]]:
    """Seconds of every round of every side.

    Each call that is timed follows one of the same side that is not, which compiles in the first round and
    in the others takes the caches and the memory back from the side before.

    Args:
        sides: functions that return arrays, which are waited for.
        rounds: how often each is timed.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            jax.block_until_ready(side())
            started = time.perf_counter()
            jax.block_until_ready(side())
            seconds[name].append(time.perf_counter() - started)
    return seconds


def bare_forward(classifier: Classifier, batch_size: int, repeats: int) -> Side:
    """The least that any search costs: `repeats` forward passes of a batch, in one compiled loop."""
    images = jax.random.uniform(jax.random.key(0), (batch_size, *classifier.spec.input_shape))

    @jax.jit
    def forward(classifier: Classifier, images: jax.Array) -> jax.Array:
        def once(_: Any, total: jax.Array) -> jax.Array:
            # The images depend on the last pass, so that none of them can be left out.
            return total + classifier.logits(images + 1e-30 * total[0, 0])

        start = jnp.zeros((batch_size, len(classifier.spec.class_names)))
        return jax.lax.fori_loop(0, repeats, once, start)

    return lambda: forward(classifier, images)


def report(
    name: str, title: str, seconds: dict[str, list[float]], evaluations: dict[str, int], bare: str, save: bool
) -> None:
    """Print evaluations per second of every side and their ratio to the bare forward pass, and keep them.

    Args:
        name: of the benchmark, and so of the file.
        title: above the table.
        seconds: of every round of every side.
        evaluations: how many each side makes in a round.
        bare: which side is the bare forward pass.
        save: write benchmarks/results/<name>-<device>.json.
    """
    table = Table(title=title, title_justify="left", title_style="bold", box=None)
    table.add_column("side")
    for column in ("evaluations/s", "slowest to fastest round", "of the forward pass", "ratio by round"):
        table.add_column(column, justify="right")
    rows = {}
    for side, measured in seconds.items():
        rates = evaluations[side] / np.array(measured)
        ratios = rates * np.array(seconds[bare]) / evaluations[bare]
        rows[side] = {
            "evaluations_per_second": round(float(np.median(rates)), 1),
            "slowest": round(float(rates.min()), 1),
            "fastest": round(float(rates.max()), 1),
            "ratio_to_forward": round(float(np.median(ratios)), 4),
            "ratio_lowest": round(float(ratios.min()), 4),
            "ratio_highest": round(float(ratios.max()), 4),
        }
        table.add_row(
            side,
            f"{np.median(rates):,.0f}",
            f"{rates.min():,.0f} to {rates.max():,.0f}",
            f"{np.median(ratios):.2f}",
            f"{ratios.min():.2f} to {ratios.max():.2f}",
        )
    Console(width=130).print(table)
    if save:
        device = jax.devices()[0]
        RESULTS.mkdir(exist_ok=True)
        about = {
            "benchmark": name,
            "title": title,
            "device": f"{_processor() if device.platform == 'cpu' else device.device_kind}",
            "cores": os.cpu_count(),
            "versions": {each: version(each) for each in ("evofool", "jax", "jaxlib", "flax", "numpy")},
            "commit": _commit(),
            "command": " ".join(["python -m", f"benchmarks.{name}", *sys.argv[1:]]),
            "sides": rows,
        }
        slug = about["device"].lower().replace(" ", "-")
        (RESULTS / f"{name}-{slug}.json").write_text(json.dumps(about, indent=2) + "\n")


def _processor() -> str:
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} {os.cpu_count()} cores" if names else platform.processor()


def _commit() -> str:
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
