"""Interleaved timing in one process, so that other load on the machine affects all sides equally."""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from evofool import Classifier, Search, load_classifier
from evofool.errors import EvofoolError
from evofool.search.independent import Runs

BARE = "forward pass"
"""The baseline of all ratios: the lower bound on the cost of a search."""

PACKAGES = (
    *("evofool", "jax", "jaxlib", "flax", "numpy", "evosax", "qdax", "ribs", "foolbox"),
    *("adversarial-robustness-toolbox", "torch", "torchattacks"),
)

Row = dict[str, Any]


class NotInstalledError(Exception):
    """A package that a side needs is missing; the table names the side without figures."""


@dataclass(frozen=True)
class Effort:
    """How much a case measures.

    Attributes:
        quick: minimal sizes and rounds, to check that a case works.
        rounds: how often each side is timed; by default the case decides.
        classifier: the network of the cases that compare what attacks reach; the embedded LeNet by default.
    """

    quick: bool = False
    rounds: int | None = None
    classifier: str | None = None

    def size(self, full: Any, quick: Any) -> Any:
        """The full or the quick size."""
        return quick if self.quick else full

    def scaled(self, full: int, quick: int) -> int:
        """As `size`, times sixteen on an accelerator."""
        return self.size(full if jax.default_backend() == "cpu" else 16 * full, quick)

    def repeats(self, full: int) -> int:
        """How often to time each side, for a case with `full` rounds by default."""
        return self.rounds or (2 if self.quick else full)


@dataclass(frozen=True)
class Table:
    """Rows of figures. A dict of median, lowest and highest is one cell.

    Attributes:
        title: the heading.
        rows: the rows; the first value of each is its name.
        bars: the column to draw as bars, if any.
    """

    title: str
    rows: list[Row]
    bars: str | None = None


@dataclass(frozen=True)
class Curves:
    """Lines of a plot, each with `x`, `median`, and either `lowest` and `highest` or the two quartiles."""

    title: str
    x: str
    y: str
    lines: Mapping[str, Mapping[str, Sequence[float]]]
    logarithmic: bool = False


@dataclass
class Side:
    """A piece of work to time.

    Attributes:
        run: does the work and returns arrays, which are waited for.
        evaluations: the images it scores, or whatever else is counted.
        prepare: makes the arguments of `run` before every call; not timed.
        compile_seconds: compilation time; by default the extra time of the first call.
        memory_mib: memory of the compiled program: arguments, results and temporaries.
        flops: floating-point operations per evaluation, if known.
    """

    run: Callable[..., Any]
    evaluations: int = 1
    prepare: Callable[[], tuple[Any, ...]] = tuple
    compile_seconds: float | None = None
    memory_mib: float | None = None
    flops: float | None = None


class Contender(NamedTuple):
    """A search to time and to follow, of evofool or of a peer.

    Attributes:
        init: `init(seed) -> state`.
        advance: `advance(state, classifier) -> state`, some generations later; compiled if possible.
        confidences: `confidences(state) -> [k]`, the best so far for each class; not finite if there is none.
        evaluations: the images that an `advance` scores.
    """

    init: Callable[[int], Any]
    advance: Callable[[Any, Classifier], Any]
    confidences: Callable[[Any], Any]
    evaluations: int


def say(line: str) -> None:
    """Report progress on stderr."""
    print(line, file=sys.stderr, flush=True)


def compiled(
    function: Callable[..., Any], *arguments: Any, evaluations: int = 1, donated: tuple[int, ...] = ()
) -> Side:
    """A side that is one call of a function, compiled immediately.

    Args:
        function: a function, or the result of `jax.jit`.
        arguments: its arguments.
        evaluations: the images that a call scores.
        donated: the arguments that the function may overwrite; each call gets a copy of them.
    """
    started = time.perf_counter()
    jitted = function if hasattr(function, "lower") else jax.jit(function, donate_argnums=donated)
    program = jitted.lower(*arguments).compile()
    seconds = time.perf_counter() - started
    say(f"    compiled {getattr(function, '__name__', 'a program')} in {seconds:.1f} s")

    def prepare() -> tuple[Any, ...]:
        return tuple(_copy(each) if index in donated else each for index, each in enumerate(arguments))

    return Side(program, evaluations, prepare, seconds, _program_mib(program))


def _copy(tree: Any) -> Any:
    return jax.device_put(tree, may_alias=False)


def _program_mib(program: Any) -> float | None:
    memory = program.memory_analysis()
    if memory is None:
        return None
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return (held - memory.alias_size_in_bytes) / 2**20


