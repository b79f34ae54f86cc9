"""The third contract: an algorithm that fills an archive with elites."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt8

from evofool.classifiers.black_box import AnyClassifier
from evofool.encodings.encoding import Genomes
from evofool.errors import UsageError

State = Any
"""A NamedTuple of arrays with at least `key`, `generation` and `archive`."""

Candidates = Any
"""What `ask` gives: a NamedTuple with `images [n, h, w, c]` in [0, 1], and whatever `keep` needs beside."""

Kept: TypeAlias = PyTree
"""What `keep` gives. Its leading axes are those of groups, or fixed multiples of them."""


class Search(NamedTuple):
    """A search algorithm: pure functions over any part of a generation.

    The individuals of a generation are numbered from 0, and what is asked for depends only on the state and
    on these numbers. So a generation can be cut anywhere: into parts that fit memory, over devices and
    machines, or into requests to a service (`asking`). `generation` does it within a compiled program:

        candidates = search.ask(state, individuals)       # of any whole groups
        confidences = classifier(candidates.images)
        kept = search.keep(candidates, confidences)
        state, statistics = search.tell(state, kept)      # of the individuals that are told together

    `keep` is between `ask` and `tell`, because the images of a whole generation need not fit into memory: it
    leaves what `tell` needs.

    An algorithm may also keep an individual per niche that evolves beside the archive. When all others have
    been told it competes for its niche, so that the archive is never worse than what evolves:

        images = search.current(state, niches)            # of any niches
        state = search.admit(state, levels, confidences)  # of all of them, with the images as 8-bit levels

    Attributes:
        init: `init(key, classifier) -> state`, the state before the first generation.
        ask: `ask(state, individuals [n]) -> candidates`, the given individuals of the next generation, in
            whole groups.
        keep: `keep(candidates, confidences [n, classes]) -> kept`.
        tell: `tell(state, kept, mesh=None) -> (state, statistics)`, the state that has learnt from the
            individuals that are told together; the number of its generation is not changed. What was kept may
            be split over the devices of a mesh. Statistics are arrays by name, of a whole generation or with
            an axis of classes.
        group: how many consecutive individuals are asked for together.
        individuals: `individuals(classifier)`, how many a generation has, in whole groups.
        together: `together(classifier)`, how many consecutive individuals are told together at least.
        evaluations: `evaluations(classifier)`, how many images of a generation count: those of `current` do.
        counts: `counts(individuals [n]) -> [n]`, which of the individuals count: an answer for the others is
            not used.
        render: `render(genomes [k, ...]) -> images [k, h, w, c]`, the images of the archive's genomes, in
            [0, 1].
        breeds: whether elites have parents.
        current: `current(state, niches [n]) -> images [n, h, w, c]` in [0, 1], of the individuals that evolve
            beside the archive; None if there are none.
        admit: `admit(state, levels [k, h, w, c], confidences [k, classes]) -> state`, the state in which they
            have competed for their niches; None if there are none.
        at_once: `at_once(classifier)`, the most individuals that a CPU should ask for at once, if that is
            fewer than it can score at once.
    """

    init: Callable[[Key[Array, ""], AnyClassifier], State]
    ask: Callable[[State, Int[Array, " n"]], Candidates]
    keep: Callable[[Candidates, Float[Array, "n classes"]], Kept]
    tell: Callable[..., tuple[State, dict[str, Array]]]
    group: int
    individuals: Callable[[AnyClassifier], int]
    together: Callable[[AnyClassifier], int]
    evaluations: Callable[[AnyClassifier], int]
    counts: Callable[[Int[Array, " n"]], Bool[Array, " n"]]
    render: Callable[[Genomes], Float[Array, "k h w c"]]
    breeds: bool = False
    current: Callable[[State, Int[Array, " n"]], Float[Array, "n h w c"]] | None = None
    admit: Callable[[State, UInt8[Array, "k h w c"], Float[Array, "k classes"]], State] | None = None
    at_once: Callable[[AnyClassifier], int] | None = None


def target_classes(classifier: AnyClassifier, targets: Sequence[int] | None) -> tuple[int, ...]:
    """The classes that have a niche: the targets, or all classes if no targets are given.

    Raises:
        UsageError: the targets are empty, repeat a class, or name one that the classifier does not have.

    Example:
        >>> from evofool import load_classifier
        >>> target_classes(load_classifier("lenet-digits"), (7, 3))
        (7, 3)
    """
    classes = len(classifier.spec.class_names)
    chosen = tuple(range(classes) if targets is None else targets)
    if not chosen or len(set(chosen)) != len(chosen) or not all(0 <= target < classes for target in chosen):
        raise UsageError(
            f"targets must name one or more of {classifier.spec.name}'s classes, 0 to {classes - 1}, each "
            f"once, not {list(chosen)}"
        )
    return chosen
