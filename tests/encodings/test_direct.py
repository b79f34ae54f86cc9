"""The direct encoding through its contract: init, vary and render."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from evofool import DirectOptions, IsoLineVariation, SourceVariation, UsageError, direct

SHAPE = (28, 28, 1)
GENES = 28 * 28


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


def test_genomes_start_uniform() -> None:
    genomes = direct(SHAPE).init(keys(50))
    assert genomes.shape == (50, GENES)
    assert stats.kstest(np.asarray(genomes).ravel(), "uniform").pvalue > 1e-3


def test_a_pixel_is_the_gene_times_255_cut_to_a_whole_number() -> None:
    genomes = direct(SHAPE).init(keys(3))
    levels = np.asarray(direct(SHAPE).render(genomes)) * 255
    expected = np.floor(np.float32(255) * np.asarray(genomes)).reshape(3, *SHAPE)
    np.testing.assert_allclose(levels, expected, atol=1e-4)


def test_half_of_the_pairs_are_crossed_and_a_tenth_of_the_genes_mutated() -> None:
    pairs = jnp.stack([jnp.full((2000, GENES), 0.3), jnp.full((2000, GENES), 0.7)], axis=1)
    offspring = np.asarray(jax.jit(direct(SHAPE).vary)(keys(2000), pairs, jnp.int32(0)))
    changed = (offspring != np.asarray(pairs)).mean(axis=(1, 2))
    crossed = changed > 0.5
    assert abs(crossed.mean() - 0.5) < 4 * np.sqrt(0.25 / 2000)
    assert abs(changed[~crossed].mean() - 0.1) < 0.001
    swapped = offspring[crossed, 0] > offspring[crossed, 1]
    assert abs(swapped.mean() - 0.5) < 0.01


def test_mutations_of_neighbours_are_independent() -> None:
    """Siblings, neighbouring genes and neighbouring pairs mutate together as often as by chance."""
    encoding = direct(SHAPE, DirectOptions(SourceVariation(crossover_rate=0.0)))
    offspring = jax.jit(encoding.vary)(keys(2000), jnp.full((2000, 2, GENES), 0.5), jnp.int32(0))
    mutated = np.asarray(offspring != 0.5).reshape(2000, 2, -1)
    for one, other in [
        (mutated[:, 0], mutated[:, 1]),
        (mutated[:, :, 1:], mutated[:, :, :-1]),
        (mutated[1:], mutated[:-1]),
    ]:
        assert abs((one & other).mean() - 0.01) < 5 * np.sqrt(0.01 * 0.99 / one.size)


@pytest.mark.parametrize(("generation", "share"), [(0, 0.1), (999, 0.1), (1000, 0.05), (5200, 0.1 / 32)])
def test_the_mutation_rate_is_halved_every_thousand_generations(generation: int, share: float) -> None:
    encoding = direct(SHAPE, DirectOptions(SourceVariation(crossover_rate=0.0)))
    pairs = jnp.full((200, 2, GENES), 0.5)
    offspring = jax.jit(encoding.vary)(keys(200), pairs, jnp.int32(generation))
    count = offspring.size
    assert abs(float((offspring != 0.5).mean()) - share) < 5 * np.sqrt(share / count)


def test_without_crossover_and_mutation_offspring_are_copies() -> None:
    encoding = direct(SHAPE, DirectOptions(SourceVariation(crossover_rate=0.0, mutation_rate=0.0)))
    pairs = jax.random.uniform(jax.random.key(3), (10, 2, GENES))
    np.testing.assert_array_equal(jax.jit(encoding.vary)(keys(10), pairs, jnp.int32(7)), pairs)


@pytest.mark.exact
@pytest.mark.parametrize("count", [1, 4])
def test_offspring_do_not_depend_on_what_else_is_varied(count: int) -> None:
    encoding = direct((4, 5, 3))
    pairs = jax.random.uniform(jax.random.key(4), (9, 2, 60))
    vary = jax.jit(encoding.vary)
    whole = vary(keys(9), pairs, jnp.int32(0))
    part = vary(keys(9)[:count], pairs[:count], jnp.int32(0))
    np.testing.assert_array_equal(part, whole[:count])


def test_iso_line_steps_have_the_spreads_of_their_options() -> None:
    options = DirectOptions(IsoLineVariation(iso_sigma=0.02, line_sigma=0.1))
    pairs = jnp.stack([jnp.full((2000, GENES), 0.4), jnp.full((2000, GENES), 0.6)], axis=1)
    offspring = jax.jit(direct(SHAPE, options).vary)(keys(2000), pairs, jnp.int32(0))
    steps = np.asarray(offspring - pairs).reshape(4000, -1)
    assert abs(steps.mean(axis=1).std() - 0.1 * 0.2) < 0.002
    assert abs((steps - steps.mean(axis=1, keepdims=True)).std() - 0.02) < 0.0002


def test_colour_genomes_are_hue_lightness_saturation() -> None:
    genome = jnp.array([[[[0.0, 0.5, 1.0], [0.5, 0.0, 1.0]], [[0.9, 1.0, 1.0], [0.2, 0.5, 0.0]]]])
    image = direct((2, 2, 3)).render(genome.reshape(1, -1))
    red, black, white, grey = np.asarray(image).reshape(4, 3)
    assert red[0] > 0.99
    assert red[1] == red[2] < 0.01
    np.testing.assert_array_equal(black, 0)
    np.testing.assert_allclose(white, 1)
    assert grey[0] == grey[1] == grey[2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: direct((0, 28, 1)), "height must be above zero, not 0"),
        (lambda: direct((28, 28, 2)), "1 channel .* or 3 .*, not 2"),
        (lambda: SourceVariation(mutation_rate=1.5), "mutation_rate must be between 0 and 1, not 1.5"),
        (lambda: SourceVariation(crossover_eta=-1.0), "crossover_eta must be 0 or more, not -1.0"),
        (lambda: IsoLineVariation(iso_sigma=-0.1), "iso_sigma must .*-0.1"),
        (lambda: SourceVariation(mutation_halving=0), "mutation_halving must be above zero"),
    ],
)
def test_bad_options_are_named(make, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make()
