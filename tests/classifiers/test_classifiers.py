"""Networks against golden logits, weights files, and the contract of all classifiers."""

import dataclasses
import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import evofool
from evofool.classifiers import CLASSIFIERS, subtract_mean, weights_digest
from evofool.classifiers.known import EMBEDDED
from evofool.classifiers.weights import load_weights_file
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError, UsageError
from evofool.files import file_name
from evofool.images import from_uint8
from evofool.numerics.convolution import conv_general_dilated
from evofool.training import test_accuracy

DIGITS = tuple("0123456789")
SMALL_NETWORKS = ("lenet", "cnn", "mlp", "linear", "resnet")


def test_lenet_gives_the_golden_logits(data: Path, lenet: evofool.Classifier) -> None:
    golden = np.load(data / "golden" / "lenet_nguyen2015.npz", allow_pickle=False)
    images = from_uint8(golden["images"][..., None])
    assert np.abs(lenet.logits(images) - golden["logits"]).max() <= 1e-3
    subtracted = evofool.load_classifier("lenet-nguyen2015-mean")
    assert np.abs(subtracted.logits(images) - golden["logits_mean_subtracted"]).max() <= 1e-3


@pytest.mark.parametrize(
    ("name", "accuracy"), [("lenet-nguyen2015", 0.9918), ("lenet-nguyen2015-mean", 0.9739)]
)
def test_lenet_has_its_published_accuracy(data: Path, name: str, accuracy: float) -> None:
    mnist = load_dataset("mnist")
    assert test_accuracy(evofool.load_classifier(name), mnist.test_images, mnist.test_labels) == accuracy


def test_the_embedded_classifier_reads_digits_that_it_has_not_seen() -> None:
    classifier, metadata = load_weights_file(EMBEDDED)
    digits = load_dataset("digits")
    accuracy = test_accuracy(classifier, digits.test_images, digits.test_labels)
    assert accuracy >= 0.97
    assert metadata["test_accuracy"] == f"{accuracy:.4f}"
    assert EMBEDDED.stat().st_size < 1_000_000


@pytest.mark.exact
@pytest.mark.parametrize("network", SMALL_NETWORKS)
def test_logits_do_not_depend_on_the_batch(network: str) -> None:
    """Bit by bit on CPU, for any number of images, so shards and chunks are exact."""
    shapes = evofool.create_classifier(network, (28, 28, 1), DIGITS, seed=None)
    random = np.random.default_rng(0)
    weights = jax.tree.map(lambda leaf: 0.1 * random.normal(size=leaf.shape).astype("f"), shapes.params)
    classifier = dataclasses.replace(shapes, params=weights)
    images = random.random((600, 28, 28, 1), np.float32)
    logits = jax.jit(lambda classifier, images: classifier.logits(images))
    whole = np.asarray(logits(classifier, images))
    for count in (8, 13, 200):
        np.testing.assert_array_equal(logits(classifier, images[:count]), whole[:count])


