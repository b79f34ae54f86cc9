"""Independent runs of a search in one program."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree, UInt32

from evofool.classifiers.black_box import AnyClassifier, BlackBox
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError
from evofool.numerics.platform import computes_in_order
from evofool.search.generation import Cut, generation, individuals_at_once
from evofool.search.search import Search, State


@dataclass(frozen=True)
class Runs:
    """One run of a search, or many at once, whose states have an axis of runs in front of all arrays.

    The number of the generation has no such axis, because all runs have made the same. Each run has the bits
    that it has alone, where a search's results do not depend on how a generation is cut up.

    Attributes:
        search: the algorithm.
        count: the number of runs; None for a single one without the axis.
        cut: how a generation is cut up.
    """

    search: Search
    count: int | None = None
    cut: Cut = Cut()

    def init(self, seeds: Sequence[int], classifier: AnyClassifier) -> State:
        """The states before the first generation, given the seed of each run."""
        numbers = np.array(seeds, np.uint32)
        # A black box is no argument of a compiled program.
        return (Runs._begun if isinstance(classifier, BlackBox) else _begun)(self, numbers, classifier)

    def _begun(self, seeds: UInt32[Array | np.ndarray, " n"], classifier: AnyClassifier) -> State:
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds))
        if self.count is None:
            return self.search.init(keys[0], classifier)
        states = jax.vmap(self.search.init, (0, None))(keys, classifier)
        return states._replace(generation=states.generation[0])

    def shapes(self, classifier: Classifier) -> State:
        """The shapes of the states (`jax.ShapeDtypeStruct`)."""
        return _begun.eval_shape(self, np.zeros(self.count or 1, np.uint32), classifier)

    # Traced once for the estimate of memory, the shapes of records and the program that runs.
    @partial(jax.jit, static_argnums=0, inline=True)
    def generation(
        self, state: State, classifier: Classifier, params: PyTree = None
    ) -> tuple[State, dict[str, Array]]:
        """The states after another generation, and the statistics of its offspring.

        Args:
            state: of all runs.
            classifier: what to fool.
            params: the weights of each run's own classifier in place of those of `classifier`, with an axis
                of runs in front.
        """
        if self.count is None:
            return generation(self.search, state, classifier, self.cut)
        number = state.generation
        beside = self._runs_beside(classifier, params)
        cut = (
            self.cut
            if beside == 1
            else dataclasses.replace(self.cut, microbatch=self._at_once(classifier) // beside)
        )

        def one(row: tuple[State, PyTree]) -> tuple[State, dict[str, Array]]:
            own, params = row
            network = classifier if params is None else dataclasses.replace(classifier, params=params)
            after, statistics = generation(self.search, own._replace(generation=number), network, cut)
            return after._replace(generation=None), statistics

        rows = (state._replace(generation=None), params)
        if beside == self.count:
            after, statistics = jax.vmap(one)(rows)
        elif beside == 1:
            after, statistics = jax.lax.map(one, rows)
        else:
            blocks = jax.tree.map(lambda leaf: leaf.reshape(-1, beside, *leaf.shape[1:]), rows)
            results = jax.lax.map(jax.vmap(one), blocks)
            after, statistics = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), results)
        return after._replace(generation=number + 1), statistics

    def _at_once(self, classifier: Classifier) -> int:
        individuals = (self.count or 1) * self.search.individuals(classifier)
        return individuals_at_once(self.search, classifier, self.cut, individuals)

    def _runs_beside(self, classifier: Classifier, params: PyTree) -> int:
        """How many runs are computed at once: a divisor of their number."""
        assert self.count is not None
        in_order = computes_in_order()
        # A processor convolves best with one set of weights at a time.
        if in_order and params is not None:
            return 1
        size = (self.search.together if in_order else self.search.individuals)(classifier)
        most = max(1, self._at_once(classifier) // size)
        return next(count for count in range(min(most, self.count), 0, -1) if self.count % count == 0)


_begun = jax.jit(Runs._begun, static_argnums=0)


def stacked_params(classifiers: Sequence[Classifier]) -> PyTree:
    """The weights of classifiers that are the same network, with a leading axis.

    Raises:
        UsageError: they are not the same network, or have other classes.
    """
    first = classifiers[0]

    def computation(classifier: Classifier) -> tuple[object, ...]:
        shapes = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), classifier.params)
        spec = classifier.spec
        return classifier.logits_function, shapes, spec.input_shape, spec.class_names, spec.activation

    for other in classifiers[1:]:
        if computation(other) != computation(first):
            raise UsageError(
                f"independent runs need classifiers that differ only in their weights, but "
                f"{other.spec.name} differs from {first.spec.name}"
            )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *(each.params for each in classifiers))


def one_run(state: State, index: int) -> State:
    """The state of one of several runs.

    Example:
        >>> from evofool import direct, load_classifier, map_elites, run
        >>> classifier = load_classifier("lenet-digits")
        >>> states = run(map_elites(direct(classifier.spec.input_shape)), classifier, 1, seeds=(5, 6))
        >>> one_run(states, 1).archive.confidences.shape
        (10,)
    """
    own = jax.tree.map(lambda leaf: leaf[index], state._replace(generation=None))
    return own._replace(generation=state.generation)
