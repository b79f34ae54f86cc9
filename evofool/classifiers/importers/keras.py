"""MobileNet v1 as Keras stores it.

Kernels are HWIO: `conv1.kernel`, `conv_dw_1.depthwise_kernel` (3, 3, channels, 1), `conv_pw_1.kernel`, ...,
`conv_preds.kernel`. Each convolution but the last has a batch normalisation: `conv1_bn.gamma`, `.beta`,
`.moving_mean` and `.moving_variance`.
"""

from functools import partial

import numpy as np

from evofool.classifiers.importers.layout import Arrays, Layout, Shapes, fold_normalisation
from evofool.classifiers.networks.mobilenet import BLOCKS, WIDTHS

_NORMALISATION = ("gamma", "beta", "moving_mean", "moving_variance")


def _mobilenet(arrays: Arrays) -> dict[str, np.ndarray]:
    layers = {"conv1": arrays["conv1.kernel"]}
    for number in range(1, len(BLOCKS) + 1):
        layers[f"conv_dw_{number}"] = arrays[f"conv_dw_{number}.depthwise_kernel"][..., 0]
        layers[f"conv_pw_{number}"] = arrays[f"conv_pw_{number}.kernel"][0, 0]
    weights = {}
    for layer, kernel in layers.items():
        weights[f"{layer}.kernel"], weights[f"{layer}.bias"] = fold_normalisation(
            kernel, *(arrays[f"{layer}_bn.{name}"] for name in _NORMALISATION)
        )
    weights["conv_preds.kernel"] = arrays["conv_preds.kernel"][0, 0]
    weights["conv_preds.bias"] = arrays["conv_preds.bias"]
    return weights


def _is_mobilenet(width: float, shapes: Shapes) -> bool:
    last_depthwise = shapes.get(f"conv_dw_{len(BLOCKS)}.depthwise_kernel", ())
    return last_depthwise[2:3] == (int(BLOCKS[-2][0] * width),)


LAYOUTS = tuple(
    Layout(f"mobilenet-v1-{width}", "Keras", (224, 224, 3), partial(_is_mobilenet, width), _mobilenet)
    for width in WIDTHS
)
