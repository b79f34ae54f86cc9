"""Loading the ImageNet networks: from the layouts of Caffe and Keras to those of Flax."""

import os

import numpy as np

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.networks import create_classifier
from evofool.classifiers.networks.mobilenet import BLOCKS
from evofool.classifiers.weights import read_safetensors, with_weights
from evofool.errors import EvofoolError

_KERAS_EPSILON = 1e-3
"""What Keras's MobileNet adds to the variance in its batch normalisation."""

_FIRE_LAYERS = {"conv1x1_1": "squeeze", "conv1x1_2": "expand1x1", "conv3x3_2": "expand3x3"}


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
    weights = {}
    try:
        for name, array in arrays.items():
            layer, kind = name.rsplit(".", 1)
            for theirs, ours in _FIRE_LAYERS.items():
                layer = layer.replace(theirs, ours)
            if kind == "bias":
                weights[f"{layer}.bias"] = array
            else:
                kernel = array.transpose(2, 3, 1, 0)
                is_pointwise = layer == "conv_final" or layer.endswith(("squeeze", "expand1x1"))
                weights[f"{layer}.kernel"] = kernel[0, 0] if is_pointwise else kernel
        # Ours is given red first.
        weights["conv1.kernel"] = weights["conv1.kernel"][:, :, ::-1]
    except (KeyError, ValueError) as error:
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
            deviation = np.sqrt(arrays[f"{layer}_bn.moving_variance"] + _KERAS_EPSILON)
            factor = arrays[f"{layer}_bn.gamma"] / deviation
            weights[f"{layer}.kernel"] = kernel * factor
            weights[f"{layer}.bias"] = arrays[f"{layer}_bn.beta"] - factor * arrays[f"{layer}_bn.moving_mean"]
        weights["conv_preds.kernel"] = arrays["conv_preds.kernel"][0, 0]
        weights["conv_preds.bias"] = arrays["conv_preds.bias"]
    except (KeyError, IndexError, ValueError) as error:
        raise EvofoolError(f"{path} is not MobileNet v1 as Keras has it: {error}") from error
    classifier = create_classifier(network, (224, 224, 3), class_names, seed=None)
    return with_weights(classifier, weights, path)
