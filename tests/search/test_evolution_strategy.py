"""Evolution strategies: the same bits however a run is cut up; estimators that agree with the literal one."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import evofool
from evofool.encodings.student import Student, StudentOptions, student
from evofool.errors import UsageError
from evofool.images import from_uint8, round_to_8_bits
from evofool.search import Cut, generation
from evofool.search.evolution_strategy import ADVANTAGES
from evofool.search.policies import literal

SHAPE = (28, 28, 1)
SMALL = (3, 3, 1)
HIDDEN = 6
SIGMA = 0.3
MARGINALISED = ["marginalised", "marginalised-pixels"]
RUNS = 20_000


def classifier() -> evofool.Classifier:
    return evofool.load_classifier("lenet-digits", "sigmoid")


def small_teacher() -> evofool.Classifier:
    """Three scores of each image of nine pixels."""
    weights = np.random.default_rng(3).normal(size=(9, 3)).astype(np.float32)
    spec = evofool.ClassifierSpec("small", SMALL, ("a", "b", "c"), "sigmoid")
    return evofool.Classifier(weights, _scores, spec)


def _scores(weights: jax.Array, images: jax.Array) -> jax.Array:
    return jnp.einsum("np,pk->nk", images.reshape(-1, 9), weights, precision="highest")


def strategy(policies: int = 50, encoding: Any = None, **settings: Any) -> evofool.Search:
    beside = {name: settings.pop(name) for name in ("targets", "optimizer") if name in settings}
    if callable(settings.get("sigma")):
        beside["sigma"] = settings.pop("sigma")
    options = evofool.StrategyOptions(policies, **settings)
    return evofool.evolution_strategy(encoding or evofool.student(SHAPE), options, **beside)


def leaves(state: Any) -> list[np.ndarray]:
    """The genomes and elites of a state, but for where elites are numbered and stored."""
    archive = state.archive._replace(indices=(), slots=(), pool=state.archive.genomes)
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.genomes, archive))]


def assert_same(one: Any, other: Any, classes: slice = slice(None)) -> None:
    for a, b in zip(leaves(one), leaves(other), strict=True):
        np.testing.assert_array_equal(a[classes], b)


@pytest.fixture(scope="module")
def small_student() -> Student:
    """A student with few weights: one hidden unit is nearly always off, another is off half of the time."""
    genomes = student(SMALL, StudentOptions(HIDDEN)).init(jax.random.split(jax.random.key(5), 1))
    one = jax.tree.map(lambda leaf: leaf[0], genomes)
    return one._replace(bias=jnp.array([1.0, -2.0, 0.0, 0.4, -0.3, 0.8]))


def reward(images: jax.Array) -> jax.Array:
    """A reward to which every pixel contributes."""
    drive = jnp.linspace(-1.5, 2, 9)
    return jax.nn.sigmoid(images.reshape(-1, 9) @ drive)


def estimators() -> dict[str, Any]:
    encoding = student(SMALL, StudentOptions(HIDDEN))
    return {**encoding.estimators, "literal": literal(encoding)}


@partial(jax.jit, static_argnums=(0, 2))
def draw(name: str, key: jax.Array, policies: int, genome: Student) -> tuple[jax.Array, Student]:
    """Rewards of policies, and their update: 1 / (N sigma) sum F_i noise_i."""
    estimator = estimators()[name]
    images, noise = estimator.sample(jax.random.split(key, policies), jnp.ones(policies), genome, SIGMA)
    rewards = reward(images)
    weights = ADVANTAGES["mean"](rewards) / (policies * SIGMA)
    return rewards, estimator.combine(noise, weights)


@partial(jax.jit, static_argnums=0)
def many_updates(name: str, genome: Student) -> Student:
    """Independent updates of 16 policies each."""
    keys = jax.random.split(jax.random.key(["literal", *MARGINALISED].index(name)), RUNS)
    return jax.lax.map(lambda key: draw(name, key, 16, genome)[1], keys, batch_size=500)


@pytest.fixture(scope="module")
def updates(small_student: Student) -> dict[str, Student]:
    """The updates of each estimator."""
    return {name: many_updates(name, small_student) for name in ("literal", *MARGINALISED)}


@pytest.mark.parametrize("name", MARGINALISED)
def test_rewards_have_the_same_distribution(name: str, small_student: Student) -> None:
    """Of single rewards, and of the nine pixels together as counts of the 512 drawings."""
    count = 100_000
    ours = np.asarray(draw(name, jax.random.key(1), count, small_student)[0])
    theirs = np.asarray(draw("literal", jax.random.key(2), count, small_student)[0])
    assert stats.ks_2samp(ours, theirs).pvalue > 1e-3
    values, which = np.unique(np.concatenate([ours, theirs]).round(5), return_inverse=True)
    table = np.stack(
        [np.bincount(which[:count], minlength=len(values)), np.bincount(which[count:], minlength=len(values))]
    )
    common = table[:, table.sum(axis=0) >= 20]
    assert common.shape[1] > 50
    assert stats.chi2_contingency(common).pvalue > 1e-3


@pytest.mark.parametrize("name", MARGINALISED)
def test_updates_have_the_same_mean_and_no_more_variance(name: str, updates: dict[str, Student]) -> None:
    """Entry by entry in both layers: equal means within standard errors, and no larger variances."""
    ours, theirs = updates[name], updates["literal"]
    for layer in ("bias", "weights"):
        a, b = (np.asarray(getattr(each, layer)).reshape(RUNS, -1) for each in (ours, theirs))
        errors = np.sqrt(a.var(axis=0) / RUNS + b.var(axis=0) / RUNS)
        z = (a.mean(axis=0) - b.mean(axis=0)) / errors
        # None of 60 entries should be off by 4.5 standard errors, and together they should be normal.
        assert np.abs(z).max() < 4.5, layer
        assert len(z) < 20 or 0.6 < z.std() < 1.4, layer
        errors = np.sqrt((_error_of_variance(a) ** 2 + _error_of_variance(b) ** 2).astype(float))
        assert np.all(a.var(axis=0) - b.var(axis=0) < 4.5 * errors), layer
        assert a.var(axis=0).mean() < 0.95 * b.var(axis=0).mean(), layer


def _error_of_variance(samples: np.ndarray) -> np.ndarray:
    """The standard error of the variance of each column, from its fourth moment."""
    fourth = ((samples - samples.mean(axis=0)) ** 4).mean(axis=0)
    return np.sqrt((fourth - samples.var(axis=0) ** 2) / len(samples))


def test_each_marginalisation_lowers_the_variance(updates: dict[str, Student]) -> None:
    variance = {name: float(np.asarray(each.weights).var(axis=0).mean()) for name, each in updates.items()}
    assert variance["marginalised-pixels"] < variance["marginalised"] < variance["literal"]


def test_the_mean_of_a_pixels_noise_is_the_inverse_mills_ratio() -> None:
    """For one hidden unit t is w / sigma, because h' / |h'| is 1; tails included."""
    t = np.array([-4.0, -1.0, -0.1, 0.0, 0.5, 2.0, 4.5, 8.0, 30.0])
    genome = Student(jnp.array([5.0]), jnp.asarray(t[:, None] * SIGMA, jnp.float32))
    encoding = student((3, 3, 1), StudentOptions(1))
    count = 50_000
    images, drawn = jax.jit(encoding.estimators["marginalised-pixels"].sample)(
        jax.random.split(jax.random.key(0), count), jnp.ones(count), genome, SIGMA
    )
    on = np.asarray(images).reshape(count, 9) == 1
    errors = np.sqrt(stats.norm.cdf(t) * stats.norm.sf(t) / count)
    assert np.all(np.abs(on.mean(axis=0) - stats.norm.cdf(t)) <= 4 * errors + 1e-9)
    density = stats.norm.pdf(t)
    expected = np.where(on, density / stats.norm.cdf(t), -density / stats.norm.sf(t))
    np.testing.assert_allclose(drawn.pixels, expected, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("name", MARGINALISED)
def test_a_dead_hidden_layer_draws_a_blank_page_and_has_no_gradient(name: str) -> None:
    genome = Student(jnp.full(HIDDEN, -50.0), jnp.ones((9, HIDDEN)))
    estimator = estimators()[name]
    keys = jax.random.split(jax.random.key(0), 8)
    images, noise = jax.jit(estimator.sample)(keys, jnp.ones(8), genome, SIGMA)
    update = estimator.combine(noise, jnp.arange(8.0))
    assert np.all(np.asarray(images) == 0)
    assert np.all(np.asarray(update.weights) == 0)
    assert np.all(np.isfinite(np.asarray(update.bias)))


@pytest.mark.parametrize("name", ["literal", *MARGINALISED])
def test_antithetic_pairs_have_opposite_noise(name: str, small_student: Student) -> None:
    keys = jnp.repeat(jax.random.split(jax.random.key(0), 2000), 2)
    signs = jnp.tile(jnp.array([1.0, -1.0]), 2000)
    images, _ = jax.jit(estimators()[name].sample)(keys, signs, small_student, SIGMA)
    pairs = np.asarray(reward(images)).reshape(-1, 2)
    assert np.corrcoef(pairs.T)[0, 1] < -0.2
    assert stats.ks_2samp(pairs[:, 0], pairs[:, 1]).pvalue > 1e-3


def test_a_student_renders_its_definition() -> None:
    encoding = evofool.student((5, 4, 3), StudentOptions(7))
    students = encoding.init(jax.random.split(jax.random.key(0), 6))
    hidden = np.maximum(np.asarray(students.bias), 0)
    expected = np.einsum("nph,nh->np", students.weights, hidden) > 0
    np.testing.assert_array_equal(encoding.render(students), expected.reshape(6, 5, 4, 3))
    assert abs(float(students.weights.std()) - 1 / np.sqrt(7)) < 0.03


@pytest.mark.parametrize("estimator", ["marginalised-pixels", "marginalised", "literal"])
def test_one_generation_is_the_sources_update(estimator: str) -> None:
    """The genome after a generation is theta + lr / (N sigma) sum F_i noise_i, and competes with policies."""
    search = strategy(12, estimator=estimator, targets=(3,))
    begun = search.init(jax.random.key(4), classifier())
    genome = jax.tree.map(lambda leaf: leaf[0], begun.genomes)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.split(jax.random.key(4))[1], 3), 1)
    keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(12))
    encoding = evofool.student(SHAPE)
    sample, combine = {**encoding.estimators, "literal": literal(encoding)}[estimator]
    images, noise = jax.jit(sample)(keys, jnp.ones(12), genome, 0.1)
    rewards = classifier()(images)[:, 3]
    update = combine(noise, rewards - rewards.mean())
    state = evofool.run(search, classifier(), 1, seed=4)
    for new, old, step in zip(
        *(jax.tree.leaves(each) for each in (state.genomes, genome, update)), strict=True
    ):
        np.testing.assert_allclose(new[0], old + 0.1 / (12 * 0.1) * step, rtol=1e-4, atol=1e-5)
    mean = float(classifier()(encoding.render(state.genomes))[0, 3])
    assert float(state.archive.confidences[0]) == pytest.approx(max(float(rewards.max()), mean), abs=1e-6)
    winner = 12 if mean > float(rewards.max()) else int(rewards.argmax())
    assert int(state.archive.indices[0]) == winner
    assert int(state.archive.replacements[0]) == _records(rewards) + (winner == 12)


def _records(rewards: jax.Array) -> int:
    """How often a sequence exceeds all before."""
    before = np.concatenate([[-np.inf], np.maximum.accumulate(rewards)[:-1]])
    return int(np.sum(np.asarray(rewards) > before))


@pytest.mark.parametrize("encoding", ["student", pytest.param("direct", marks=pytest.mark.slow)])
def test_elites_are_at_least_as_good_as_the_last_drawings(encoding: str) -> None:
    make = {"student": evofool.student, "direct": evofool.direct}[encoding](SHAPE)
    search = strategy(10, make, optimizer=optax.adam(0.05))
    state, admitted = None, np.zeros(10, int)
    for generations in (1, 2, 3, 15):
        state = evofool.run(search, classifier(), generations, seed=6, state=state)
        drawn = round_to_8_bits(make.render(state.genomes))
        last = np.diagonal(np.asarray(classifier()(drawn)))
        assert np.all(np.asarray(state.archive.confidences) >= last - 1e-6)
        # Elites whose number follows that of the policies are the drawings themselves.
        are_drawn = (state.archive.generations == generations) & (state.archive.indices >= 10 * 10)
        np.testing.assert_array_equal(state.archive.indices[are_drawn] - 100, np.flatnonzero(are_drawn))
        np.testing.assert_array_equal(from_uint8(state.archive.genomes)[are_drawn], drawn[are_drawn])
        admitted += are_drawn
    assert admitted.sum() > 5
    assert search.evaluations(classifier()) == 11 * 10


@pytest.mark.exact
@pytest.mark.parametrize(
    ("encoding", "options"),
    [
        pytest.param("student", {"antithetic": True}, marks=pytest.mark.slow),
        ("direct", {"advantage": "ranks", "optimizer": optax.adam(0.05)}),
    ],
)
def test_results_do_not_depend_on_the_microbatch(encoding: str, options: dict[str, Any]) -> None:
    make = {"student": evofool.student, "direct": evofool.direct}[encoding](SMALL)
    search = strategy(2100, make, targets=(2, 0), **options)
    whole, parts = (
        evofool.run(search, small_teacher(), 3, seed=2, cut=Cut(microbatch=microbatch))
        for microbatch in (None, 700)
    )
    assert_same(whole, parts)


@pytest.mark.parametrize("name", ADVANTAGES)
def test_equal_rewards_have_equal_advantages(name: str) -> None:
    advantage = jax.jit(ADVANTAGES[name])
    for value in (0.1, 0.7, 1e-9, 1.0):
        np.testing.assert_array_equal(advantage(jnp.full(50, value)), 0)
    rewards = np.random.default_rng(0).choice([0.0, 0.1, 0.3, 0.30000001, 0.9], 31).astype(np.float32)
    expected = {
        "mean": rewards - rewards.mean(dtype=np.float64),
        "ranks": (stats.rankdata(rewards) - 1) / 30 - 0.5,
        "z-scores": stats.zscore(rewards.astype(np.float64)),
    }
    np.testing.assert_allclose(advantage(jnp.asarray(rewards)), expected[name], atol=2e-6)


def test_a_confidence_that_is_not_a_number_is_the_lowest_reward() -> None:
    """A class evolves as if the classifier had given 0 in place of nan."""

    def first_pixel(otherwise: float) -> evofool.Classifier:
        def logits(params: jax.Array, images: jax.Array) -> jax.Array:
            brightness = images.mean(axis=(1, 2, 3))
            dark = images[:, 0, 0, 0] < 0.5
            return jnp.where(dark, otherwise, params * brightness)[:, None]

        return evofool.Classifier(
            jnp.ones(()), logits, evofool.ClassifierSpec("pixel", (4, 4, 1), ("bright",), "sigmoid")
        )

    broken, whole = (
        evofool.run(strategy(40, evofool.direct((4, 4, 1))), first_pixel(logit), 5, seed=1)
        for logit in (float("nan"), -jnp.inf)
    )
    assert np.isfinite(np.asarray(broken.genomes)).all()
    # Only the count differs: an image with confidence 0 takes an empty niche, one with nan does not.
    broken, whole = (
        state._replace(archive=state.archive._replace(replacements=jnp.zeros(1, jnp.int32)))
        for state in (broken, whole)
    )
    assert_same(broken, whole)
    assert float(broken.archive.confidences[0]) > 0.5


@pytest.mark.exact
def test_a_class_evolves_as_it_would_alone() -> None:
    together, alone = (
        evofool.run(strategy(encoding=evofool.student(SMALL), targets=targets), small_teacher(), 5, seed=1)
        for targets in (None, (1,))
    )
    assert_same(together, alone, slice(1, 2))


def test_a_continued_run_equals_an_uninterrupted_one() -> None:
    search = strategy(optimizer=optax.adam(0.01), targets=(2, 5))
    half = evofool.run(search, classifier(), 4, seed=1, chunk=3)
    assert_same(
        evofool.run(search, classifier(), 9, state=half), evofool.run(search, classifier(), 9, seed=1)
    )


@pytest.mark.slow
def test_a_schedule_of_sigma_is_followed() -> None:
    def sigma(generation: jax.Array) -> jax.Array:
        return jnp.where(generation < 2, 0.1, 0.5)

    searches = (strategy(targets=(1,)), strategy(targets=(1,), sigma=sigma))
    constant, scheduled = (evofool.run(search, classifier(), 2, seed=1) for search in searches)
    assert_same(constant, scheduled)
    constant, scheduled = (
        evofool.run(search, classifier(), 3, state=state)
        for search, state in zip(searches, (constant, scheduled), strict=True)
    )
    assert not np.array_equal(constant.genomes.weights, scheduled.genomes.weights)


@pytest.mark.parametrize(
    ("encoding", "generations"), [("student", 60), pytest.param("direct", 150, marks=pytest.mark.slow)]
)
def test_the_strategy_climbs(encoding: str, generations: int) -> None:
    make = {"student": evofool.student, "direct": evofool.direct}[encoding](SHAPE)
    optimizer = None if encoding == "student" else optax.adam(0.02)
    search = strategy(50, make, targets=(3, 6), optimizer=optimizer, antithetic=True)
    rewards: list[np.ndarray] = []
    state = evofool.run(
        search, classifier(), generations, on_chunk=lambda _, metrics: rewards.append(metrics["mean_rewards"])
    )
    curve = np.concatenate(rewards)
    assert np.all(curve[-1] > curve[0])
    assert np.all(np.asarray(state.archive.confidences) > 0.99)
    shown = classifier()(search.render(state.archive.genomes))
    np.testing.assert_allclose(np.asarray(shown)[[0, 1], [3, 6]], state.archive.confidences, atol=1e-6)


def test_a_large_population_is_scored_in_bounded_memory() -> None:
    """65,536 policies of 784 pixels take less than 2 GB for a step and its results."""
    search = strategy(65_536, evofool.direct(SHAPE), targets=(3,))
    state = search.init(jax.random.key(0), classifier())
    program = jax.jit(partial(generation, search)).lower(state, classifier())
    analysis = program.compile().memory_analysis()
    assert analysis.temp_size_in_bytes + analysis.output_size_in_bytes < 2_000_000_000


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"policies": 51, "antithetic": True}, "policies must be even .* not 51"),
        ({"sigma": 0.0}, "sigma must be above zero, not 0.0"),
        ({"policies": 0}, "policies must be above zero"),
        ({"policies": 1}, "policies must be 2 or more"),
        ({"advantage": "rank"}, "did you mean 'ranks'"),
        ({"estimator": "marginalized"}, "did you mean 'marginalised'"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        strategy(**options)


def test_bad_targets_are_named() -> None:
    with pytest.raises(UsageError, match="0 to 9, each once"):
        evofool.run(strategy(targets=(12,)), classifier(), 1)
    with pytest.raises(UsageError, match="unknown estimator of this encoding 'marginalised'"):
        strategy(encoding=evofool.direct(SHAPE), estimator="marginalised")
