"""Many independent runs in one program."""

import tempfile
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

import evofool
from benchmarks.command_line import process_seconds
from benchmarks.harness import (
    BARE,
    Effort,
    Row,
    Side,
    Table,
    bare_forward,
    compare,
    contender,
    lenet,
    say,
    searching,
    spread,
)
from evofool import Classifier, Search

_WHOLE = """
import evofool
classifier = evofool.load_classifier({classifier!r})
encoding = evofool.direct(classifier.spec.input_shape)
search = evofool.map_elites(encoding, evofool.MapElitesOptions({offspring}))
evofool.run(search, classifier, {generations}, seeds=range({runs}))
"""


def independent(effort: Effort) -> Iterator[Table]:
    """300 runs of MAP-Elites in one program against a LeNet, beside the bare pass and the command line.

    The last tables have whole processes from start to exit: the program with all runs, which compiles anew
    and writes no files, and the command line, whose compiled programs are cached and which writes all files
    of a run, timed for one run and multiplied.
    """
    network = lenet(effort)
    runs, offspring = effort.size(300, 4), effort.size(20, 6)
    yield beside_bare(network, runs, offspring, effort.scaled(4, 2), effort.repeats(7))
    yield beside_alone(network, runs, offspring, effort.size(20, 3))
    for generations in effort.size((50, 200), (2,)):
        yield _beside_command_line(network, runs, offspring, generations, effort.repeats(3))


def beside_bare(network: Classifier, runs: int, offspring: int, generations: int, rounds: int) -> Table:
    """Runs in one program, beside the bare pass of all their offspring."""
    search = direct_search(network, offspring)
    batch = runs * offspring

    def together() -> Side:
        return searching(contender(search, network, generations, runs), network)

    sides = {BARE: lambda: bare_forward(network, batch, generations), f"evofool, {runs:,} runs": together}
    return compare(f"{runs:,} runs of {offspring} offspring against {network.spec.name}", sides, rounds)


def beside_alone(network: Classifier, runs: int, offspring: int, generations: int) -> Table:
    """Whether the first, a middle and the last of many runs have the bits that they have alone."""
    search = direct_search(network, offspring)
    states = evofool.run(search, network, generations, seeds=range(runs))
    rows = [
        {
            "run": run,
            **compared(evofool.one_run(states, run), evofool.run(search, network, generations, seed=run)),
        }
        for run in sorted({0, min(17, runs // 2), runs // 2, runs - 1})
    ]
    title = f"Runs among {runs:,} against {network.spec.name}, and alone, after {generations} generations"
    return Table(title, rows)


def compared(ours: Any, theirs: Any) -> Row:
    """Whether two states of a search have the same bits, and how far apart their elites' confidences are."""
    pairs = zip(bits(ours), bits(theirs), strict=True)
    gap = np.abs(confidences(ours) - confidences(theirs))
    return {
        "equal_bits": all(np.array_equal(*pair) for pair in pairs),
        "largest_difference": float(gap.max()),
    }


def bits(state: Any) -> list[np.ndarray]:
    """The bytes of all arrays of a state."""
    leaves = [
        jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in jax.tree.leaves(state)
    ]
    return [np.frombuffer(np.asarray(leaf).tobytes(), np.uint8) for leaf in leaves]


def confidences(state: Any) -> np.ndarray:
    """The confidences of the elites, 0 of those that are missing."""
    found = np.asarray(state.archive.confidences, np.float64)
    return np.where(np.isfinite(found), found, 0)


def direct_search(network: Classifier, offspring: int) -> Search:
    """MAP-Elites with the direct encoding."""
    encoding = evofool.direct(network.spec.input_shape)
    return evofool.map_elites(encoding, evofool.MapElitesOptions(offspring))


def _beside_command_line(
    network: Classifier, runs: int, offspring: int, generations: int, rounds: int
) -> Table:
    name = network.spec.name
    sizes = ("--batch-size", str(offspring), "--generations", str(generations))
    program = _WHOLE.format(classifier=name, offspring=offspring, generations=generations, runs=runs)
    once, whole = [], []
    with tempfile.TemporaryDirectory() as cache:
        command = ["-m", "evofool", "evolve", "--quiet", "--classifier", name, *sizes]
        process_seconds(command, cache)
        for number in range(rounds):
            once += [process_seconds(command, cache) for _ in range(2)]
            whole.append(process_seconds(["-c", program], cache))
            say(f"    round {number + 1} of {rounds}: {once[-2]:.2f}, {once[-1]:.2f}, {whole[-1]:.1f} s")
    per_run = np.array(once).reshape(rounds, 2).mean(axis=1)
    rates = {
        "command": offspring * generations / per_run,
        "program": runs * offspring * generations / np.array(whole),
    }
    rows = [
        {
            "side": f"evofool evolve, called {runs:,} times",
            "seconds": spread(runs * per_run),
            "evaluations_per_second": spread(rates["command"]),
        },
        {
            "side": f"one program of {runs:,} runs",
            "seconds": spread(whole),
            "evaluations_per_second": spread(rates["program"]),
            "times_the_command_line": spread(rates["program"] / rates["command"]),
        },
    ]
    return Table(f"Processes from start to exit, {generations} generations of {offspring} offspring", rows)
