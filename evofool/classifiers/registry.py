"""Classifiers by name: the one inside the package, and those whose weights lie under `EVOFOOL_DATA`."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from evofool.classifiers.classifier import Activation, Classifier, subtract_mean
from evofool.classifiers.imagenet import (
    alexnet_from_torch,
    caffenet_from_caffe,
    googlenet_from_torch,
    loader_of,
    mobilenet_from_keras,
    squeezenet_from_caffe,
)
from evofool.classifiers.networks import create_classifier
from evofool.classifiers.weights import (
    array_shapes,
    from_channels_first,
    load_weights_file,
    read_safetensors,
    with_weights,
)
from evofool.datasets import DIGIT_NAMES
from evofool.errors import EvofoolError, unknown_name

EMBEDDED = Path(__file__).parent / "lenet_digits.safetensors"
"""The classifier that needs no data: scripts/train_embedded.py made it."""


class KnownClassifier(NamedTuple):
    """A classifier that has a name: what it is, and how to load it."""

    description: str
    load: Callable[[], Classifier]


def load_classifier(name: str | os.PathLike[str], activation: Activation | None = None) -> Classifier:
    """Load a classifier by its name or from a file.

    Args:
        name: one of `CLASSIFIERS`, or the path of a .safetensors file that `evofool train` or
            `save_classifier` wrote, or of the weights of one of the ImageNet networks as Caffe, Keras or
            torchvision has them.
        activation: read the logits as "softmax" or "sigmoid" scores, whatever it was trained with.

    Raises:
        UsageError: there is no such name.
        EvofoolError: the weights are not there, or the file is damaged.

    Example:
        >>> load_classifier("lenet-digits").spec.input_shape
        (28, 28, 1)
    """
    name = os.fspath(name)
    if name in CLASSIFIERS:
        classifier = CLASSIFIERS[name].load()
    elif name.endswith(".safetensors") or os.path.exists(name):
        classifier = _from_file(name)
    else:
        raise unknown_name("classifier", name, [*CLASSIFIERS, "the path of a .safetensors file"])
    return classifier if activation is None else classifier.with_activation(activation)


def weights_digest(classifier: Classifier) -> str:
    """The SHA-256 of a classifier's weights: two classifiers with the same digest have the same weights.

    Example:
        >>> len(weights_digest(load_classifier("lenet-digits")))
        64
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_flatten_with_path(classifier.params)[0]:
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def path_in_data(*parts: str) -> Path:
    """Where a file under `EVOFOOL_DATA` is.

    Raises:
        EvofoolError: it is not there.
    """
    data = os.environ.get("EVOFOOL_DATA")
    path = Path(data or "$EVOFOOL_DATA", *parts)
    if not (data and path.is_file()):
        raise EvofoolError(f"{path} is not there: set EVOFOOL_DATA to a folder that has {'/'.join(parts)}")
    return path


def _lenet_digits() -> Classifier:
    return load_weights_file(EMBEDDED)[0]


def _lenet_nguyen2015() -> Classifier:
    return _load_nguyen2015("lenet-nguyen2015")[0]


def _lenet_nguyen2015_mean() -> Classifier:
    classifier, mean_image = _load_nguyen2015("lenet-nguyen2015-mean")
    return subtract_mean(classifier, mean_image)


def _load_nguyen2015(name: str) -> tuple[Classifier, np.ndarray]:
    """The released LeNet and its mean image (in [0, 1]), from Caffe's layout to that of Flax."""
    path = path_in_data("weights", "lenet_nguyen2015.safetensors")
    arrays, _ = read_safetensors(path)
    try:
        mean_image = arrays.pop("mean_image").transpose(1, 2, 0) / 255
        weights = from_channels_first(arrays, flattened="fc1", channels=50)
    except (KeyError, ValueError) as error:
        raise EvofoolError(f"{path} is not the LeNet of Nguyen et al.: {error}") from error
    classifier = create_classifier("lenet", (28, 28, 1), DIGIT_NAMES, name=name)
    spec = replace(classifier.spec, training_data="mnist")
    return with_weights(replace(classifier, spec=spec), weights, path), mean_image


def _from_file(path: str) -> Classifier:
    load = loader_of(array_shapes(path))
    return load_weights_file(path)[0] if load is None else load(path, _imagenet_classes())


def _imagenet_network(load: Callable[..., Classifier], file: str) -> Classifier:
    return load(path_in_data("weights", f"{file}.safetensors"), _imagenet_classes())


def _imagenet_classes() -> tuple[str, ...]:
    path = path_in_data("imagenet_classes.txt")
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise EvofoolError(f"cannot read the class names in {path}: {error}") from error


CLASSIFIERS = {
    "lenet-digits": KnownClassifier(
        "LeNet trained on scikit-learn's digits, inside the package", _lenet_digits
    ),
    "lenet-nguyen2015": KnownClassifier(
        "the LeNet for MNIST that Nguyen et al. released and fooled; weights under EVOFOOL_DATA",
        _lenet_nguyen2015,
    ),
    "lenet-nguyen2015-mean": KnownClassifier(
        "the same with the mean image subtracted, as their evaluation file does", _lenet_nguyen2015_mean
    ),
    "squeezenet-1.0": KnownClassifier(
        "SqueezeNet 1.0 (ImageNet, 227x227); weights under EVOFOOL_DATA",
        partial(_imagenet_network, squeezenet_from_caffe, "squeezenet_v1.0"),
    ),
    "alexnet": KnownClassifier(
        "AlexNet (ImageNet, 224x224); torchvision's weights under EVOFOOL_DATA",
        partial(_imagenet_network, alexnet_from_torch, "alexnet"),
    ),
    "caffenet": KnownClassifier(
        "CaffeNet, which Nguyen et al. fooled (ImageNet, 227x227); BVLC's weights under EVOFOOL_DATA",
        partial(_imagenet_network, caffenet_from_caffe, "caffenet"),
    ),
    "googlenet": KnownClassifier(
        "GoogLeNet (ImageNet, 224x224); torchvision's weights under EVOFOOL_DATA",
        partial(_imagenet_network, googlenet_from_torch, "googlenet"),
    ),
    **{
        f"mobilenet-v1-{width}": KnownClassifier(
            f"MobileNet v1 of width {width} (ImageNet, 224x224); weights under EVOFOOL_DATA",
            partial(
                _imagenet_network,
                partial(mobilenet_from_keras, network=f"mobilenet-v1-{width}"),
                f"mobilenet_v1_{width}_224",
            ),
        )
        for width in ("0.25", "0.5", "0.75", "1.0")
    },
}
"""The classifiers that `load_classifier` knows by name."""