def bare_forward(
    classifier: Classifier, batch_size: int, repeats: int = 1, at_once: int | None = None
) -> Side:
    """The lower bound on the cost of a search: `repeats` forward passes of a batch, in one compiled loop.

    Args:
        classifier: the classifier, of which only the logits are computed.
        batch_size: images per pass.
        repeats: number of passes.
        at_once: images scored together, a divisor of the batch size; all by default.
    """
    images = jax.random.uniform(jax.random.key(0), (batch_size, *classifier.spec.input_shape))

    def forward(classifier: Classifier, images: jax.Array) -> jax.Array:
        def once(_: Any, total: jax.Array) -> jax.Array:
            # The barrier makes the images depend on the previous pass, so the compiler cannot drop a pass.
            again, total = jax.lax.optimization_barrier((images, total))
            if at_once is None:
                return total + classifier.logits(again)
            parts = again.reshape(-1, at_once, *classifier.spec.input_shape)
            return total + jax.lax.map(classifier.logits, parts).reshape(total.shape)

        start = jnp.zeros((batch_size, len(classifier.spec.class_names)))
        return jax.lax.fori_loop(0, repeats, once, start)

    side = compiled(forward, classifier, images, evaluations=batch_size * repeats)
    costs = jax.jit(lambda classifier, images: classifier.logits(images)).lower(classifier, images)
    side.flops = (costs.cost_analysis() or {}).get("flops", 0) / batch_size or None
    return side


def contender(
    search: Search, classifier: Classifier, generations: int, count: int | None = None
) -> Contender:
    """A search of evofool: some generations in one compiled loop.

    Args:
        search: the algorithm.
        classifier: what to fool.
        generations: of an `advance`.
        count: the number of independent runs in one program; None for a single one.
    """
    runs = Runs(search, count)

    @partial(jax.jit, donate_argnums=0)
    def advance(state: Any, classifier: Classifier) -> Any:
        return jax.lax.fori_loop(0, generations, lambda _, s: runs.generation(s, classifier)[0], state)

    return Contender(
        init=lambda seed: runs.init(range(seed, seed + (count or 1)), classifier),
        advance=advance,
        confidences=lambda state: state.archive.confidences,
        evaluations=generations * (count or 1) * search.evaluations(classifier),
    )


def searching(contender: Contender, classifier: Classifier, begun: int = 1) -> Side:
    """A side that advances a search from the same state each time, the one after `begun` advances."""
    state = contender.init(0)
    if not hasattr(contender.advance, "lower"):
        # It holds its own state and continues from it.
        return Side(contender.advance, contender.evaluations, lambda: (state, classifier))
    # evofool updates its state in place, and so do the peers that can.
    side = compiled(contender.advance, state, classifier, evaluations=contender.evaluations, donated=(0,))
    for _ in range(begun):
        state = side.run(state, classifier)
    side.prepare = lambda: (_copy(state), classifier)
    return side


