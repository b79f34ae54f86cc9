"""The ImageNet networks: the logits of an independent implementation, one image at a time or many."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from evofool import Classifier, EvofoolError, UsageError, create_classifier, load_classifier
from evofool.classifiers.imagenet import mobilenet_from_keras, squeezenet_from_caffe

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


def test_the_photographs_are_what_they_show(classifier: Classifier, golden: dict[str, np.ndarray]) -> None:
    found = logits(classifier, jnp.asarray(golden["images"], jnp.float32) / 255)
    confidences = classifier.activate(found)[:4]
    names = [classifier.spec.class_names[index] for index in confidences.argmax(1)]
    assert names[0] in ("tabby", "Egyptian cat")
    assert names[1:] == ["espresso", "giant panda", "Samoyed"]


def test_logits_do_not_depend_on_the_batch(classifier: Classifier, golden: dict[str, np.ndarray]) -> None:
    images = jnp.asarray(np.concatenate([golden["images"]] * 3)[:17], jnp.float32) / 255
    together = np.asarray(logits(classifier, images))
    for size in (8, 11):
        np.testing.assert_array_equal(np.asarray(logits(classifier, images[:size])), together[:size])


def test_damaged_weights_are_named(network: str, data: Path, tmp_path: Path) -> None:
    load = squeezenet_from_caffe
    if network.startswith("mobilenet"):

        def load(path: Path, names: tuple[str, ...]) -> Classifier:
            return mobilenet_from_keras(path, names, network)

    arrays = load_file(data / "weights" / f"{FILES[network]}.safetensors")
    names = tuple(map(str, range(1000)))
    missing = {name: array for name, array in arrays.items() if not name.startswith("conv1.")}
    spoilt = {**arrays, "conv1.bias": np.full_like(next(iter(arrays.values())), np.nan)}
    for index, broken in enumerate((missing, spoilt if network == "squeezenet-1.0" else missing)):
        save_file(broken, tmp_path / f"{index}.safetensors")
        with pytest.raises(EvofoolError, match=f"{index}.safetensors"):
            load(tmp_path / f"{index}.safetensors", names)
    with pytest.raises(EvofoolError, match="999"):
        load(data / "weights" / f"{FILES[network]}.safetensors", names[:999])


def test_missing_weights_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EVOFOOL_DATA", str(tmp_path))
    with pytest.raises(EvofoolError, match=r"weights/mobilenet_v1_0.5_224.safetensors"):
        load_classifier("mobilenet-v1-0.5")


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
    ],
)
def test_images_that_a_network_cannot_take(network: str, shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match=rf"{shape[0]}x{shape[1]} with {shape[2]}"):
        create_classifier(network, shape, ("this", "that"))


@pytest.mark.parametrize("network", ["squeezenet-1.0", "mobilenet-v1-0.25"])
def test_the_smallest_images(network: str) -> None:
    side = 21 if network.startswith("squeezenet") else 32
    classifier = create_classifier(network, (side, side, 3), ("this", "that"), seed=None)
    assert jax.eval_shape(logits, classifier, jnp.zeros((2, side, side, 3))).shape == (2, 2)
    with pytest.raises(UsageError, match="takes images"):
        classifier.logits(jnp.zeros((2, side, side + 1, 3)))
