"""Fetching the weights that others released, from a server on this machine."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evofool import EvofoolError, UsageError, load_classifier
from evofool.classifiers import CLASSIFIERS, released
from evofool.classifiers.importers.caffemodel import read_caffemodel
from evofool.classifiers.released import CLASS_NAMES, RELEASED, fetch_weights
from tests.conftest import Mirror

Main = Callable[..., tuple[int, str, str]]

FIRES = {
    **{"fire2": (96, 16, 64), "fire3": (128, 16, 64), "fire4": (128, 32, 128), "fire5": (256, 32, 128)},
    **{"fire6": (256, 48, 192), "fire7": (384, 48, 192), "fire8": (384, 64, 256), "fire9": (512, 64, 256)},
}
"""The channels of SqueezeNet 1.0: input, squeezed, expanded (table 1 of the paper)."""


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127)
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def blob(array: np.ndarray, *, old: bool = False) -> bytes:
    data = field(5, array.astype("<f4").tobytes())
    if old:
        shape = (1,) * (4 - array.ndim) + array.shape
        return b"".join(field(number, size) for number, size in enumerate(shape, 1)) + data
    return data + field(7, field(1, b"".join(map(varint, array.shape))))


def caffemodel(layers: dict[str, list[np.ndarray]], *, old: bool = False) -> bytes:
    """A network as Caffe stores it, in today's or in deprecated layers, with other fields between."""
    content = field(1, b"a network")
    for name, arrays in layers.items():
        words = field(3, b"bottom") + field(2, b"top")
        words += field(4 if old else 1, name.encode())
        words += b"".join(field(6 if old else 7, blob(array, old=old)) for array in arrays)
        content += field(2 if old else 100, words + varint(35 << 3 | 5) + bytes(4))
    return content


