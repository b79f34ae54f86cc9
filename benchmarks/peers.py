"""The peers, each in its own recommended loop, on the same classifier and the same work.

Every peer scores images rounded to 8 bits, as evofool does, and has one niche per class. A peer that is not
installed (extra `bench`) raises `NotInstalledError` when it is built.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import evofool
from benchmarks.harness import Contender, NotInstalledError
from evofool import Classifier
from evofool.encodings import Encoding
from evofool.images import round_to_8_bits

Build = Callable[..., Contender]


def needs(package: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate the builder of a side that imports an optional package."""

    def decorate(build: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(build)
        def checked(*args: Any, **options: Any) -> Any:
            try:
                return build(*args, **options)
            except ImportError as error:
                raise NotInstalledError(f"{package} is not installed ({error})") from error

        return checked

    return decorate


def scorer(encoding: Encoding, image_shape: tuple[int, int, int]) -> Callable[..., tuple[Any, Any]]:
    """A function of flat genomes: the most likely class of each, its cell, and the confidence in it."""

    def score(classifier: Classifier, flat: Any) -> tuple[Any, Any]:
        images = round_to_8_bits(encoding.render(flat.reshape(-1, *image_shape)))
        confidences = classifier(images)
        return confidences.argmax(axis=1), confidences.max(axis=1)

    return score


QDAX_VARIATIONS = {
    "polynomial mutation": 0.0,
    "polynomial mutation and crossover": 0.5,
    "iso-line variation": 1.0,
}
"""QDax's variations, with the share of the offspring that has two parents."""


@needs("qdax")
def qdax(classifier: Classifier, batch_size: int, generations: int, variation: str) -> Contender:
    """QDax's MAP-Elites, scanned.

    Polynomial mutation and crossover with the source's rates (0.1 with eta 15; half of the pairs), iso-line
    variation with the spreads of QDax's README.
    """
    from qdax.core.emitters.mutation_operators import (
        isoline_variation,
        polynomial_crossover,
        polynomial_mutation,
    )
    from qdax.core.emitters.standard_emitters import MixingEmitter
    from qdax.core.map_elites import MAPElites

    shape, classes = classifier.spec.input_shape, len(classifier.spec.class_names)
    score = scorer(evofool.direct(shape), shape)
    bounds = {"minval": 0.0, "maxval": 1.0}
    crossed = partial(polynomial_crossover, proportion_var_to_change=0.5)
    lines = partial(isoline_variation, iso_sigma=0.05, line_sigma=0.1, **bounds)
    emitter = MixingEmitter(
        mutation_fn=partial(polynomial_mutation, proportion_to_mutate=0.1, eta=15.0, **bounds),
        variation_fn=lines if variation == "iso-line variation" else crossed,
        variation_percentage=QDAX_VARIATIONS[variation],
        batch_size=batch_size,
    )

    def algorithm(classifier: Classifier) -> MAPElites:
        def score_cells(genotypes: Any, key: Any) -> tuple[Any, Any, dict[str, Any]]:
            winners, confidences = score(classifier, genotypes)
            return confidences, winners[:, None].astype(jnp.float32), {}

        return MAPElites(score_cells, emitter, metrics_function=lambda repertoire: {})

    def init(seed: int) -> Any:
        key, drawn = jax.random.split(jax.random.key(seed))
        genotypes = jax.random.uniform(drawn, (batch_size, int(np.prod(shape))))
        centroids = jnp.arange(classes, dtype=jnp.float32)[:, None]
        return *algorithm(classifier).init(genotypes, centroids, key)[:2], key

    @partial(jax.jit, donate_argnums=0)
    def advance(state: Any, classifier: Classifier) -> Any:
        return jax.lax.scan(algorithm(classifier).scan_update, state, length=generations)[0]

    return Contender(init, advance, lambda state: state[0].fitnesses.reshape(-1), batch_size * generations)


@needs("ribs")
def pyribs(classifier: Classifier, batch_size: int, generations: int) -> Contender:
    """pyribs: a grid with a cell per class, Gaussian noise of 0.1 around its elites, scored by JAX."""
    from ribs.archives import GridArchive
    from ribs.emitters import GaussianEmitter
    from ribs.schedulers import Scheduler

    shape, classes = classifier.spec.input_shape, len(classifier.spec.class_names)
    pixels = int(np.prod(shape))
    score = jax.jit(scorer(evofool.direct(shape), shape))

    def init(seed: int) -> Scheduler:
        archive = GridArchive(
            solution_dim=pixels,
            dims=[classes],
            ranges=[(-0.5, classes - 0.5)],
            seed=seed,
            dtype=np.float32,
        )
        uniform = np.random.default_rng(seed).random((batch_size, pixels), np.float32)
        emitter = GaussianEmitter(
            archive,
            sigma=0.1,
            initial_solutions=uniform,
            bounds=[(0, 1)] * pixels,
            batch_size=batch_size,
            seed=seed,
        )
        return Scheduler(archive, [emitter])

    def advance(scheduler: Scheduler, classifier: Classifier) -> Scheduler:
        for _ in range(generations):
            winners, confidences = jax.device_get(score(classifier, scheduler.ask()))
            scheduler.tell(confidences, winners[:, None])
        return scheduler

    def confidences(scheduler: Scheduler) -> np.ndarray:
        elites = scheduler.archive.data(["index", "objective"])
        best = np.full(classes, -np.inf)
        best[elites["index"]] = elites["objective"]
        return best

    return Contender(init, advance, confidences, batch_size * generations)


EVOSAX_ALGORITHMS = ("Open_ES", "SNES")


@needs("evosax")
def evosax(
    classifier: Classifier,
    encoding: Encoding,
    policies: int,
    generations: int,
    algorithm: str,
    targets: tuple[int, ...],
) -> Contender:
    """A strategy of evosax for one class after another, on the whole genome, in a compiled loop.

    Open_ES has the source's sigma and learning rate (both 0.1); SNES has its own and starts with the same
    sigma. Everything else, such as ranking, is the default.
    """
    from evosax import algorithms

    solution = jax.tree.map(lambda leaf: leaf[0], encoding.init(jax.random.split(jax.random.key(0), 1)))
    if algorithm == "Open_ES":
        schedule = optax.constant_schedule(0.1)
        options = {"use_antithetic_sampling": False, "optimizer": optax.sgd(0.1), "std_schedule": schedule}
        strategy = algorithms.Open_ES(policies, solution, **options)
        params = strategy.default_params
    else:
        strategy = getattr(algorithms, algorithm)(policies, solution)
        params = strategy.default_params.replace(std_init=0.1)

    def init(seed: int) -> Any:
        def of_class(target: int) -> Any:
            key, drawn = jax.random.split(jax.random.fold_in(jax.random.key(seed), target))
            begun = jax.tree.map(lambda leaf: leaf[0], encoding.init(drawn[None]))
            return strategy.init(key, begun, params), key

        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *map(of_class, targets))

    @partial(jax.jit, donate_argnums=0)
    def advance(state: Any, classifier: Classifier) -> Any:
        def one_class(own: Any) -> Any:
            target, (begun, key) = own

            def generation(_: Any, carry: Any) -> Any:
                state, key = carry
                key, ask, tell = jax.random.split(key, 3)
                population, state = strategy.ask(ask, state, params)
                rewards = classifier(round_to_8_bits(encoding.render(population)))[:, target]
                return strategy.tell(tell, population, -rewards, state, params)[0], key

            return jax.lax.fori_loop(0, generations, generation, (begun, key))

        return jax.lax.map(one_class, (jnp.array(targets), state))

    return Contender(
        init, advance, lambda state: -state[0].best_fitness, policies * generations * len(targets)
    )


