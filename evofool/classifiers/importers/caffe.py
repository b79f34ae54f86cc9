"""SqueezeNet 1.0 and CaffeNet as Caffe stores them.

Per layer there are `.weight` and `.bias`. Kernels are OIHW, the first one for channels in the order blue,
green, red; those of two groups have the inputs of one. Dense layers are (out, in), and the first one reads
channel, row, column.
"""

import numpy as np

from evofool.classifiers.importers.layout import Arrays, Layout, from_channels_first, has, renamed

_FIRE_LAYERS = {"conv1x1_1": "squeeze", "conv1x1_2": "expand1x1", "conv3x3_2": "expand3x3"}


def _squeezenet(arrays: Arrays) -> dict[str, np.ndarray]:
    return _red_first(from_channels_first(renamed(arrays, _FIRE_LAYERS)))


def _caffenet(arrays: Arrays) -> dict[str, np.ndarray]:
    return _red_first(from_channels_first(arrays, flattened="fc6", channels=256))


def _red_first(weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {**weights, "conv1.kernel": weights["conv1.kernel"][:, :, ::-1]}


LAYOUTS = (
    Layout("squeezenet-1.0", "Caffe", (227, 227, 3), has("fire2.conv1x1_1.weight"), _squeezenet),
    Layout("caffenet", "Caffe", (227, 227, 3), has("fc8.weight"), _caffenet),
)