@pytest.fixture
def squeezenet() -> dict[str, list[np.ndarray]]:
    random = np.random.default_rng(0)
    layers = {"conv1": (96, 3, 7), "conv10": (1000, 512, 1)}
    for name, (inputs, squeezed, expanded) in FIRES.items():
        layers |= {f"{name}/squeeze1x1": (squeezed, inputs, 1)}
        layers |= {f"{name}/expand1x1": (expanded, squeezed, 1), f"{name}/expand3x3": (expanded, squeezed, 3)}
    return {
        name: [random.normal(size=(outputs, inputs, size, size)), random.normal(size=outputs)]
        for name, (outputs, inputs, size) in layers.items()
    }


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVOFOOL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EVOFOOL_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def served(
    mirror: Mirror, squeezenet: dict[str, list[np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> Mirror:
    """A server with a SqueezeNet of random weights and class names, which pass for the released ones."""
    names = {str(index): [f"n{index:08}", f"class_{index}"] for index in range(1000)}
    mirror.files = {
        "squeezenet_v1.0.caffemodel": caffemodel(squeezenet),
        "imagenet_class_index.json": json.dumps(names).encode(),
    }
    weights, index = mirror.files.values()
    fake = RELEASED["squeezenet-1.0"].download
    assert fake is not None
    checksum = f"sha384:{hashlib.sha384(weights).hexdigest()}"
    pretended = released.Released(fake.name, licence="BSD", download=fake._replace(checksum=checksum))
    monkeypatch.setitem(RELEASED, "squeezenet-1.0", pretended)
    checksum = f"md5:{hashlib.md5(index).hexdigest()}"
    monkeypatch.setattr(released, "CLASS_NAMES", CLASS_NAMES._replace(checksum=checksum))
    return mirror


def test_fetched_weights_are_found_by_name(
    served: Mirror, squeezenet: dict[str, list[np.ndarray]], cache: Path, evofool_main: Main
) -> None:
    with pytest.raises(EvofoolError, match=r"or run `evofool fetch squeezenet-1.0`"):
        load_classifier("squeezenet-1.0")
    code, printed, errors = evofool_main("fetch", "squeezenet-1.0", "--url", served.url, "--quiet")
    assert (code, printed, errors) == (0, "", "")
    classifier = load_classifier("squeezenet-1.0")
    assert classifier.spec.class_names[:2] == ("class 0", "class 1")
    kernel = squeezenet["conv1"][0].astype(np.float32).transpose(2, 3, 1, 0)[:, :, ::-1]
    np.testing.assert_array_equal(classifier.params["conv1"]["kernel"], kernel)
    squeeze = classifier.params["fire9"]["squeeze"]
    np.testing.assert_array_equal(
        squeeze["kernel"], squeezenet["fire9/squeeze1x1"][0][..., 0, 0].T.astype("f4")
    )
    np.testing.assert_array_equal(
        classifier.params["conv_final"]["bias"], squeezenet["conv10"][1].astype(np.float32)
    )
    asked = len(served.requested)
    code, printed, _ = evofool_main("fetch", "squeezenet-1.0", "--url", served.url)
    assert len(served.requested) == asked
    assert (
        f"squeezenet-1.0 is in {cache / 'weights' / 'squeezenet_v1.0.safetensors'}\nLicence: BSD" in printed
    )


def test_weights_with_another_checksum_are_not_kept(served: Mirror, cache: Path, evofool_main: Main) -> None:
    served.files["squeezenet_v1.0.caffemodel"] += b"\0"
    code, _, errors = evofool_main("fetch", "squeezenet-1.0", "--url", served.url, "--quiet")
    assert (code, errors.count("\n")) == (1, 1)
    assert "not the right file (its checksum is sha384:" in errors
    assert not list((cache / "weights").iterdir())


def test_every_checksum_is_of_the_length_of_its_algorithm() -> None:
    downloads = [each.download for each in RELEASED.values() if each.download is not None]
    for download in (*downloads, CLASS_NAMES):
        algorithm, _, digest = download.checksum.partition(":")
        assert re.fullmatch("[0-9a-f]+", digest)
        assert len(digest) == 2 * hashlib.new(algorithm).digest_size
        assert all(address.startswith(("https://", "http://dl.caffe.")) for address in download.addresses)


def test_every_classifier_says_where_its_weights_are_from(cache: Path, evofool_main: Main) -> None:
    assert set(RELEASED) == set(CLASSIFIERS) - {"lenet-digits"}
    for name, weights in RELEASED.items():
        with pytest.raises(EvofoolError, match=re.escape(weights.file)) as caught:
            load_classifier(name)
        assert (f"run `evofool fetch {name}`" in str(caught.value)) == (weights.download is not None)
        if weights.download is None:
            code, _, errors = evofool_main("fetch", name)
            assert (code, errors.count("\n")) == (1, 1)
            assert f"the weights of {name} cannot be fetched" in errors
            assert weights.file in errors
    with pytest.raises(UsageError, match="unknown download"):
        fetch_weights("lenet-digits")


@pytest.mark.parametrize("old", [False, True])
def test_a_caffemodel_is_read_in_both_of_its_forms(old: bool) -> None:
    random = np.random.default_rng(1)
    layers = {
        "conv": [random.normal(size=(4, 3, 5, 5)), random.normal(size=4)],
        "fc": [random.normal(size=(2, 300)), random.normal(size=2)],
        "relu": [],
    }
    arrays = read_caffemodel(caffemodel(layers, old=old))
    assert list(arrays) == ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]
    for name, array in arrays.items():
        layer, kind = name.split(".")
        np.testing.assert_array_equal(array, layers[layer][kind == "bias"].astype(np.float32))


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"<html>not found</html>", b"\xff" * 20])
def test_what_is_no_caffemodel_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"it is|it has"):
        read_caffemodel(content)


def test_a_caffemodel_that_is_cut_off_is_refused() -> None:
    content = caffemodel({"fc": [np.ones((2, 3)), np.ones(2)]})
    for length in range(len(field(1, b"a network")) + 1, len(content)):
        with pytest.raises(ValueError, match=r"it is|it has|an array"):
            read_caffemodel(content[:length])