def test_lenet_computes_what_caffe_does(data: Path, lenet: evofool.Classifier) -> None:
    """One image by hand: loops over windows in NumPy, from the released weights."""
    weights = load_file(data / "weights" / "lenet_nguyen2015.safetensors")
    image = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.float64)

    def convolve(maps: np.ndarray, name: str) -> np.ndarray:
        windows = np.lib.stride_tricks.sliding_window_view(maps, (5, 5), axis=(1, 2))
        kernel = weights[f"{name}.weight"].astype(np.float64)
        return np.einsum("cyxij,ocij->oyx", windows, kernel) + weights[f"{name}.bias"][:, None, None]

    def pool(maps: np.ndarray) -> np.ndarray:
        channels, height, width = maps.shape
        return maps.reshape(channels, height // 2, 2, width // 2, 2).max(axis=(2, 4))

    maps = pool(convolve(pool(convolve(image[None] / 256, "conv1")), "conv2"))
    hidden = np.maximum(weights["fc1.weight"] @ maps.ravel() + weights["fc1.bias"], 0)
    expected = weights["fc2.weight"] @ hidden + weights["fc2.bias"]
    logits = lenet.logits(jnp.asarray(image[None, :, :, None] / 255, jnp.float32))[0]
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("strides", "padding", "size", "window"),
    [
        ((1, 1), "VALID", 9, 3),
        ((1, 1), "SAME", 8, 5),
        ((2, 2), "SAME", 10, 3),
        ((2, 2), "VALID", 12, 7),
        ((2, 1), ((1, 2), (0, 3)), 11, 5),
    ],
)
def test_the_written_out_gradient_of_a_convolution_is_that_of_jax(strides, padding, size, window) -> None:
    random = np.random.default_rng(size)
    images = random.standard_normal((2, size, size, 3), np.float32)
    kernel = random.standard_normal((window, window, 3, 4), np.float32)

    def ours(images, kernel):
        return (conv_general_dilated(images, kernel, strides, padding) ** 2).sum()

    def theirs(images, kernel):
        layout = ("NHWC", "HWIO", "NHWC")
        output = jax.lax.conv_general_dilated(images, kernel, strides, padding, dimension_numbers=layout)
        return (output**2).sum()

    gradients = (jax.jit(jax.grad(function, (0, 1)))(images, kernel) for function in (ours, theirs))
    for gradient, expected in zip(*gradients, strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("network", "activation"), [*((network, "softmax") for network in SMALL_NETWORKS), ("mlp", "sigmoid")]
)
def test_a_file_restores_the_whole_classifier(network: str, activation: str, tmp_path: Path) -> None:
    names = ("круг", "square", "tri angle")
    saved = evofool.create_classifier(network, (20, 24, 3), names, activation=activation, seed=3)
    path = tmp_path / "shapes.safetensors"
    evofool.save_classifier(path, saved, training_data="drawings", test_accuracy=0.875)
    loaded, metadata = load_weights_file(path)
    assert loaded.spec == replace(saved.spec, training_data="drawings")
    assert loaded.logits_function == saved.logits_function
    assert weights_digest(loaded) == weights_digest(saved)
    assert metadata["training_data"] == "drawings"
    assert metadata["test_accuracy"] == "0.8750"
    images = jax.random.uniform(jax.random.key(0), (4, 20, 24, 3))
    np.testing.assert_array_equal(loaded(images), saved(images))


def test_two_loads_share_one_compilation() -> None:
    logits = jax.jit(lambda classifier, images: classifier.logits(images))
    for seed in range(3):
        logits(evofool.create_classifier("mlp", (4, 4, 1), DIGITS, seed=seed), jnp.zeros((2, 4, 4, 1)))
    assert logits._cache_size() == 1


def test_logits_are_read_as_softmax_or_sigmoid() -> None:
    images = jax.random.uniform(jax.random.key(0), (5, 28, 28, 1))
    classifier = evofool.load_classifier("lenet-digits")
    logits = np.asarray(classifier.logits(images), np.float64)
    np.testing.assert_allclose(
        classifier(images), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-6
    )
    scores = evofool.load_classifier("lenet-digits", "sigmoid")(images)
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-logits)), atol=1e-6)


def test_the_mean_image_is_subtracted_before_anything_else() -> None:
    classifier = evofool.load_classifier("lenet-digits")
    images = jax.random.uniform(jax.random.key(0), (2, 28, 28, 1))
    mean = jax.random.uniform(jax.random.key(1), (28, 28, 1))
    np.testing.assert_array_equal(
        subtract_mean(classifier, mean).logits(images),
        classifier.logits_function(classifier.params, images - mean),
    )
    with pytest.raises(UsageError, match="mean image has shape"):
        subtract_mean(classifier, jnp.zeros((1, 1, 1)))


def test_classes_go_by_name_and_by_index() -> None:
    spec = evofool.load_classifier("lenet-digits").spec
    assert [spec.class_index(wanted) for wanted in ("three", "3", 3)] == [3, 3, 3]
    with pytest.raises(UsageError, match="did you mean 'three'"):
        spec.class_index("thre")
    with pytest.raises(UsageError, match="unknown class of lenet-digits '--3'"):
        spec.class_index("--3")
    for outside in ("10", "-1", 99):
        with pytest.raises(UsageError, match="0 to 9"):
            spec.class_index(outside)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(UsageError, match=r"\(28, 28, 1\), not \(32, 32, 1\)"):
        evofool.load_classifier("lenet-digits")(jnp.zeros((1, 32, 32, 1)))
    with pytest.raises(UsageError, match="at least 16x16"):
        evofool.create_classifier("lenet", (8, 8, 1), DIGITS)


