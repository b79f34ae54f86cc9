"""AlexNet, GoogLeNet and VGG as torchvision stores them: the state dict of each.

Per layer there are `.weight` and `.bias`. Kernels are OIHW; dense layers are (out, in), and the first one of
AlexNet and of VGG reads channel, row, column. GoogLeNet has a batch normalisation after each convolution
(`conv1.bn.weight`, `.bias`, `.running_mean`, `.running_var`), and auxiliary classifiers, which are ignored.
"""

from functools import partial

import numpy as np

from evofool.classifiers.importers.layout import (
    Arrays,
    Layout,
    fold_normalisation,
    from_channels_first,
    has,
    renamed,
)
from evofool.classifiers.networks.vgg import CONVOLUTIONS

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

_NORMALISATION = ("weight", "bias", "running_mean", "running_var")
_ONLY_TRAINING = ("aux1.", "aux2.", "num_batches_tracked")


def _alexnet(arrays: Arrays) -> dict[str, np.ndarray]:
    return from_channels_first(renamed(arrays, _ALEXNET_LAYERS), flattened="fc6", channels=256)


def _vgg(arrays: Arrays, *, layers: int) -> dict[str, np.ndarray]:
    names = {"classifier.0": "fc6", "classifier.3": "fc7", "classifier.6": "fc8"}
    index = 0
    for block, convolutions in enumerate(CONVOLUTIONS[layers], start=1):
        for number in range(1, convolutions + 1):
            names[f"features.{index}"] = f"conv{block}_{number}"
            index += 2  # a ReLU follows
        index += 1  # the pooling
    return from_channels_first(renamed(arrays, names), flattened="fc6", channels=512)


def _googlenet(arrays: Arrays) -> dict[str, np.ndarray]:
    rest = {
        name: array
        for name, array in renamed(arrays, _INCEPTION_LAYERS).items()
        if not (name.startswith(_ONLY_TRAINING) or name.endswith(_ONLY_TRAINING))
    }
    weights = from_channels_first({name: rest.pop(name) for name in ("fc.weight", "fc.bias")})
    layers = [name.removesuffix(".conv.weight") for name in rest if name.endswith(".conv.weight")]
    for layer in layers:
        convolution = from_channels_first({"conv.weight": rest.pop(f"{layer}.conv.weight")})
        weights[f"{layer}.kernel"], weights[f"{layer}.bias"] = fold_normalisation(
            convolution["conv.kernel"], *(rest.pop(f"{layer}.bn.{name}") for name in _NORMALISATION)
        )
    return {**weights, **rest}


LAYOUTS = (
    Layout("alexnet", "torchvision", (224, 224, 3), has("features.6.weight"), _alexnet),
    Layout("googlenet", "torchvision", (224, 224, 3), has("inception3a.branch1.conv.weight"), _googlenet),
    Layout("vgg16", "torchvision", (224, 224, 3), has("features.17.weight"), partial(_vgg, layers=16)),
    Layout("vgg19", "torchvision", (224, 224, 3), has("features.16.weight"), partial(_vgg, layers=19)),
)
