"""The elites of evofool and of its peers after equal evaluations and after equal time."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

import evofool
from benchmarks import peers
from benchmarks.harness import (
    Contender,
    Curves,
    Effort,
    NotInstalledError,
    Row,
    Table,
    contender,
    lenet,
    say,
    spread,
)
from evofool import Classifier

CERTAIN = 0.9999
_POINTS = 81  # every 500 evaluations of 40,000

Part = Table | Curves
Builders = Mapping[str, Callable[[], Contender]]


def map_elites(effort: Effort) -> Iterator[Part]:
    """MAP-Elites beside QDax and pyribs: confidence of a LeNet in the elites, by evaluations and seconds."""
    network, batch, generations = lenet(effort), effort.size(200, 8), effort.size(5, 2)
    variations = {
        "evofool": evofool.DirectOptions(),
        "evofool, iso-line variation": evofool.DirectOptions(evofool.IsoLineVariation()),
        "evofool, Gaussian variation": evofool.DirectOptions(evofool.IsoLineVariation(line_sigma=0)),
    }

    def ours(options: evofool.DirectOptions) -> Contender:
        encoding = evofool.direct(network.spec.input_shape, options)
        return contender(evofool.map_elites(encoding, evofool.MapElitesOptions(batch)), network, generations)

    builders = {
        **{name: partial(ours, options) for name, options in variations.items()},
        **{
            f"QDax, {variation}": partial(peers.qdax, network, batch, generations, variation)
            for variation in peers.QDAX_VARIATIONS
        },
        "pyribs, Gaussian emitter": partial(peers.pyribs, network, batch, generations),
    }
    # The source's 200 generations of 200, and about the seconds that the slowest side needs for them.
    budget = effort.size((40_000, 6.0), (32, 0.05))
    title = f"MAP-Elites against {network.spec.name}, {batch} offspring per generation"
    yield from _race(title, network, builders, *budget, effort.repeats(5))


def student(effort: Effort) -> Iterator[Part]:
    """The student's strategy for all digits beside evosax: confidence of a LeNet with sigmoid scores."""
    network = lenet(effort, "sigmoid")
    encoding = evofool.student(network.spec.input_shape)
    policies, generations = effort.size(50, 4), 1  # every side is recorded after each generation
    targets = tuple(range(len(network.spec.class_names)))
    search = evofool.evolution_strategy(encoding, evofool.StrategyOptions(policies), targets=targets)
    ranked = evofool.evolution_strategy(
        encoding, evofool.StrategyOptions(policies, advantage="ranks"), targets=targets
    )
    builders = {
        "evofool": lambda: contender(search, network, generations),
        "evofool, ranks": lambda: contender(ranked, network, generations),
        **{
            f"evosax {name}": partial(peers.evosax, network, encoding, policies, generations, name, targets)
            for name in peers.EVOSAX_ALGORITHMS
        },
        "the source's loop": partial(peers.source_loop, network, policies, generations, targets),
    }
    budget = effort.size((5_000, 8.0), (40, 0.05))
    title = f"Student against {network.spec.name}, {policies} policies per generation and class"
    yield from _race(title, network, builders, *budget, effort.repeats(3))


def _race(
    title: str, network: Classifier, builders: Builders, evaluations: int, seconds: float, seeds: int
) -> Iterator[Part]:
    """Run all contenders from the same seeds, interleaved, until both budgets are spent."""
    contenders: dict[str, Contender] = {}
    rows: list[Row] = []
    for name, build in builders.items():
        try:
            contenders[name] = build()
        except NotInstalledError as error:
            rows.append({"side": name, "note": str(error)})
            continue
        # Compile before timing.
        jax.block_until_ready(_best(contenders[name], _advance(contenders[name], network)))
        say(f"    {name}: compiled")
    records: dict[str, list[np.ndarray]] = {name: [] for name in contenders}
    for seed in range(seeds):
        for name, each in contenders.items():
            records[name].append(_record(each, network, seed, evaluations, seconds))
            count, took, median, niches = records[name][-1][-1]
            say(
                f"    seed {seed + 1} of {seeds}, {name}: {count:,.0f} evaluations in {took:.1f} s, "
                f"median {median:.5f}, {niches:.0f} niches"
            )
    yield Table(title, [*[_row(*each, evaluations, seconds) for each in records.items()], *rows])
    budgets = {"evaluations": (0, evaluations), "seconds": (1, seconds)}
    figures = {"median confidence over the classes": 2, f"niches above {100 * CERTAIN:.2f}%": 3}
    for label, figure in figures.items():
        for axis, (column, budget) in budgets.items():
            grid = np.linspace(0, budget, _POINTS)
            lines = {
                name: _line(grid, [_at(record, column, grid)[:, figure] for record in runs])
                for name, runs in records.items()
            }
            yield Curves(f"{title}, median and quartiles of {seeds} seeds", axis, label, lines)


def _advance(contender: Contender, network: Classifier, seed: int = 0) -> Any:
    return jax.block_until_ready(contender.advance(contender.init(seed), network))


def _best(contender: Contender, state: Any) -> np.ndarray:
    """The best confidence of each class, 0 where there is no image yet."""
    return np.nan_to_num(np.asarray(contender.confidences(state)), nan=0.0, neginf=0.0)


def _record(
    contender: Contender, network: Classifier, seed: int, evaluations: int, seconds: float
) -> np.ndarray:
    """Evaluations, seconds, median confidence and certain niches after each advance, from zero."""
    state = jax.block_until_ready(contender.init(seed))
    lines = [(0.0, 0.0, 0.0, 0.0)]
    started = time.perf_counter()
    while lines[-1][0] < evaluations or lines[-1][1] < seconds:
        state = contender.advance(state, network)
        best = _best(contender, state)
        elapsed = time.perf_counter() - started
        made = lines[-1][0] + contender.evaluations
        lines.append((made, elapsed, float(np.median(best)), float((best > CERTAIN).sum())))
    return np.array(lines)


def _at(record: np.ndarray, column: int, budgets: Any) -> np.ndarray:
    """The lines of a record at which each budget of a column was spent."""
    return record[np.searchsorted(record[:, column], budgets, side="right") - 1]


def _line(x: np.ndarray, runs: list[np.ndarray]) -> dict[str, list[float]]:
    """Median and quartiles of several runs at each point."""
    quartiles = np.quantile(runs, [0.25, 0.5, 0.75], axis=0)
    named = dict(zip(("lower_quartile", "median", "upper_quartile"), quartiles, strict=True))
    return {"x": x.tolist(), **{name: [float(f"{p:.9g}") for p in line] for name, line in named.items()}}


def _row(name: str, runs: list[np.ndarray], evaluations: int, seconds: float) -> Row:
    by_evaluations = np.array([_at(record, 0, evaluations) for record in runs])
    by_seconds = np.array([_at(record, 1, seconds) for record in runs])
    rate = [record[-1, 0] / record[-1, 1] for record in runs]
    return {
        "side": name,
        "evaluations_per_second": spread(rate),
        f"median_confidence_after_{evaluations:,}": spread(by_evaluations[:, 2], digits=9),
        f"niches_after_{evaluations:,}": spread(by_evaluations[:, 3]),
        f"median_confidence_after_{seconds:g}_s": spread(by_seconds[:, 2], digits=9),
        f"niches_after_{seconds:g}_s": spread(by_seconds[:, 3]),
    }