def test_every_truncation_of_a_weights_file_is_one_line(tmp_path: Path) -> None:
    whole = EMBEDDED.read_bytes()
    damaged = tmp_path / "damaged.safetensors"
    for length in (0, 4, 8, 100, 1000, len(whole) // 2, len(whole) - 1):
        damaged.write_bytes(whole[:length])
        with pytest.raises(EvofoolError, match="not a whole safetensors file") as caught:
            evofool.load_classifier(str(damaged))
        assert "\n" not in str(caught.value)


def test_files_without_a_classifier_are_refused(tmp_path: Path) -> None:
    foreign, other, broken = (tmp_path / f"{name}.safetensors" for name in ("foreign", "other", "broken"))
    save_file({"weight": np.zeros(3, np.float32)}, foreign)
    with pytest.raises(EvofoolError, match="holds no classifier that evofool saved"):
        evofool.load_classifier(str(foreign))

    linear = evofool.create_classifier("linear", (4, 4, 1), DIGITS)
    evofool.save_classifier(other, linear, training_data="none", test_accuracy=0.1)
    content = other.read_bytes()
    other.write_bytes(content.replace(b'"network":"linear"', b'"network":"mlp"   '))
    with pytest.raises(EvofoolError, match="does not fit the network 'mlp'"):
        evofool.load_classifier(str(other))

    params = jax.tree.map(lambda leaf: leaf * jnp.nan, linear.params)
    lost = evofool.Classifier(params, linear.logits_function, linear.spec)
    evofool.save_classifier(broken, lost, training_data="none", test_accuracy=0.1)
    with pytest.raises(EvofoolError, match="not finite"):
        evofool.load_classifier(str(broken))


def test_a_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    linear = evofool.create_classifier("linear", (4, 4, 1), DIGITS)
    evofool.save_classifier(path, linear, training_data="none", test_accuracy=0.1)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not one of evofool's networks"):
        evofool.save_classifier(
            path, subtract_mean(linear, jnp.zeros((4, 4, 1))), training_data="none", test_accuracy=0.1
        )
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_unknown_names_and_missing_weights_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'lenet-digits'"):
        evofool.load_classifier("lenet-digit")
    with pytest.raises(EvofoolError, match=r"cannot read nowhere\.safetensors"):
        evofool.load_classifier("nowhere.safetensors")
    monkeypatch.delenv("EVOFOOL_DATA", raising=False)
    for name in set(CLASSIFIERS) - {"lenet-digits"}:
        with pytest.raises(EvofoolError, match="is missing: set EVOFOOL_DATA"):
            evofool.load_classifier(name)


def test_a_classifier_needs_one_logit_per_class_name() -> None:
    linear = evofool.create_classifier("linear", (4, 4, 1), DIGITS)
    with pytest.raises(UsageError, match=r"must have the shape \(5, 3\).*not \(5, 10\)"):
        replace(linear, spec=replace(linear.spec, class_names=("a", "b", "c")))
    with pytest.raises(UsageError, match="a vector, one number per image"):
        evofool.Classifier((), lambda params, images: images.mean(axis=(1, 2, 3)), linear.spec)


def test_jax_may_rebuild_a_classifier_from_anything() -> None:
    linear = evofool.create_classifier("linear", (4, 4, 1), DIGITS)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), linear)
    images = jax.random.uniform(jax.random.key(0), (5, 4, 4, 1))
    logits = jax.vmap(lambda classifier: classifier.logits(images))(stacked)
    np.testing.assert_allclose(logits[1], 2 * linear.logits(images), rtol=1e-5)
    assert jax.tree.map(lambda leaf: None, linear).spec == linear.spec


def test_images_must_be_floats_in_the_unit_range() -> None:
    classifier = evofool.create_classifier("linear", (4, 4, 1), DIGITS)
    with pytest.raises(UsageError, match=r"floats in .0, 1., not uint8: divide them by 255"):
        classifier(jnp.zeros((1, 4, 4, 1), jnp.uint8))
    for value in (255.0, -0.1, float("nan")):
        with pytest.raises(UsageError, match=r"values in .0, 1.: divide 8-bit images by 255"):
            classifier.logits(jnp.full((1, 4, 4, 1), value))
    with pytest.raises(UsageError, match="there are no images"):
        classifier(jnp.zeros((0, 4, 4, 1)))


def test_a_classifier_has_a_short_repr() -> None:
    assert repr(evofool.load_classifier("lenet-digits")) == (
        "Classifier('lenet-digits', 28x28x1, 10 classes, softmax)"
    )


def test_lists_are_taken_for_a_shape_and_for_class_names() -> None:
    linear = evofool.create_classifier("linear", [4, 4, 1], list(DIGITS))
    assert linear.spec.input_shape == (4, 4, 1)
    assert linear.spec.class_names == DIGITS


