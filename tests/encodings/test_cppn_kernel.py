"""The kernels of GPUs, interpreted: they make the offspring and the pixels of the other platforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool import CPPNOptions, cppn
from evofool.encodings import cppn_kernel
from evofool.encodings.cppn import _inputs
from evofool.encodings.cppn_variation import numbers_of_pairs
from evofool.encodings.graphs import Graphs
from tests.encodings.test_cppn import RATES, merged, paired
from tests.platforms import lowered_for_cuda

CROWDED = CPPNOptions(
    hidden_nodes=5,
    connections=17,
    function_mutation_rate=0.5,
    **dict(zip(RATES, (1.0, 0.6, 1.0, 0.6), strict=True)),
)
GROWING = CPPNOptions(hidden_nodes=40, connections=120)


def evolved(shape: tuple[int, int, int], options: CPPNOptions, generations: int, pairs: int) -> Graphs:
    encoding, key = cppn(shape, options), jax.random.key(7)
    vary = jax.jit(encoding.vary)
    graphs = jax.jit(encoding.init)(jax.random.split(key, 2 * pairs))
    for generation in range(generations):
        keys = jax.random.split(jax.random.fold_in(key, generation), pairs)
        graphs = merged(vary(keys, paired(graphs), jnp.int32(generation)))
    return graphs


@pytest.mark.exact
@pytest.mark.parametrize(
    ("shape", "options", "pixels", "programs", "levels"),
    [
        # Several pieces for a program, the last of an image not full.
        pytest.param((9, 14, 1), GROWING, 32, 5, 2**31, marks=pytest.mark.slow),
        # In two halves.
        ((7, 6, 3), CROWDED, 64, 1024, 7 * 6 * 3 * 12),
    ],
)
def test_the_kernel_draws_the_same_pixels(
    shape: tuple[int, int, int],
    options: CPPNOptions,
    pixels: int,
    programs: int,
    levels: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cppn_kernel, "_PIXELS", pixels)
    monkeypatch.setattr(cppn_kernel, "_PROGRAMS", programs)
    monkeypatch.setattr(cppn_kernel, "_LEVELS", levels)
    graphs = evolved(shape, options, generations=30, pairs=6)
    assert int(graphs.hidden_nodes.max()) >= 5
    inputs = _inputs(*shape[:2], "unit").reshape(4, -1)
    drawn = cppn_kernel.draw(graphs, inputs, max_weight=options.max_weight, outputs=shape[2], interpret=True)
    images = jax.jit(cppn(shape, options).render)(graphs)
    np.testing.assert_array_equal(np.asarray(drawn).reshape(images.shape), np.rint(np.asarray(images) * 255))
    assert len(np.unique(drawn)) > 50


@pytest.mark.exact
@pytest.mark.parametrize(
    ("channels", "options", "generations"),
    [pytest.param(1, GROWING, 25, marks=pytest.mark.slow), (3, CROWDED, 0), (3, CROWDED, 30)],
)
def test_the_kernel_makes_the_same_offspring(channels: int, options: CPPNOptions, generations: int) -> None:
    shape = (4, 4, channels)
    parents = paired(evolved(shape, options, generations, pairs=20))
    keys = jax.random.split(jax.random.key(8), 20)
    kernel = jax.jit(
        lambda keys, parents: cppn_kernel.vary(
            parents, numbers_of_pairs(keys, parents), options=options, outputs=channels, interpret=True
        )
    )
    expected = jax.jit(cppn(shape, options).vary)(keys, parents, jnp.int32(0))
    for ours, theirs in zip(kernel(keys, parents), expected, strict=True):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    changed = [not np.array_equal(*both) for both in zip(parents, expected, strict=True)]
    assert sum(changed) >= 4


def test_for_cuda_a_generation_is_kernels_without_loops() -> None:
    """A loop outside of a kernel would ask the host whether to go on."""
    encoding = cppn((28, 28, 3))
    graphs = jax.eval_shape(encoding.init, jax.random.split(jax.random.key(0), 20))
    keys = jax.random.split(jax.random.key(0), 10)
    pairs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((10, 2, *leaf.shape[1:]), leaf.dtype), graphs)
    drawing = lowered_for_cuda(lambda graphs: encoding.render(graphs), graphs)
    varying = lowered_for_cuda(lambda keys, pairs: encoding.vary(keys, pairs, jnp.int32(0)), keys, pairs)
    assert drawing.count("xla.gpu.triton") == 2
    assert varying.count("xla.gpu.triton") == 1
    assert "stablehlo.while" not in drawing + varying
    assert "stablehlo.sort" not in drawing + varying
