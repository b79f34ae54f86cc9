"""Loading the ImageNet networks: from the layouts of Caffe, Keras and PyTorch to those of Flax."""

import os
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from jaxtyping import Float

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.networks import create_classifier
from evofool.classifiers.networks.mobilenet import BLOCKS
from evofool.classifiers.weights import from_channels_first, read_safetensors, with_weights
from evofool.errors import EvofoolError

_EPSILON = 1e-3
"""What Keras's MobileNet and torchvision's GoogLeNet add to the variance in their batch normalisation."""

_FIRE_LAYERS = {"conv1x1_1": "squeeze", "conv1x1_2": "expand1x1", "conv3x3_2": "expand3x3"}

_ALEXNET_LAYERS = {
    **{"features.0": "conv1", "features.3": "conv2", "features.6": "conv3"},
    **{"features.8": "conv4", "features.10": "conv5"},
    **{"classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"},
}

_INCEPTION_LAYERS = {
    **{"branch2.0": "branch2_reduce", "branch2.1": "branch2"},
    **{"branch3.0": "branch3_reduce", "branch3.1": "branch3"},
    "branch4.1": "branch4",
}

_UNUSED = ("aux1.", "aux2.", "num_batches_tracked")
"""Of GoogLeNet: what only its training needs."""


def loader_of(shapes: Mapping[str, tuple[int, ...]]) -> Callable[..., Classifier] | None:
    """What loads a file of one of the layouts below, from the names and shapes of its arrays; else None.

    Example:
        >>> loader_of({"inception3a.branch1.conv.weight": (64, 192, 1, 1)}).__name__
        'googlenet_from_torch'
    """
    last_depthwise = f"conv_dw_{len(BLOCKS)}.depthwise_kernel"
    if len(shapes.get(last_depthwise, ())) == 4:
        channels = shapes[last_depthwise][2]
        return partial(mobilenet_from_keras, network=f"mobilenet-v1-{channels / BLOCKS[-2][0]}")
    loaders = {
        "fire2.conv1x1_1.weight": squeezenet_from_caffe,
        "features.10.weight": alexnet_from_torch,
        "fc8.weight": caffenet_from_caffe,
        "inception3a.branch1.conv.weight": googlenet_from_torch,
    }
    return next((load for name, load in loaders.items() if name in shapes), None)


def squeezenet_from_caffe(path: str | os.PathLike[str], class_names: tuple[str, ...]) -> Classifier:
    """SqueezeNet 1.0 for 227x227 RGB images, from a safetensors file of Caffe's weights.

    Args:
        path: a file with `conv1`, `fire2.conv1x1_1`, ... `conv_final`, each with `.weight` (OIHW, the first
            one for channels in the order blue, green, red) and `.bias`.
        class_names: one name per output.

    Raises:
        EvofoolError: the file cannot be read or does not hold this network.
    """
    arrays, _ = read_safetensors(path)
    try:
        renamed = {_renamed(name, _FIRE_LAYERS): array for name, array in arrays.items()}
        weights = from_channels_first(renamed)
        # Ours is given red first.
        weights["conv1.kernel"] = weights["conv1.kernel"][:, :, ::-1]
    except (KeyError, IndexError, ValueError) as error:
        raise EvofoolError(f"{path} is not SqueezeNet 1.0 as Caffe has it: {error}") from error
    classifier = create_classifier("squeezenet-1.0", (227, 227, 3), class_names, seed=None)
    return with_weights(classifier, weights, path)


def mobilenet_from_keras(
    path: str | os.PathLike[str], class_names: tuple[str, ...], network: str
) -> Classifier:
    """MobileNet v1 for 224x224 RGB images, from a safetensors file of Keras's weights.

    Each batch normalisation is folded into the convolution before it, since
    `gamma (x - mean) / sqrt(variance + 0.001) + beta` is a factor and a summand per channel.

    Args:
        path: a file with Keras's names and layouts: `conv1.kernel` (HWIO), `conv1_bn.gamma`, ...
            `conv_dw_1.depthwise_kernel` (3, 3, channels, 1), ... `conv_preds.bias`.
        class_names: one name per output.
        network: "mobilenet-v1-0.25" or one of the other widths in `NETWORKS`.

    Raises:
        UsageError: there is no such network.
        EvofoolError: the file cannot be read or does not hold this network.
    """
    arrays, _ = read_safetensors(path)
    weights = {}
    try:
        layers = {"conv1": arrays["conv1.kernel"]}
        for number in range(1, len(BLOCKS) + 1):
            layers[f"conv_dw_{number}"] = arrays[f"conv_dw_{number}.depthwise_kernel"][..., 0]
            layers[f"conv_pw_{number}"] = arrays[f"conv_pw_{number}.kernel"][0, 0]
        for layer, kernel in layers.items():
            normalisation = (
                f"{layer}_bn.{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")
            )
            weights[f"{layer}.kernel"], weights[f"{layer}.bias"] = _folded(
                kernel, *(arrays[name] for name in normalisation)
            )
        weights["conv_preds.kernel"] = arrays["conv_preds.kernel"][0, 0]
        weights["conv_preds.bias"] = arrays["conv_preds.bias"]
    except (KeyError, IndexError, ValueError) as error:
        raise EvofoolError(f"{path} is not MobileNet v1 as Keras has it: {error}") from error
    classifier = create_classifier(network, (224, 224, 3), class_names, seed=None)
    return with_weights(classifier, weights, path)


