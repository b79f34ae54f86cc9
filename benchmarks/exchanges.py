"""What devices send each other in a generation: by a formula, as compiled, and what it costs."""

import math
from collections.abc import Callable, Iterator

import jax

import evofool
from benchmarks.described_gpu import described_mesh
from benchmarks.harness import Effort, NotInstalledError, Row, Table, lenet
from benchmarks.kernels import generation_costs
from evofool import Classifier, Encoding, Search
from evofool.errors import EvofoolError
from evofool.numerics.platform import assumed, policies_in_a_block
from evofool.numerics.program_memory import tree_bytes

LINKS = {"NVLink": (450e9, 5e-6), "network": (50e9, 20e-6)}
"""Bytes per second that a device sends, and seconds until they begin to arrive: NVLink 4, 400 Gbit/s."""

FLOPS = 30e12
"""Per second, of a network in float32."""

_BLOCK = 32
"""Of so many offspring in a row MAP-Elites compares the maxima between devices."""


def exchanges(effort: Effort) -> Iterator[Table]:
    """Bytes that each device sends in a generation, on described H200s, and a model of the efficiency.

    The model takes the least time of a generation (see `kernels`), or that of the network's arithmetic at 30
    TFLOP/s if that is more, and adds the bytes at the speed of the link and a latency for each exchange.
    Efficiency is the time on one device, divided by the number of devices and the time on them.
    """
    digits, images = lenet(effort), effort.size(16_384, 64)
    try:
        yield _table(digits, "direct", evofool.direct, images, effort)
        yield _table(digits, "CPPN", evofool.cppn, images, effort)
        yield _table(digits, "student", evofool.student, images // 16, effort)
        network = evofool.load_classifier("mobilenet-v1-0.25")
        yield _table(network, "direct", evofool.direct, images, effort)
        yield _table(network, "CPPN", evofool.cppn, images, effort)
    except (NotInstalledError, EvofoolError) as error:
        yield Table("Exchanges", [{"search": "", "note": str(error)}])


def sent_by_map_elites(niches: int, genome: int, offspring: int, devices: int) -> float:
    """Bytes that each of several devices sends in a generation.

    All get from each device the best confidence and its offspring's number, and the maxima of blocks of
    offspring; then the winners' genomes and parents, as a sum to which one device adds what is not zero.

    Args:
        niches: of the archive.
        genome: bytes of one.
        offspring: per generation, of all devices.
        devices: at least two.
    """
    gathered = niches * (8 * devices + 4 * math.ceil(offspring / _BLOCK))
    summed = min(niches, offspring) * genome + 8 * niches
    return (devices - 1) / devices * (gathered + 2 * summed)


def sent_by_strategy(classes: int, policies: int, pixels: int, gradient: int, devices: int) -> float:
    """Bytes that each of several devices sends in a generation of an evolution strategy.

    All get the confidence of each policy, and of each block of policies the best image and what it adds to
    the gradient. The blocks must be a multiple of the devices.

    Args:
        classes: that images evolve for.
        policies: of each class.
        pixels: of an image.
        gradient: bytes of one.
        devices: at least two.
    """
    blocks = classes * math.ceil(policies / policies_in_a_block(policies))
    return (devices - 1) / devices * (4 * classes * policies + blocks * (pixels + gradient))


def _table(
    network: Classifier, name: str, encode: Callable[..., Encoding], images: int, effort: Effort
) -> Table:
    described_mesh()
    spec = network.spec
    encoding = encode(spec.input_shape)
    genomes = jax.eval_shape(encoding.init, jax.random.split(jax.random.key(0), 1))
    classes, genome = len(spec.class_names), tree_bytes(genomes)
    with assumed("gpu"):
        search = _search(name, encoding, images)
    alone, _ = generation_costs(search, network)
    arithmetic = search.evaluations(network) * _flops(network) / FLOPS
    rows: list[Row] = []
    for devices in effort.size((8, 64), (2,)):
        with assumed("gpu"):
            if name == "student":
                formula = sent_by_strategy(classes, images, math.prod(spec.input_shape), genome, devices)
            else:
                formula = sent_by_map_elites(classes, genome, images, devices)
        found, _ = generation_costs(search, network, devices)
        row = {
            "devices": devices,
            "kB_by_formula": round(formula / 1e3, 1),
            "kB_compiled": round(found.sent / 1e3, 1),
            "exchanges": found.collectives,
        }
        for link, (speed, latency) in LINKS.items():
            seconds = max(found.seconds, arithmetic / devices)
            seconds += found.sent / speed + latency * found.collectives
            row[f"efficiency_{link}"] = round(max(alone.seconds, arithmetic) / (devices * seconds), 3)
        rows.append(row)
    return Table(f"{name}, {search.evaluations(network):,} images per generation for {spec.name}", rows)


def _flops(network: Classifier) -> float:
    """Of the forward pass of one image."""
    image = jax.ShapeDtypeStruct((1, *network.spec.input_shape), "float32")
    return jax.jit(Classifier.logits).lower(network, image).cost_analysis()["flops"]


def _search(name: str, encoding: Encoding, images: int) -> Search:
    if name == "student":
        return evofool.evolution_strategy(encoding, evofool.StrategyOptions(images))
    return evofool.map_elites(encoding, evofool.MapElitesOptions(images))
