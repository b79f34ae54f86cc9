"""Inserting a batch at once, compared with inserting its genomes one by one in plain NumPy."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import evofool.search.archive
from evofool.numerics.platform import assumed
from evofool.search import Archive, empty_archive, insert


def insert_one_by_one(
    elites: dict, genomes: np.ndarray, confidences: np.ndarray, parents: np.ndarray, generation: int
):
    for genome, row, parent in zip(genomes, confidences, parents, strict=True):
        for niche, confidence in enumerate(row):
            if confidence > elites["confidences"][niche]:
                elites["confidences"][niche] = confidence
                elites["genomes"][niche] = genome
                elites["generations"][niche] = generation
                elites["parents"][niche] = parent
                elites["replacements"][niche] += 1


def compiled(small: int, platform: str) -> Callable[..., Archive]:
    """`insert` as it is on a platform, with archives of more bytes than this counted as large."""

    def insert_batch(*arguments: Any) -> Archive:
        with pytest.MonkeyPatch.context() as patch, assumed(platform):
            patch.setattr(evofool.search.archive, "_SMALL_ARCHIVE", small)
            return insert(*arguments)

    return jax.jit(insert_batch)


INSERTIONS = {
    f"{name}, {platform}": compiled(small, platform)
    for name, small in {"rewritten": 2**24, "updated in place": 0}.items()
    for platform in ("cpu", "gpu")
}

# Few distinct values, so that ties are frequent; a broken classifier gives nan and -inf.
values = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0, float("nan"), float("-inf")])


@pytest.mark.parametrize("insertion", INSERTIONS)
@given(
    batches=st.sampled_from([(1, 1), (5, 1), (6, 4)]).flatmap(
        lambda shape: st.lists(hnp.arrays(np.float32, shape, elements=values), min_size=1, max_size=3)
    )
)
def test_inserting_a_batch_equals_inserting_one_by_one(insertion: str, batches: list[np.ndarray]) -> None:
    niches = batches[0].shape[1]
    archive = empty_archive(jnp.zeros(2), niches)
    plain = {
        "genomes": np.zeros((niches, 2), np.float32),
        "confidences": np.full(niches, -np.inf, np.float32),
        "generations": np.zeros(niches, np.int32),
        "parents": np.full(niches, -1, np.int32),
        "replacements": np.zeros(niches, np.int32),
    }
    for generation, confidences in enumerate(batches, start=1):
        genomes = np.stack([np.full(2, 10 * generation + i, np.float32) for i in range(len(confidences))])
        parents = np.arange(len(confidences), dtype=np.int32) % niches
        archive = INSERTIONS[insertion](
            archive, *map(jnp.asarray, (genomes, confidences, parents)), jnp.int32(generation)
        )
        insert_one_by_one(plain, genomes, confidences, parents, generation)
    for name, expected in plain.items():
        np.testing.assert_array_equal(getattr(archive, name), expected, err_msg=name)


def test_the_earliest_of_equals_wins_and_every_replacement_counts() -> None:
    archive = empty_archive(jnp.zeros(()), 1)
    confidences = jnp.array([[0.1], [0.4], [0.4], [0.3], [0.9], [0.9]])
    archive = insert(archive, jnp.arange(6.0), confidences, jnp.zeros(6, jnp.int32), jnp.int32(1))
    assert archive.genomes.tolist() == [4.0]
    assert archive.replacements.tolist() == [3]
    again = insert(archive, jnp.array([7.0]), jnp.array([[0.9]]), jnp.array([0]), jnp.int32(2))
    assert again.genomes.tolist() == [4.0]


def test_a_large_archive_stores_a_genome_once_however_many_niches_it_wins() -> None:
    archive = empty_archive(jnp.zeros(2), 4)
    first = INSERTIONS["updated in place, cpu"](
        archive, jnp.array([[1.0, 1], [2, 2]]), jnp.array([[0.5] * 4, [0.4] * 4]), jnp.array([-1, -1]), 1
    )
    assert first.genomes.tolist() == [[1, 1]] * 4
    assert len(set(first.slots.tolist())) == 1
    second = INSERTIONS["updated in place, cpu"](
        first, jnp.array([[3.0, 3]]), jnp.array([[0.9, 0, 0.9, 0]]), jnp.array([0]), 2
    )
    assert second.genomes.tolist() == [[3, 3], [1, 1], [3, 3], [1, 1]]
    assert len(set(second.slots.tolist())) == 2
