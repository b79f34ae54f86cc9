"""What a generation of each search would launch on an NVIDIA H200, beside the bare forward pass."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

import evofool
from benchmarks.described_gpu import Costs, compiled_for, costs, described_mesh
from benchmarks.harness import BARE, Effort, NotInstalledError, Row, Table, lenet
from evofool import Classifier, Search
from evofool.errors import EvofoolError
from evofool.numerics.platform import assumed
from evofool.search.generation import Cut, generation


def kernels(effort: Effort) -> Iterator[Table]:
    """Kernels, loops that ask the host, exchanges and temporaries of a generation on a described H200.

    Compiled without a GPU. Seconds are a model and at least these: 3.5 TB/s, 2.5 us for a kernel, 10 us for
    each look of the host at a condition, one pass of each loop of unknown length, and no arithmetic. With it,
    which is the same on both sides, the share of the bare pass is larger.
    """
    small = effort.size((1024, 16384), (64,))
    for policies in small:
        yield _beside_bare(
            lenet(effort), policies, {"direct": _direct, "CPPN": _cppn, "student": _student}, devices=(1,)
        )
    try:
        network = evofool.load_classifier("mobilenet-v1-0.25")
    except EvofoolError as error:
        yield Table("MobileNet", [{"side": BARE, "note": str(error)}])
        return
    batch = effort.size(2048, 16)
    yield _beside_bare(network, batch, {"direct": _direct, "CPPN": _cppn}, devices=(1, 8))


def _direct(network: Classifier, batch: int) -> Search:
    return evofool.map_elites(evofool.direct(network.spec.input_shape), evofool.MapElitesOptions(batch))


def _cppn(network: Classifier, batch: int) -> Search:
    return evofool.map_elites(evofool.cppn(network.spec.input_shape), evofool.MapElitesOptions(batch))


def _student(network: Classifier, policies: int) -> Search:
    encoding = evofool.student(network.spec.input_shape)
    return evofool.evolution_strategy(encoding, evofool.StrategyOptions(policies))


def _beside_bare(
    network: Classifier,
    images: int,
    searches: dict[str, Callable[..., Search]],
    devices: tuple[int, ...],
) -> Table:
    """One row for each search on each number of devices, after the bare pass of all that it scores on one."""
    title = f"A generation of {images:,} for {network.spec.name} on a described H200"
    try:
        described_mesh()
    except NotInstalledError as error:
        return Table(title, [{"side": BARE, "note": str(error)}])
    passes: dict[int, Costs] = {}
    rows: list[Row] = []
    for name, build in searches.items():
        for count in devices:
            with assumed("gpu"):
                search = build(network, images)
            scored = search.evaluations(network) // count
            if scored not in passes:
                passes[scored], temporaries = forward_costs(network, scored)
                rows.append(_row(f"{BARE} of {scored:,}", passes[scored], temporaries))
            found, temporaries = generation_costs(search, network, count)
            side = name if count == 1 else f"{name}, {count} devices"
            share = round(passes[scored].seconds / found.seconds, 3)
            rows.append(_row(side, found, temporaries) | {"share_of_the_bare_pass": share})
    return Table(title, rows)


def forward_costs(network: Classifier, images: int) -> tuple[Costs, float]:
    """The costs of a bare forward pass, and the MiB of its temporaries."""
    batch = jax.ShapeDtypeStruct((images, *network.spec.input_shape), jnp.float32)
    return _costs(compiled_for(described_mesh(), Classifier.logits, network, batch))


def generation_costs(
    search: Search, network: Classifier, devices: int = 1, microbatch: int | None = None
) -> tuple[Costs, float]:
    """The costs of one generation of a search, and the MiB of its temporaries on a device."""
    mesh = described_mesh(devices)
    cut = Cut(mesh if devices > 1 else None, microbatch)

    @partial(jax.jit, donate_argnums=0)
    def step(state: Any, network: Classifier) -> Any:
        return generation(search, state, network, cut)

    state = jax.eval_shape(lambda: search.init(jax.random.key(0), network))
    return _costs(compiled_for(mesh, step, state, network))


def _costs(program: Any) -> tuple[Costs, float]:
    return costs(program.as_text()), program.memory_analysis().temp_size_in_bytes / 2**20


def _row(side: str, found: Costs, temporaries: float) -> Row:
    return {
        "side": side,
        "kernels": found.kernels,
        "host_checked_loops": found.host_checked_loops,
        "collectives": found.collectives,
        "collectives_in_loops": found.collectives_in_loops,
        "temporaries_MiB": round(temporaries, 1),
        "at_least_microseconds": round(1e6 * found.seconds, 1),
    }