def test_a_long_number_is_no_class() -> None:
    spec = evofool.load_classifier("lenet-digits").spec
    for number in ("9" * 5000, "-" + "9" * 5000, 10**5000):
        with pytest.raises(UsageError, match="allowed are 0 to 9 or a name") as caught:
            spec.class_index(number)
        assert len(str(caught.value)) < 200


def test_a_word_of_a_name_suggests_the_whole_name() -> None:
    spec = evofool.ClassifierSpec("zoo", (4, 4, 1), ("sandal", "lesser panda", "giant panda", "pandas"))
    with pytest.raises(UsageError, match="did you mean 'lesser panda' or 'giant panda'") as caught:
        spec.class_index("Panda")
    assert "'sandal'" not in str(caught.value)


def rewritten(path: Path, **metadata: str) -> None:
    """Change the metadata of a weights file."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"] |= metadata
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "it.safetensors"
    linear = evofool.create_classifier("linear", (4, 4, 1), ("even", "odd"))
    evofool.save_classifier(path, linear, training_data="none", test_accuracy=0.1)
    return path


@pytest.mark.parametrize(
    "metadata",
    [
        {"class_names": '["even", 2]'},
        {"class_names": '["even", ["odd"]]'},
        {"class_names": '["even", "\\ud800"]'},
        {"class_names": '["even", "o\\ndd"]'},
        {"class_names": '{"even": 0, "odd": 1}'},
        {"class_names": '"ab"'},
        {"class_names": "[]"},
        {"class_names": "[" * 100_000},
        {"input_shape": "[4, 4]"},
        {"input_shape": "[4, -4, 1]"},
        {"input_shape": "[4, true, 1]"},
        {"input_shape": "[4, 1e400, 1]"},
        {"input_shape": f"[4, {10**20}, 1]"},
        {"input_shape": f"[{'9' * 5000}, 4, 1]"},
        {"activation": "relu"},
        {"network": "lenet5"},
        {"name": "\x1b[2J"},
        {"training_data": "two\nlines"},
    ],
    ids=lambda metadata: str(metadata)[:40],
)
def test_damaged_metadata_is_refused_in_one_line(saved: Path, metadata: dict[str, str]) -> None:
    rewritten(saved, **metadata)
    with pytest.raises(EvofoolError, match=r"the metadata of .*it\.safetensors is damaged: ") as caught:
        evofool.load_classifier(saved)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400 + len(str(saved))


def test_metadata_may_be_null(saved: Path) -> None:
    header = b'{"__metadata__":null}'
    saved.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(EvofoolError, match="holds no classifier that evofool saved"):
        evofool.load_classifier(saved)


def test_class_names_may_be_long_and_have_slashes(saved: Path) -> None:
    names = ("n" * 300, "on/off")
    rewritten(saved, class_names=json.dumps(names))
    assert evofool.load_classifier(saved).spec.class_names == names
    assert file_name(names[0]) == "n" * 100
    assert file_name(names[1]) == "on_off"


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_weights_of_every_float_type_load_as_float32(saved: Path, dtype: str) -> None:
    linear = evofool.load_classifier(saved)
    evofool.save_classifier(saved, linear, training_data="", test_accuracy=0.1, dtype=jnp.dtype(dtype))
    for before, after in zip(
        jax.tree.leaves(linear.params), jax.tree.leaves(evofool.load_classifier(saved).params), strict=True
    ):
        np.testing.assert_array_equal(after, before.astype(dtype).astype(np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint64", "bool", "complex64"])
def test_weights_that_are_no_floats_are_refused(saved: Path, dtype: str) -> None:
    arrays = load_file(saved)
    metadata = load_weights_file(saved)[1]
    save_file({**arrays, "fc.bias": arrays["fc.bias"].astype(dtype)}, saved, metadata)
    with pytest.raises(EvofoolError, match=rf"fc\.bias is of {dtype}"):
        evofool.load_classifier(saved)


def test_weights_that_overflow_float32_are_refused(saved: Path) -> None:
    arrays = load_file(saved)
    metadata = load_weights_file(saved)[1]
    save_file({**arrays, "fc.bias": np.full(2, 1e300)}, saved, metadata)
    with pytest.raises(EvofoolError, match=r"fc\.bias has values that are not finite as float32"):
        evofool.load_classifier(saved)
