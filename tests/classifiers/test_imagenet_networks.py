"""The ImageNet networks: the logits of an independent implementation, one image at a time or many."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from evofool import Classifier, EvofoolError, UsageError, create_classifier, load_classifier
from evofool.classifiers.importers import LAYOUTS
from evofool.classifiers.importers.layout import from_channels_first
from evofool.classifiers.networks.caffenet import normalised
from evofool.numerics.convolution import conv_general_dilated

FILES = {"squeezenet-1.0": "squeezenet_v1.0", "mobilenet-v1-0.25": "mobilenet_v1_0.25_224"}

logits = jax.jit(lambda classifier, images: classifier.logits(images))


@pytest.fixture(params=FILES)
def network(request: pytest.FixtureRequest, data: Path) -> str:
    return request.param


@pytest.fixture
def classifier(network: str) -> Classifier:
    return load_classifier(network)


@pytest.fixture
def golden(network: str, data: Path) -> dict[str, np.ndarray]:
    with np.load(data / "golden" / f"{FILES[network]}.npz") as arrays:
        return dict(arrays)


def test_logits_are_those_of_the_reference(classifier: Classifier, golden: dict[str, np.ndarray]) -> None:
    found = np.asarray(logits(classifier, jnp.asarray(golden["images"], jnp.float32) / 255))
    assert np.abs(found - golden["logits"]).max() < 1e-5 * np.abs(golden["logits"]).max()
    assert found.argmax(1).tolist() == golden["logits"].argmax(1).tolist()


def test_photographs_are_classified_correctly(classifier: Classifier, golden: dict[str, np.ndarray]) -> None:
    found = logits(classifier, jnp.asarray(golden["images"], jnp.float32) / 255)
    confidences = classifier.activate(found)[:4]
    names = [classifier.spec.class_names[index] for index in confidences.argmax(1)]
    assert names[0] in ("tabby", "Egyptian cat")
    assert names[1:] == ["espresso", "giant panda", "Samoyed"]


@pytest.mark.exact
def test_logits_do_not_depend_on_the_batch(classifier: Classifier, golden: dict[str, np.ndarray]) -> None:
    images = jnp.asarray(np.concatenate([golden["images"]] * 2)[:11], jnp.float32) / 255
    together = np.asarray(logits(classifier, images))
    np.testing.assert_array_equal(np.asarray(logits(classifier, images[:2])), together[:2])


def test_damaged_weights_are_named(network: str, data: Path, tmp_path: Path) -> None:
    load = LAYOUTS[network].load
    bias = "conv1_bn.beta" if network.startswith("mobilenet") else "conv1.bias"
    arrays = load_file(data / "weights" / f"{FILES[network]}.safetensors")
    names = tuple(map(str, range(1000)))
    missing = {name: array for name, array in arrays.items() if not name.startswith("conv1.")}
    spoilt = {**arrays, bias: np.full_like(arrays[bias], np.nan)}
    for index, (broken, said) in enumerate(
        ((missing, "conv1"), (spoilt, "values that are not finite as float32"))
    ):
        save_file(broken, tmp_path / f"{index}.safetensors")
        with pytest.raises(EvofoolError, match=f"{index}.safetensors.*{said}"):
            load(tmp_path / f"{index}.safetensors", names)
    with pytest.raises(EvofoolError, match="999"):
        load(data / "weights" / f"{FILES[network]}.safetensors", names[:999])


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVOFOOL_DATA", str(tmp_path))
    with pytest.raises(EvofoolError, match=r"weights/mobilenet_v1_0.5_224.safetensors"):
        load_classifier("mobilenet-v1-0.5")


def test_a_path_loads_the_same_as_a_name(network: str, classifier: Classifier, data: Path) -> None:
    found = load_classifier(data / "weights" / f"{FILES[network]}.safetensors")
    assert found.spec == classifier.spec
    jax.tree.map(np.testing.assert_array_equal, found.params, classifier.params)


INCOMPLETE = {
    "alexnet": ("alexnet as torchvision", {"features.6.weight": (384, 192, 3, 3)}),
    "caffenet": ("caffenet as Caffe", {"fc8.weight": (2, 4096)}),
    "googlenet": (
        "googlenet as torchvision",
        {
            "inception3a.branch1.conv.weight": (64, 192, 1, 1),
            **{f"inception3a.branch1.bn.{name}": (64,) for name in ("weight", "bias", "running_mean")},
            **{"fc.weight": (2, 1024), "fc.bias": (2,)},
        },
    ),
    "vgg16": ("vgg16 as torchvision", {"features.17.weight": (512, 256, 3, 3)}),
    "vgg19": ("vgg19 as torchvision", {"features.16.weight": (256, 256, 3, 3)}),
}


@pytest.mark.parametrize("network", INCOMPLETE)
def test_incomplete_files_of_other_programs_are_named(
    network: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "imagenet_classes.txt").write_text("this\nthat\n")
    monkeypatch.setenv("EVOFOOL_DATA", str(tmp_path))
    layout, shapes = INCOMPLETE[network]
    file = tmp_path / "weights" / f"{network}.safetensors"
    with pytest.raises(EvofoolError, match=rf"{network}.safetensors is missing"):
        load_classifier(network)
    arrays = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    for contents in (arrays, {**arrays, next(iter(arrays)): np.ones((2, 3, 4), np.float32)}):
        save_file(contents, file)
        for name in (network, file):
            with pytest.raises(
                EvofoolError, match=f"{layout}|does not fit the network '{network}'"
            ) as caught:
                load_classifier(name)
            assert str(file) in str(caught.value)
            assert "\n" not in str(caught.value)


def test_the_first_dense_layer_reads_channels_last() -> None:
    random = np.random.default_rng(0)
    images, weight = random.random((4, 5, 6, 7)), random.random((3, 5 * 6 * 7))
    kernel = from_channels_first({"fc.weight": weight}, flattened="fc", channels=5)["fc.kernel"]
    expected = images.reshape(4, -1) @ weight.T
    np.testing.assert_allclose(images.transpose(0, 2, 3, 1).reshape(4, -1) @ kernel, expected)


@pytest.mark.parametrize("channels", [1, 3, 12])
def test_local_response_normalisation_is_krizhevskys(channels: int) -> None:
    x = 30 * np.random.default_rng(0).standard_normal((2, 3, 4, channels))
    expected = np.empty_like(x)
    for channel in range(channels):
        near = x[..., max(0, channel - 2) : channel + 3]
        expected[..., channel] = x[..., channel] / (1 + 1e-4 / 5 * (near**2).sum(axis=-1)) ** 0.75
    found = normalised(jnp.asarray(x, jnp.float32))
    assert np.abs(expected - x).max() > 1
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_groups_do_not_see_one_another() -> None:
    random = np.random.default_rng(0)
    images, kernel, weights = (
        random.standard_normal(shape).astype(np.float32)
        for shape in ((2, 7, 8, 6), (3, 3, 2, 9), (2, 4, 8, 9))
    )

    def total(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        maps = conv_general_dilated(images, kernel, (2, 1), ((1, 1), (0, 2)), feature_group_count=3)
        return (maps * weights).sum(), maps

    padded = np.pad(images, ((0, 0), (1, 1), (0, 2), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2]
    sees = np.zeros((9, 6), bool)
    for output in range(9):
        sees[output, output // 3 * 2 : output // 3 * 2 + 2] = True
    whole = np.zeros((3, 3, 6, 9), np.float32)
    for output in range(9):
        whole[:, :, sees[output], output] = kernel[..., output]
    expected = np.einsum("nyxcij,ijco->nyxo", windows, whole)

    of_both, maps = jax.grad(total, (0, 1), has_aux=True)(jnp.asarray(images), jnp.asarray(kernel))
    np.testing.assert_allclose(maps, expected, atol=1e-4)
    # Linear in the images and in the kernel, so what their gradients say of them is the sum itself.
    for gradient, array in zip(of_both, (images, kernel), strict=True):
        np.testing.assert_allclose((gradient * array).sum(), (expected * weights).sum(), rtol=1e-4)
    of_kernel = np.einsum("nyxcij,nyxo->ijco", windows, weights)
    for output in range(9):
        np.testing.assert_allclose(
            of_both[1][..., output], of_kernel[:, :, sees[output], output], rtol=1e-4, atol=1e-4
        )


def test_classes_of_one_name_are_told_apart_by_index(classifier: Classifier) -> None:
    assert classifier.spec.class_index("giant_panda") == classifier.spec.class_index("giant panda") == 388
    assert classifier.spec.class_index(517) == 517
    with pytest.raises(UsageError, match=r"several classes named 'crane'.*\[134, 517\]"):
        classifier.spec.class_index("crane")


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("squeezenet-1.0", (20, 64, 3)),
        ("squeezenet-1.0", (64, 64, 1)),
        ("mobilenet-v1-0.25", (64, 31, 3)),
        ("mobilenet-v1-1.0", (64, 64, 1)),
        ("alexnet", (62, 64, 3)),
        ("alexnet", (224, 224, 1)),
        ("caffenet", (64, 38, 3)),
        ("caffenet", (227, 227, 4)),
        ("googlenet", (14, 64, 3)),
        ("googlenet", (64, 64, 2)),
        ("vgg16", (31, 64, 3)),
        ("vgg19", (224, 224, 1)),
    ],
)
def test_images_that_a_network_cannot_take_are_refused(network: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match=rf"{shape[0]}x{shape[1]} with {shape[2]}"):
        create_classifier(network, shape, ("this", "that"))


SMALLEST = {
    **{"squeezenet-1.0": 21, "mobilenet-v1-0.25": 32, "alexnet": 63, "caffenet": 39, "googlenet": 15},
    **{"vgg16": 32, "vgg19": 32},
}


@pytest.mark.parametrize(("network", "side"), SMALLEST.items())
def test_the_smallest_images_are_taken(network: str, side: int) -> None:
    classifier = create_classifier(network, (side, side, 3), ("this", "that"), seed=None)
    assert jax.eval_shape(logits, classifier, jnp.zeros((2, side, side, 3))).shape == (2, 2)
    with pytest.raises(UsageError, match="takes images"):
        classifier.logits(jnp.zeros((2, side, side + 1, 3)))


@pytest.mark.slow
@pytest.mark.exact
def test_confidences_do_not_depend_on_how_few_images_there_are(data: Path) -> None:
    squeezenet = load_classifier("squeezenet-1.0")
    images = jax.random.uniform(jax.random.key(0), (5, 227, 227, 3))
    confidences = jax.jit(lambda classifier, images: classifier(images))
    few = confidences(squeezenet, images[:2])
    np.testing.assert_array_equal(few, confidences(squeezenet, images)[:2])
