"""One safetensors file per classifier: its weights, and metadata with everything needed to use them."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx, traverse_util
from jax.typing import DTypeLike
from safetensors import SafetensorError, deserialize, safe_open
from safetensors.numpy import save as serialise_safetensors

from evofool.classifiers.black_box import AnyClassifier, BlackBox
from evofool.classifiers.classifier import Classifier, as_activation, as_class_names, as_input_shape
from evofool.classifiers.networks import NetworkLogits, create_classifier, network_of
from evofool.errors import EvofoolError, UsageError
from evofool.files import replacing

_FORMAT = "evofool-classifier-1"

_KINDS = {"F": "f", "I": "i", "U": "u", "C": "c"}
"""NumPy's letters for the kinds of numbers in a safetensors file."""


def save_classifier(
    path: str | os.PathLike[str],
    classifier: Classifier,
    *,
    training_data: str,
    test_accuracy: float,
    dtype: DTypeLike = np.float32,
) -> None:
    """Write a classifier to one safetensors file, complete for `load_classifier`.

    Args:
        path: the file; an existing one is replaced as a whole or not at all.
        classifier: one of evofool's networks (`create_classifier`), not a wrapper around one.
        training_data: what it was trained on, in a few words.
        test_accuracy: the share of the test images that it classifies correctly, in [0, 1].
        dtype: how the weights are stored; they are loaded as float32.

    Raises:
        UsageError: the classifier is not one of evofool's networks.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from evofool import create_classifier, load_classifier
        >>> linear = create_classifier("linear", (8, 8, 1), ("even", "odd"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_classifier(f"{folder}/it.safetensors", linear, training_data="none", test_accuracy=0.5)
        ...     load_classifier(f"{folder}/it.safetensors").spec.class_names
        ('even', 'odd')
    """
    network = network_of(classifier)
    spec = replace(classifier.spec, training_data=training_data)
    metadata = {
        "format": _FORMAT,
        "network": network,
        "name": spec.name,
        "input_shape": json.dumps(spec.input_shape),
        "input": "pixel values in [0, 1]",
        "class_names": json.dumps(spec.class_names, ensure_ascii=False),
        "activation": spec.activation,
        "training_data": spec.training_data,
        "test_accuracy": f"{test_accuracy:.4f}",
    }
    weights = traverse_util.flatten_dict(nnx.to_pure_dict(classifier.params), sep=".")
    arrays = {name: np.asarray(value, dtype) for name, value in weights.items()}
    with replacing(path) as temporary:
        temporary.write_bytes(serialise_safetensors(arrays, metadata))


def load_weights_file(path: str | os.PathLike[str]) -> tuple[Classifier, dict[str, str]]:
    """The classifier in a file that `save_classifier` wrote, and the file's metadata.

    Raises:
        EvofoolError: the file cannot be read, is not safetensors, is cut off, was not written by evofool, has
            damaged metadata, or holds the weights of another network than it says.

    Example:
        >>> from evofool.classifiers.known import EMBEDDED
        >>> classifier, metadata = load_weights_file(EMBEDDED)
        >>> metadata["network"]
        'lenet'
    """
    arrays, metadata = read_safetensors(path)
    if metadata.get("format") != _FORMAT:
        raise EvofoolError(
            f"{path} holds no classifier that evofool saved: its metadata lacks format {_FORMAT!r}. It is "
            "also none of the ImageNet networks whose layouts of Caffe, Keras and torchvision are known"
        )
    try:
        classifier = create_classifier(
            metadata["network"],
            as_input_shape(json.loads(metadata["input_shape"])),
            as_class_names(json.loads(metadata["class_names"])),
            activation=as_activation(metadata["activation"]),
            name=metadata["name"],
            seed=None,
        )
        spec = replace(classifier.spec, training_data=metadata.get("training_data", ""))
    except (KeyError, ValueError, RecursionError, UsageError) as error:
        raise EvofoolError(f"the metadata of {path} is damaged: {error}") from error
    return with_weights(replace(classifier, spec=spec), arrays, path), metadata


