"""Every search beside the bare forward pass of its classifier, and beside its peers."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import jax

import evofool
from benchmarks import peers
from benchmarks.harness import (
    BARE,
    Contender,
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
from evofool import Classifier, Encoding
from evofool.errors import EvofoolError
from evofool.images import round_to_8_bits
from evofool.search import generation, insert
from evofool.search.parts import images_at_once

IMAGENET = {"squeezenet-1.0": 16, "mobilenet-v1-0.25": 128}
"""Large classifiers, with the batch that two cores score in about a quarter of a second."""


def map_elites(effort: Effort) -> Iterator[Table]:
    """MAP-Elites with the direct encoding against a LeNet, beside QDax and pyribs."""
    network, batch, generations = lenet(effort), effort.size(1024, 32), effort.scaled(10, 2)
    encoding = evofool.direct(network.spec.input_shape)
    rivals = {
        f"QDax, {variation}": partial(peers.qdax, network, batch, generations, variation)
        for variation in peers.QDAX_VARIATIONS
    }
    rivals["pyribs, Gaussian emitter"] = partial(peers.pyribs, network, batch, generations)
    yield _beside_forward(network, "direct", encoding, batch, generations, effort.repeats(7), rivals)
    yield _parts(network, "direct", encoding, batch, effort)


def cppn(effort: Effort) -> Iterator[Table]:
    """MAP-Elites with the CPPN encoding against a LeNet, timed after a short run."""
    network, batch, generations = lenet(effort), effort.size(1024, 32), effort.scaled(10, 2)
    encoding = evofool.cppn(network.spec.input_shape)
    begun = max(1, effort.size(60, 1) // generations)
    yield _beside_forward(network, "CPPN", encoding, batch, generations, effort.repeats(7), {}, begun=begun)
    yield _parts(network, "CPPN", encoding, batch, effort, generations=begun * generations)


def imagenet_direct(effort: Effort) -> Iterator[Table]:
    """MAP-Elites with the direct encoding against SqueezeNet and MobileNet."""
    yield from _imagenet(effort, "direct", evofool.direct)


def imagenet_cppn(effort: Effort) -> Iterator[Table]:
    """MAP-Elites with the CPPN encoding against SqueezeNet and MobileNet."""
    yield from _imagenet(effort, "CPPN", evofool.cppn)


def student(effort: Effort) -> Iterator[Table]:
    """The student's evolution strategy against a LeNet, beside evosax and the source's loop."""
    network, policies = lenet(effort, "sigmoid"), effort.size(1024, 32)
    encoding, targets = evofool.student(network.spec.input_shape), (3,)
    generations, fewer = effort.scaled(10, 2), effort.scaled(1, 1)

    def ours(estimator: str, generations: int) -> Side:
        search = evofool.evolution_strategy(
            encoding, evofool.StrategyOptions(policies, estimator=estimator), targets=targets
        )
        return searching(contender(search, network, generations), network)

    def evosax(algorithm: str) -> Side:
        rival = peers.evosax(network, encoding, policies, fewer, algorithm, targets)
        return searching(rival, network)

    sides = {
        BARE: lambda: bare_forward(network, policies, generations),
        "evofool, marginalised": lambda: ours("marginalised", generations),
        "evofool, marginalised-pixels": lambda: ours("marginalised-pixels", generations),
        "evofool, literal": lambda: ours("literal", fewer),
        **{f"evosax {name}": partial(evosax, name) for name in peers.EVOSAX_ALGORITHMS},
        # The source's 50 policies; its throughput does not depend on their number.
        "the source's loop": lambda: searching(
            peers.source_loop(network, effort.size(50, 4), fewer, targets), network
        ),
    }
    title = f"Student against {network.spec.name}, {policies:,} policies per generation, one class"
    yield compare(title, sides, effort.repeats(7))


def direct_es(effort: Effort) -> Iterator[Table]:
    """The evolution strategy on pixels against a LeNet, beside evosax."""
    network, policies, generations = lenet(effort), effort.size(1024, 32), effort.scaled(10, 2)
    encoding, targets = evofool.direct(network.spec.input_shape), (3,)
    search = evofool.evolution_strategy(encoding, evofool.StrategyOptions(policies), targets=targets)

    def evosax(algorithm: str) -> Side:
        rival = peers.evosax(network, encoding, policies, generations, algorithm, targets)
        return searching(rival, network)

    sides = {
        BARE: lambda: bare_forward(network, policies, generations),
        "evofool": lambda: searching(contender(search, network, generations), network),
        **{f"evosax {name}": partial(evosax, name) for name in peers.EVOSAX_ALGORITHMS},
    }
    title = f"Evolution strategy on pixels against {network.spec.name}, {policies:,} policies, one class"
    yield compare(title, sides, effort.repeats(7))


def _imagenet(
    effort: Effort, name: str, encoding_of: Callable[[tuple[int, int, int]], Encoding]
) -> Iterator[Table]:
    for classifier, batch in IMAGENET.items():
        # After the first generations niches change hands rarely, and less is copied into the archive.
        batch, generations, begun = effort.scaled(batch, 4), effort.size(2, 1), effort.size(10, 1)
        try:
            network = evofool.load_classifier(classifier)
        except EvofoolError as error:
            yield Table(f"MAP-Elites, {name}, against {classifier}", [{"side": BARE, "note": str(error)}])
            continue
        encoding = encoding_of(network.spec.input_shape)
        yield _beside_forward(network, name, encoding, batch, generations, effort.repeats(5), {}, begun=begun)
        yield _parts(network, name, encoding, batch, effort, generations=begun * generations)


def _beside_forward(
    network: Classifier,
    name: str,
    encoding: Encoding,
    batch: int,
    generations: int,
    rounds: int,
    rivals: Mapping[str, Callable[[], Contender]],
    begun: int = 1,
) -> Table:
    ours = contender(evofool.map_elites(encoding, evofool.MapElitesOptions(batch)), network, generations)
    sides = {
        BARE: lambda: bare_forward(network, batch, generations),
        **_in_parts(network, batch, generations),
        f"evofool, {name}": lambda: searching(ours, network, begun),
        **{rival: lambda build=build: searching(build(), network) for rival, build in rivals.items()},
    }
    title = f"MAP-Elites, {name}, against {network.spec.name}, {batch:,} offspring per generation"
    return compare(title, sides, rounds)


def _at_once(network: Classifier, batch: int) -> int:
    """The images of a batch that evofool scores at once: the largest divisor that it allows."""
    most = images_at_once(network, batch)
    return max(size for size in range(1, batch + 1) if batch % size == 0 and size <= most)


def _in_parts(network: Classifier, batch: int, repeats: int) -> dict[str, Callable[[], Side]]:
    """The forward pass in the parts that evofool scores at once, if they are smaller than the batch."""
    at_once = _at_once(network, batch)
    if at_once == batch:
        return {}
    return {f"{BARE}, {at_once} at once": lambda: bare_forward(network, batch, repeats, at_once)}


def _parts(
    network: Classifier, name: str, encoding: Encoding, batch: int, effort: Effort, generations: int = 1
) -> Table:
    """The cost of each part of a generation, interleaved with the whole."""
    search = evofool.map_elites(encoding, evofool.MapElitesOptions(batch))
    state = evofool.run(search, network, generations)
    archive = state.archive
    drawn = jax.random.randint(jax.random.key(1), ((batch + 1) // 2, 2), 0, len(archive.parents))
    pairs = jax.tree.map(lambda leaf: leaf[drawn], archive.genomes)
    keys = jax.random.split(jax.random.key(2), len(drawn))
    children = jax.jit(encoding.vary)(keys, pairs, state.generation)
    genomes = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:batch], children)
    images = jax.jit(encoding.render)(genomes)
    confidences = network(images)
    at_once = _at_once(network, batch)

    def score(network: Classifier, images: jax.Array) -> jax.Array:
        return jax.lax.map(network, images.reshape(-1, at_once, *images.shape[1:]))

    sides = {
        "variation": compiled(encoding.vary, keys, pairs, state.generation),
        "rendering": compiled(lambda genomes: round_to_8_bits(encoding.render(genomes)), genomes),
        "scoring": compiled(score, network, images),
        "insertion": compiled(
            insert,
            archive,
            genomes,
            confidences,
            drawn.reshape(-1)[:batch],
            state.generation,
            donated=(0,),
        ),
        "the whole generation": compiled(partial(generation, search), state, network, donated=(0,)),
        BARE: bare_forward(network, batch),
    }
    seconds = interleaved(sides, effort.repeats(9))
    rows = [
        {
            "part": part,
            "milliseconds": spread(1000 * measured),
            "share_of_the_forward_pass": spread(measured / seconds[BARE]),
        }
        for part, measured in seconds.items()
    ]
    return Table(f"A generation of {batch:,}, {name}, against {network.spec.name}, by part", rows)