def interleaved(sides: Mapping[str, Side], rounds: int, *, settle: bool = True) -> dict[str, np.ndarray]:
    """The seconds of every side in every round.

    Before each timed call an untimed call of the same side warms up caches and memory. The extra time of the
    very first call is the compilation time of a side that does not know it.

    Args:
        sides: the sides to time.
        rounds: number of rounds.
        settle: whether to warm up in every round, or in the first one only.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    first: dict[str, float] = {}
    for number in range(rounds):
        for name, side in sides.items():
            if settle or number == 0:
                untimed = timed(side)
                first.setdefault(name, untimed)
            seconds[name].append(timed(side))
            say(f"    round {number + 1} of {rounds}, {name}: {seconds[name][-1]:.3f} s")
    for name, side in sides.items():
        if side.compile_seconds is None:
            side.compile_seconds = max(0.0, first[name] - float(np.median(seconds[name])))
    return {name: np.array(measured) for name, measured in seconds.items()}


def timed(side: Side) -> float:
    """The seconds until all results of a side are ready."""
    arguments = jax.block_until_ready(side.prepare())
    started = time.perf_counter()
    jax.block_until_ready(side.run(*arguments))
    return time.perf_counter() - started


def spread(values: Any, digits: int = 4) -> dict[str, float]:
    """Median, lowest and highest, rounded to significant digits."""
    values = np.asarray(values, float)
    named = {"median": np.median(values), "lowest": values.min(), "highest": values.max()}
    return {name: float(f"{value:.{digits}g}") for name, value in named.items()}


def compare(title: str, builders: Mapping[str, Callable[[], Side]], rounds: int, bare: str = BARE) -> Table:
    """Time sides in turns: evaluations per second, and their ratio to the baseline round by round.

    Args:
        title: the heading.
        builders: builds each side; `NotInstalledError` becomes a row with a note.
        rounds: how often each side is timed.
        bare: the baseline of the ratios.
    """
    sides, absent = built(builders)
    seconds = interleaved(sides, rounds)
    return rates(title, sides, seconds, bare, absent)


def built(builders: Mapping[str, Callable[[], Side]]) -> tuple[dict[str, Side], list[Row]]:
    """The sides that can be built, and a row for each one that misses a package."""
    sides: dict[str, Side] = {}
    absent: list[Row] = []
    for name, build in builders.items():
        try:
            sides[name] = build()
        except NotInstalledError as error:
            absent.append({"side": name, "note": str(error)})
            say(f"    {name}: {error}")
    return sides, absent


def rates(
    title: str,
    sides: Mapping[str, Side],
    seconds: Mapping[str, np.ndarray],
    bare: str = BARE,
    absent: Sequence[Row] = (),
) -> Table:
    """Evaluations per second of timed sides, and their ratios round by round.

    Args:
        title: the heading.
        sides: the timed sides; peers are compared with the first one named evofool.
        seconds: the seconds of every side in every round.
        bare: the baseline of the ratios. If other names begin with it, such as the same pass in smaller
            parts, there are ratios to the fastest of them too.
        absent: rows of sides that could not be timed.
    """
    per_second = {name: side.evaluations / seconds[name] for name, side in sides.items()}
    ours = next((name for name in sides if name.startswith("evofool")), bare)
    peers = {name for name in sides if not name.startswith((bare, "evofool"))}
    passes = [name for name in sides if name.startswith(bare)]
    fastest = max(passes, key=lambda name: np.median(per_second[name]))
    rows = [
        {
            "side": name,
            "evaluations_per_second": spread(per_second[name]),
            "ratio_to_the_bare_pass": spread(per_second[name] / per_second[bare]),
            "ratio_to_the_fastest_pass": spread(per_second[name] / per_second[fastest])
            if len(passes) > 1
            else None,
            "speedup_of_evofool": spread(per_second[ours] / per_second[name]) if name in peers else None,
            "compile_seconds": None if side.compile_seconds is None else round(side.compile_seconds, 3),
            "program_MiB": None if side.memory_mib is None else round(side.memory_mib, 1),
            "gflop_per_second": None if side.flops is None else _gigaflops(per_second[name], side.flops),
        }
        for name, side in sides.items()
    ]
    return Table(title, [*rows, *absent], bars="ratio_to_the_bare_pass")


def _gigaflops(per_second: np.ndarray, flops: float) -> float:
    return round(float(np.median(per_second)) * flops / 1e9, 2)


def lenet(effort: Effort, activation: Any = None) -> Classifier:
    """The LeNet of Nguyen et al., or the embedded one if it is not available."""
    try:
        return load_classifier(effort.size("lenet-nguyen2015", "lenet-digits"), activation)
    except (EvofoolError, ImportError):  # its weights, or what would say where they are kept
        return load_classifier("lenet-digits", activation)


@dataclass
class Result:
    """The measurements of a case."""

    case: str
    about: str
    parts: list[Table | Curves] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, part: Table | Curves) -> None:
        """Add a table or a plot; a table takes the place of one of the same title, which had fewer rows."""
        if isinstance(part, Table):
            titles = [each.title if isinstance(each, Table) else None for each in self.parts]
            if part.title in titles:
                self.parts.pop(titles.index(part.title))
        self.parts.append(part)

    def to_json(self, command: str, quick: bool) -> dict[str, Any]:
        """All measurements with device, versions and commit, as plain values."""
        return {
            "case": self.case,
            "about": self.about,
            **environment(),
            "command": command,
            "quick": quick,
            "seconds": round(self.seconds, 1),
            "peak_mib_of_the_process": _peak_mib(),
            "tables": [vars(part) for part in self.parts if isinstance(part, Table)],
            "curves": [vars(part) for part in self.parts if isinstance(part, Curves)],
        }


def environment() -> dict[str, Any]:
    """Device, versions, commit and date."""
    return {
        "device": device_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def device_name() -> str:
    """The name of the device; for a processor with its number of cores."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()} {os.cpu_count()} cores"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _commit() -> str:
    """The commit at the first call; saved results would make it dirty later."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:  # no git here
        return ""


def _peak_mib() -> dict[str, float]:
    """The peak memory of the process and, if known, of the device."""
    import resource  # not on Windows

    scale = 2**20 if sys.platform == "darwin" else 2**10
    peaks = {"host": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 1)}
    if peak := (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"):
        peaks["device"] = round(peak / 2**20, 1)
    return peaks
