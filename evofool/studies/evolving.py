"""Evolving images for a study: many independent runs in one program."""

from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from evofool.classifiers import AnyClassifier
from evofool.encodings import ENCODINGS, StudentOptions
from evofool.images import to_uint8
from evofool.search import (
    MapElitesOptions,
    Search,
    StrategyOptions,
    evolution_strategy,
    map_elites,
    one_run,
    run,
)
from evofool.search.map_elites import MapElitesState
from evofool.studies.work import Work

Evolvable = Literal["direct", "cppn", "student"]
"""What evolves: pixels or CPPNs by MAP-Elites, or students by an evolution strategy with ranked rewards."""


class Evolved(NamedTuple):
    """The elites of independent runs.

    Attributes:
        images: of each run and class, with 8 bits.
        confidences: in the class, in [0, 1].
        evaluations_to_99: the images that each run had scored when the median over its classes reached 99%;
            nan if it never did.
        evaluations: the images that each run had scored when it found the elite of a class.
    """

    images: UInt8[np.ndarray, "runs k h w c"]
    confidences: Float[np.ndarray, "runs k"]
    evaluations_to_99: Float[np.ndarray, " runs"]
    evaluations: Int[np.ndarray, "runs k"]


def evolved(
    work: Work,
    step: str,
    classifier: AnyClassifier,
    encoding: Evolvable,
    *,
    seeds: range,
    generations: int,
    batch_size: int,
    targets: tuple[int, ...] | None = None,
) -> Evolved:
    """Evolve images for a classifier, as a step of a study.

    Args:
        work: of the study.
        step: the name of the step.
        classifier: what to fool.
        encoding: what evolves.
        seeds: one for each run.
        generations: of each run.
        batch_size: images that each run scores in a generation; students have as many for each class.
        targets: the classes to evolve images for, as indices; all by default.
    """
    search = _search(classifier, encoding, batch_size, targets)

    def evolve() -> dict[str, np.ndarray]:
        medians = []
        with work.bar(f"evolving {step}", generations) as advance:

            def on_chunk(state: MapElitesState, metrics: dict[str, np.ndarray]) -> None:
                medians.append(metrics["median_confidence"])
                advance(len(metrics["median_confidence"]))

            state = run(search, classifier, generations, seeds=seeds, on_chunk=on_chunk)
        over_99 = np.concatenate(medians) >= 0.99
        return {
            "images": _rendered(search, state, len(seeds)),
            "confidences": np.asarray(state.archive.confidences),
            "generations": np.asarray(state.archive.generations),
            "generation_over_99": np.where(over_99.any(axis=0), over_99.argmax(axis=0) + 1, -1),
        }

    arrays = work.arrays(step, evolve)
    reached: Int[np.ndarray, " runs"] = arrays["generation_over_99"]
    each = search.evaluations(classifier)
    evaluations_to_99 = np.where(reached > 0, reached * float(each), np.nan)
    return Evolved(arrays["images"], arrays["confidences"], evaluations_to_99, each * arrays["generations"])


def _search(
    classifier: AnyClassifier, encoding: Evolvable, batch_size: int, targets: tuple[int, ...] | None
) -> Search:
    shape = classifier.spec.input_shape
    if encoding == "student":
        options = StrategyOptions(batch_size, advantage="ranks")
        drawing = ENCODINGS["student"].build(shape, StudentOptions(variation=None))
        return evolution_strategy(drawing, options, targets=targets)
    built = ENCODINGS[encoding].build(shape, ENCODINGS[encoding].options())
    return map_elites(built, MapElitesOptions(batch_size), targets=targets)


def _rendered(search: Search, state: MapElitesState, runs: int) -> UInt8[np.ndarray, "runs k h w c"]:
    render = jax.jit(search.render)
    return np.stack([np.asarray(to_uint8(render(one_run(state, i).archive.genomes))) for i in range(runs)])
