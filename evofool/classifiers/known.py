"""Classifiers by name: the one inside the package, and those whose weights are under `EVOFOOL_DATA`."""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from evofool.classifiers.classifier import Activation, Classifier
from evofool.classifiers.composed import Composition, parts_of, read_classifier, rewritten
from evofool.classifiers.compositions import subtract_mean
from evofool.classifiers.hub import PREFIX, pinned
from evofool.classifiers.importers import LAYOUTS
from evofool.classifiers.importers.layout import from_channels_first
from evofool.classifiers.importers.repository import is_repository
from evofool.classifiers.models import MODELS, kind_of
from evofool.classifiers.networks import create_classifier
from evofool.classifiers.networks.mobilenet import WIDTHS
from evofool.classifiers.released import imagenet_classes, released_weights
from evofool.classifiers.service import is_service
from evofool.classifiers.weights import load_weights_file, read_safetensors, with_weights
from evofool.datasets import DIGIT_NAMES
from evofool.errors import EvofoolError, UsageError, unknown_name
from evofool.registry import Entry, NoOptions, Registry

EMBEDDED = Path(__file__).parent / "lenet_digits.safetensors"
"""The classifier that needs no data, made by scripts/train_embedded.py."""


def load_classifier(
    name: str | os.PathLike[str],
    activation: Activation | None = None,
    *,
    known: Mapping[str, Classifier] = {},
) -> Classifier:
    """Load a classifier by its name, from a file, or as a composition of others.

    Args:
        name: one of `CLASSIFIERS`; a model of one of the kinds in `MODELS`, which are the path of a
            .safetensors, .onnx or .keras file, such a path with options, as in `onnx(net.onnx, scale=255)`,
            the folder of a model that transformers or timm wrote, its name on the Hugging Face hub,
            `hf:OWNER/NAME[@REVISION]`, and `package.module:function`, which is imported and run; or one of
            `COMPOSITIONS` of such names, models and compositions, as `evofool.expressions` writes them.
        activation: read the logits as "softmax" or "sigmoid" scores, however the classifier was trained; of a
            composition, those of its parts.
        known: further classifiers by name.

    Raises:
        UsageError: there is no such name, or the composition cannot be made.
        EvofoolError: the weights are missing, or the file is damaged.

    Example:
        >>> load_classifier("lenet-digits").spec.input_shape
        (28, 28, 1)
        >>> load_classifier("rejecting(blurred(lenet-digits, 0.5), threshold=0.99)").spec.class_names[-1]
        'rejected'
    """
    return _load(read_classifier(os.fspath(name)), activation, known)


def located(text: str) -> str:
    """The canonical text of a classifier with absolute paths for files, and commits for models of the hub.

    Raises:
        UsageError: the text names no classifier.
        EvofoolError: a model of the hub cannot be downloaded.

    Example:
        >>> located("smoothed(lenet-digits, 0.1)")
        'smoothed(lenet-digits, sigma=0.1)'
    """

    def absolute(name: str) -> str:
        if name.startswith(PREFIX):
            return pinned(name)
        is_path = os.path.isfile(name) or is_repository(name)
        return str(Path(name).resolve()) if name not in CLASSIFIERS and is_path else name

    return rewritten(text, absolute)


def _load(
    named: Composition | str, activation: Activation | None, known: Mapping[str, Classifier]
) -> Classifier:
    if isinstance(named, Composition):
        if named.call.name in MODELS:
            return named.entry.build(*named.call.arguments, activation=activation, **named.call.options)
        parts = [_load(part, activation, known) for part in parts_of(named)]
        return named.entry.build(*parts, **named.call.options)
    if is_service(named):
        raise UsageError(f"{named} can only be asked, and here a classifier must be compiled: load a file")
    if named not in known and named not in CLASSIFIERS:
        kind = kind_of(named)
        if kind is None:
            models = ("the file of a model", "hf:OWNER/NAME")
            raise unknown_name("classifier", named, [*known, *models, *CLASSIFIERS])
        return MODELS[kind].build(named, activation=activation)
    classifier = known[named] if named in known else CLASSIFIERS[named].build()
    return classifier.with_activation(activation)


def _load_embedded() -> Classifier:
    return load_weights_file(EMBEDDED)[0]


def _load_imagenet(name: str) -> Classifier:
    return LAYOUTS[name].load(released_weights(name), imagenet_classes())


def _load_nguyen2015(name: str, *, mean: bool) -> Classifier:
    """The LeNet that Nguyen et al. released, in Caffe's layout, with or without its mean image subtracted."""
    path = released_weights(name)
    arrays, _ = read_safetensors(path)
    try:
        mean_image = arrays.pop("mean_image").transpose(1, 2, 0) / 255
        weights = from_channels_first(arrays, flattened="fc1", channels=50)
    except (KeyError, ValueError) as error:
        raise EvofoolError(f"{path} is not the LeNet of Nguyen et al.: {error}") from error
    classifier = create_classifier("lenet", (28, 28, 1), DIGIT_NAMES, name=name, seed=None)
    classifier = replace(classifier, spec=replace(classifier.spec, training_data="mnist"))
    classifier = with_weights(classifier, weights, path)
    return subtract_mean(classifier, np.asarray(mean_image, np.float32)) if mean else classifier


CLASSIFIERS = Registry(
    "classifier",
    {
        "lenet-digits": Entry(
            "LeNet trained on scikit-learn's digits, inside the package", NoOptions, _load_embedded
        ),
        "lenet-nguyen2015": Entry(
            "the LeNet of MNIST that Nguyen et al. released and fooled; weights: `evofool fetch`",
            NoOptions,
            partial(_load_nguyen2015, "lenet-nguyen2015", mean=False),
        ),
        "lenet-nguyen2015-mean": Entry(
            "the same with the mean image subtracted, as in their evaluation file",
            NoOptions,
            partial(_load_nguyen2015, "lenet-nguyen2015-mean", mean=True),
        ),
        "squeezenet-1.0": Entry(
            "SqueezeNet 1.0 (ImageNet, 227x227); weights: `evofool fetch`",
            NoOptions,
            partial(_load_imagenet, "squeezenet-1.0"),
        ),
        "alexnet": Entry(
            "AlexNet (ImageNet, 224x224); weights: `evofool fetch`",
            NoOptions,
            partial(_load_imagenet, "alexnet"),
        ),
        "caffenet": Entry(
            "CaffeNet, which Nguyen et al. fooled (ImageNet, 227x227); weights: `evofool fetch`",
            NoOptions,
            partial(_load_imagenet, "caffenet"),
        ),
        "googlenet": Entry(
            "GoogLeNet (ImageNet, 224x224); weights: `evofool fetch`",
            NoOptions,
            partial(_load_imagenet, "googlenet"),
        ),
        "vgg16": Entry(
            "VGG-16 (ImageNet, 224x224); weights: `evofool fetch`",
            NoOptions,
            partial(_load_imagenet, "vgg16"),
        ),
        "vgg19": Entry(
            "VGG-19 (ImageNet, 224x224); weights: `evofool fetch`",
            NoOptions,
            partial(_load_imagenet, "vgg19"),
        ),
        **{
            f"mobilenet-v1-{width}": Entry(
                f"MobileNet v1 of width {width} (ImageNet, 224x224); weights: `evofool fetch`",
                NoOptions,
                partial(_load_imagenet, f"mobilenet-v1-{width}"),
            )
            for width in WIDTHS
        },
    },
)
"""The classifiers that `load_classifier` knows by name; `build()` loads each."""