def weights_digest(classifier: AnyClassifier) -> str:
    """The SHA-256 of a classifier's weights: equal digests mean equal weights.

    Of a black box nothing is known but its images, its classes and what it answers: the digest is of these.

    Example:
        >>> from evofool import load_classifier
        >>> len(weights_digest(load_classifier("lenet-digits")))
        64
    """
    digest = hashlib.sha256()
    if isinstance(classifier, BlackBox):
        spec = classifier.spec
        known = (spec.input_shape, spec.class_names, spec.activation, classifier.output)
        digest.update(json.dumps(known).encode())
        return digest.hexdigest()
    for path, leaf in jax.tree_util.tree_flatten_with_path(classifier.params)[0]:
        array = np.asarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def with_weights(
    classifier: Classifier, arrays: Mapping[str, np.ndarray], path: str | os.PathLike[str]
) -> Classifier:
    """The classifier with its weights replaced by the arrays of the same names, as float32.

    Args:
        classifier: one of evofool's networks.
        arrays: one array per weight, named as the network names it ("conv1.kernel").
        path: the file that they come from, for the error.

    Raises:
        EvofoolError: an array is missing, superfluous, of another shape or not of floats, or has values that
            are not finite in single precision.
    """
    expected = traverse_util.flatten_dict(nnx.to_pure_dict(classifier.params), sep=".")
    assert isinstance(classifier.logits_function, NetworkLogits)
    network = classifier.logits_function.network
    weights = {}
    for name in sorted(expected.keys() | arrays.keys()):
        wanted = tuple(expected[name].shape) if name in expected else "none of that name"
        found = tuple(arrays[name].shape) if name in arrays else "none of that name"
        if wanted != found:
            raise EvofoolError(
                f"{path} does not fit the network {network!r}: for {name} it has {found}, needed is {wanted}"
            )
        if not jnp.issubdtype(arrays[name].dtype, jnp.floating):
            raise EvofoolError(f"{path} is not usable: {name} is of {arrays[name].dtype}, weights are floats")
        with np.errstate(over="ignore"):
            weights[name] = arrays[name].astype(np.float32)
        if not np.isfinite(weights[name]).all():
            raise EvofoolError(f"{path} is damaged: {name} has values that are not finite as float32")
    params = jax.tree.map(lambda leaf: leaf, classifier.params)
    nnx.replace_by_pure_dict(params, traverse_util.unflatten_dict(jax.device_put(weights), sep="."))
    return replace(classifier, params=params)


def array_shapes(path: str | os.PathLike[str]) -> dict[str, tuple[int, ...]]:
    """The names and shapes of the arrays of a safetensors file, without reading them.

    Raises:
        EvofoolError: the file cannot be read, is cut off or is not safetensors.
    """
    try:
        Path(path).open("rb").close()
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except OSError as error:
        raise EvofoolError(f"cannot read {path}: {error.strerror}") from error
    except SafetensorError as error:
        raise _damaged(path, error) from error


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a safetensors file; floats of 16 bits are widened to 32.

    Raises:
        EvofoolError: the file cannot be read, is cut off or is not safetensors.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise EvofoolError(f"cannot read {path}: {error.strerror}") from error
    try:
        arrays = {
            name: np.frombuffer(stored["data"], _dtype(stored["dtype"])).reshape(stored["shape"])
            for name, stored in deserialize(content)
        }
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from error
    half = ("float16", "bfloat16")
    widened = {
        name: array.astype(np.float32) if array.dtype.name in half else array
        for name, array in arrays.items()
    }
    return widened, header.get("__metadata__") or {}


def _dtype(name: str) -> np.dtype:
    """NumPy's type for one of safetensors: "BF16", "F32", "I64", "BOOL"."""
    if name in ("BF16", "BOOL"):
        return np.dtype(jnp.bfloat16 if name == "BF16" else bool)
    if not name[1:].isdecimal() or name == "F4":
        raise ValueError(f"its arrays are of {name}, which NumPy does not have")
    return np.dtype(f"{_KINDS[name[0]]}{int(name[1:]) // 8}")


def _damaged(path: str | os.PathLike[str], error: Exception) -> EvofoolError:
    return EvofoolError(f"{path} is not a whole safetensors file: {error}")