def source_loop(
    classifier: Classifier, policies: int, generations: int, targets: tuple[int, ...]
) -> Contender:
    """The source's student and teacher: NumPy noise, one policy at a time, one prediction per policy."""
    shape = classifier.spec.input_shape
    hidden, pixels, sigma, rate = 100, int(np.prod(shape)), 0.1, 0.1
    predict = jax.jit(lambda classifier, images: classifier(images))

    def init(seed: int) -> dict[str, Any]:
        random = np.random.default_rng(seed)
        students = {
            target: [
                random.standard_normal(hidden, np.float32),
                random.standard_normal((pixels, hidden), np.float32) / np.float32(np.sqrt(hidden)),
            ]
            for target in targets
        }
        return {"random": random, "students": students, "best": dict.fromkeys(targets, -np.inf)}

    def advance(state: dict[str, Any], classifier: Classifier) -> dict[str, Any]:
        for target in targets:
            for _ in range(generations):
                student, noises, rewards = state["students"][target], [], []
                for _ in range(policies):
                    noise = [state["random"].standard_normal(part.shape, np.float32) for part in student]
                    bias, weights = (part + sigma * each for part, each in zip(student, noise, strict=True))
                    drawing = (weights @ np.maximum(bias, 0) > 0).astype(np.float32).reshape(1, *shape)
                    rewards.append(float(predict(classifier, drawing)[0, target]))
                    noises.append(noise)
                state["best"][target] = max(state["best"][target], *rewards)
                advantages = np.array(rewards, np.float32) - np.float32(np.mean(rewards))
                for index, part in enumerate(student):
                    total = sum(a * noise[index] for a, noise in zip(advantages, noises, strict=True))
                    part += rate / (policies * sigma) * total
        return state

    return Contender(
        init, advance, lambda state: list(state["best"].values()), policies * generations * len(targets)
    )
