"""What generations would launch on a described NVIDIA H200; skipped where its compiler is not installed."""

import jax
import jax.numpy as jnp
import pytest

import evofool
from benchmarks.described_gpu import Costs, compiled_for, costs, described_mesh
from benchmarks.exchanges import sent_by_map_elites, sent_by_strategy
from benchmarks.harness import NotInstalledError
from benchmarks.kernels import forward_costs, generation_costs
from evofool import Classifier, cppn, with_precision
from evofool.numerics.platform import assumed

# What is compiled for a device that is only described cannot be read back.
pytestmark = pytest.mark.filterwarnings("ignore:Error reading persistent compilation cache entry")

PROGRAM = """HloModule generation

%fused (x: f32[7]) -> f32[7] {
  %x = f32[7]{0} parameter(0)
  ROOT %y = f32[7]{0} negate(%x)
}

%body (state: (s32[], f32[7])) -> (s32[], f32[7]) {
  %state = (s32[], f32[7]{0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %x.1 = f32[7]{0} get-tuple-element(%state), index=1
  %sum = f32[7]{0} all-reduce(%x.1), to_apply=%add
  %next = s32[] fusion(%i), kind=kLoop, calls=%fused
  ROOT %both = (s32[], f32[7]{0}) tuple(%next, %sum)
}

%short (x.2: f32[7]) -> f32[7] {
  %x.2 = f32[7]{0} parameter(0)
  ROOT %z = f32[7]{0} fusion(%x.2), kind=kLoop, calls=%fused
}

ENTRY %main (start: (s32[], f32[7]), branch: s32[]) -> f32[7] {
  %start = (s32[], f32[7]{0}) parameter(0)
  %branch = s32[] parameter(1)
  %known = (s32[], f32[7]{0}) while(%start), body=%body, backend_config={"known_trip_count":{"n":"5"}}
  %unknown = (s32[], f32[7]{0}) while(%known), body=%body
  %x.3 = f32[7]{0} get-tuple-element(%unknown), index=1
  ROOT %w = f32[7]{0} conditional(%branch, %x.3, %x.3), branch_computations={%short, %short}
}
"""


def test_kernels_loops_and_exchanges_are_counted() -> None:
    found = costs("HloModule generation, num_partitions=4\n" + PROGRAM)
    assert (found.kernels, found.host_checked_loops) == (5 * 2 + 2 + 1, 1)
    assert (found.collectives, found.collectives_in_loops) == (2, 2)
    assert found.sent == (5 + 1) * 2 * 3 / 4 * 28  # a sum over four devices, in loops of 5 and at least 1
    assert found.seconds == pytest.approx(13 * 2.5e-6 + 2 * 10e-6)


@pytest.fixture(scope="module")
def h200() -> jax.sharding.Mesh:
    try:
        return described_mesh()
    except NotInstalledError as error:
        pytest.skip(str(error))


def compiled(h200: jax.sharding.Mesh, function: object, *arguments: object) -> tuple[Costs, float, str]:
    program = compiled_for(h200, function, *arguments)
    text = program.as_text()
    return costs(text), program.memory_analysis().temp_size_in_bytes / 2**20, text


def graphs(encoding: evofool.Encoding, *shape: int) -> object:
    one = jax.eval_shape(encoding.init, jax.random.split(jax.random.key(0), 1))
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*shape, *leaf.shape[1:]), leaf.dtype), one)


def test_cppns_vary_in_a_few_kernels(h200: jax.sharding.Mesh) -> None:
    encoding = cppn((28, 28, 1))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 512))
    found, _, _ = compiled(
        h200,
        lambda keys, pairs: encoding.vary(keys, pairs, jnp.int32(0)),
        keys,
        graphs(encoding, 512, 2),
    )
    assert found.kernels <= 4
    assert found.host_checked_loops == 0


@pytest.mark.parametrize(("shape", "count"), [((28, 28, 1), 1024), ((224, 224, 3), 2048)])
def test_cppns_are_drawn_in_a_few_kernels_and_little_memory(
    h200: jax.sharding.Mesh, shape: tuple[int, int, int], count: int
) -> None:
    encoding = cppn(shape)
    found, temporaries, _ = compiled(h200, lambda graphs: encoding.render(graphs), graphs(encoding, count))
    assert found.kernels <= 4
    assert found.host_checked_loops == 0
    # The levels, and the node values that programs keep: the images are the result.
    assert temporaries < 150 + count * shape[0] * shape[1] * shape[2] / 2**20


def test_a_generation_is_few_kernels_and_asks_the_host_nothing(h200: jax.sharding.Mesh) -> None:
    network = evofool.load_classifier("lenet-digits")
    options = evofool.MapElitesOptions(1024)
    drawn, _ = generation_costs(evofool.map_elites(cppn((28, 28, 1)), options), network)
    direct, _ = generation_costs(evofool.map_elites(evofool.direct((28, 28, 1)), options), network)
    assert direct.host_checked_loops == drawn.host_checked_loops == 0
    assert direct.kernels <= 27
    assert drawn.kernels <= direct.kernels + 19


def test_the_softmax_is_one_kernel_beside_the_logits(h200: jax.sharding.Mesh) -> None:
    network = evofool.load_classifier("lenet-digits")
    images = jax.ShapeDtypeStruct((1024, 28, 28, 1), jnp.float32)
    found, _, _ = compiled(h200, Classifier.__call__, network, images)
    assert found.kernels <= forward_costs(network, 1024)[0].kernels + 1


@pytest.mark.parametrize(
    ("precision", "kind", "exact"),
    [("float32", "f32", True), ("tensorfloat32", "f32", False), ("bfloat16", "bf16", True)],
)
def test_convolutions_have_the_precision_that_was_asked_for(
    h200: jax.sharding.Mesh, precision: str, kind: str, exact: bool
) -> None:
    """Without a precision XLA's GPU compiler takes TensorFloat32 for products of float32."""
    network = with_precision(evofool.load_classifier("lenet-digits"), precision)
    images = jax.ShapeDtypeStruct((256, 28, 28, 1), jnp.float32)
    _, _, text = compiled(h200, lambda network, images: network.logits(images), network, images)
    convolutions = [line for line in text.splitlines() if "custom-call" in line and "cudnn$conv" in line]
    assert convolutions
    for line in convolutions:
        assert f"({kind}[" in line
        assert ("operand_precision={highest," in line) == exact
    assert ("operand_precision={high" in text) == exact


@pytest.mark.slow
@pytest.mark.parametrize("devices", [8, 64])
def test_devices_send_what_the_formulas_say(h200: jax.sharding.Mesh, devices: int) -> None:
    network = evofool.load_classifier("lenet-digits")
    search = evofool.map_elites(evofool.direct((28, 28, 1)), evofool.MapElitesOptions(16_384))
    found, _ = generation_costs(search, network, devices)
    assert found.collectives <= 8
    assert found.collectives_in_loops == 0
    assert found.sent == pytest.approx(sent_by_map_elites(10, 784 * 4, 16_384, devices), rel=0.02)
    with assumed("gpu"):
        options = evofool.StrategyOptions(1024)
        search = evofool.evolution_strategy(evofool.student((28, 28, 1)), options, targets=(0, 1, 2, 3))
        formula = sent_by_strategy(4, 1024, 784, 785 * 100 * 4, devices)
    found, _ = generation_costs(search, network, devices)
    assert found.sent == pytest.approx(formula, rel=0.02)