def alexnet_from_torch(path: str | os.PathLike[str], class_names: tuple[str, ...]) -> Classifier:
    """AlexNet for 224x224 RGB images, from a safetensors file of torchvision's state dict.

    Args:
        path: a file with `features.0`, `features.3`, ... `classifier.6`, each with `.weight` and `.bias`.
            Kernels are OIHW; dense layers are (out, in), of which the first reads channel, row, column.
        class_names: one name per output.

    Raises:
        EvofoolError: the file cannot be read or does not hold this network.
    """
    arrays, _ = read_safetensors(path)
    try:
        renamed = {_renamed(name, _ALEXNET_LAYERS): array for name, array in arrays.items()}
        weights = from_channels_first(renamed, flattened="fc6", channels=256)
    except (IndexError, ValueError) as error:
        raise EvofoolError(f"{path} is not AlexNet as torchvision has it: {error}") from error
    return with_weights(create_classifier("alexnet", (224, 224, 3), class_names, seed=None), weights, path)


def caffenet_from_caffe(path: str | os.PathLike[str], class_names: tuple[str, ...]) -> Classifier:
    """CaffeNet for 227x227 RGB images, from a safetensors file of the weights of BVLC's reference model.

    Args:
        path: a file with Caffe's names `conv1` to `conv5` and `fc6` to `fc8`, each with `.weight` and
            `.bias`. Kernels are OIHW, the first one for channels in the order blue, green, red, those of two
            groups with the inputs of one; dense layers are (out, in), of which the first reads channel, row,
            column.
        class_names: one name per output.

    Raises:
        EvofoolError: the file cannot be read or does not hold this network.
    """
    arrays, _ = read_safetensors(path)
    try:
        weights = from_channels_first(arrays, flattened="fc6", channels=256)
        # Ours is given red first.
        weights["conv1.kernel"] = weights["conv1.kernel"][:, :, ::-1]
    except (KeyError, IndexError, ValueError) as error:
        raise EvofoolError(f"{path} is not CaffeNet as Caffe has it: {error}") from error
    return with_weights(create_classifier("caffenet", (227, 227, 3), class_names, seed=None), weights, path)


def googlenet_from_torch(path: str | os.PathLike[str], class_names: tuple[str, ...]) -> Classifier:
    """GoogLeNet for 224x224 RGB images, from a safetensors file of torchvision's state dict.

    Each batch normalisation is folded into the convolution before it. What the auxiliary classifiers have is
    passed over.

    Args:
        path: a file with `conv1`, `conv2`, `conv3`, `inception3a.branch1`, `inception3a.branch2.0`, ...,
            each with `.conv.weight` (OIHW), `.bn.weight`, `.bn.bias`, `.bn.running_mean` and
            `.bn.running_var`; and with `fc.weight` (out, in) and `fc.bias`.
        class_names: one name per output.

    Raises:
        EvofoolError: the file cannot be read or does not hold this network.
    """
    arrays, _ = read_safetensors(path)
    renamed = {
        _renamed(name, _INCEPTION_LAYERS): array
        for name, array in arrays.items()
        if not (name.startswith(_UNUSED) or name.endswith(_UNUSED))
    }
    try:
        weights = from_channels_first({name: renamed.pop(name) for name in ("fc.weight", "fc.bias")})
        layers = [name.removesuffix(".conv.weight") for name in renamed if name.endswith(".conv.weight")]
        for layer in layers:
            convolution = from_channels_first({"conv.weight": renamed.pop(f"{layer}.conv.weight")})
            normalisation = (
                f"{layer}.bn.{name}" for name in ("weight", "bias", "running_mean", "running_var")
            )
            weights[f"{layer}.kernel"], weights[f"{layer}.bias"] = _folded(
                convolution["conv.kernel"], *(renamed.pop(name) for name in normalisation)
            )
    except (KeyError, IndexError, ValueError) as error:
        raise EvofoolError(f"{path} is not GoogLeNet as torchvision has it: {error}") from error
    classifier = create_classifier("googlenet", (224, 224, 3), class_names, seed=None)
    return with_weights(classifier, {**weights, **renamed}, path)


def _renamed(name: str, layers: Mapping[str, str]) -> str:
    """The name of an array with the layer that it is of named as ours."""
    return next(
        (name.replace(f"{theirs}.", f"{ours}.") for theirs, ours in layers.items() if f"{theirs}." in name),
        name,
    )


def _folded(
    kernel: Float[np.ndarray, "... o"],
    gamma: Float[np.ndarray, " o"],
    beta: Float[np.ndarray, " o"],
    mean: Float[np.ndarray, " o"],
    variance: Float[np.ndarray, " o"],
) -> tuple[Float[np.ndarray, "... o"], Float[np.ndarray, " o"]]:
    """The kernel and the bias of a convolution without a bias and the batch normalisation that follows it."""
    factor = gamma / np.sqrt(variance + _EPSILON)
    return kernel * factor, beta - factor * mean
