"""How another program stores the weights of a network, and conversions that several of them share."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.networks import create_classifier
from evofool.classifiers.weights import read_safetensors, with_weights
from evofool.errors import EvofoolError

Arrays = Mapping[str, np.ndarray]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Layout:
    """A network as another program stores it.

    Attributes:
        network: its name in `NETWORKS`.
        program: the other program.
        input_shape: height, width and channels of the images that it was trained on.
        recognises: whether a file holds this network, from the names and shapes of its arrays.
        convert: from the arrays of such a file to evofool's; raises KeyError, IndexError or ValueError where
            the file is incomplete.
    """

    network: str
    program: str
    input_shape: tuple[int, int, int]
    recognises: Callable[[Shapes], bool]
    convert: Callable[[Arrays], dict[str, np.ndarray]]

    def load(self, path: str | os.PathLike[str], class_names: tuple[str, ...]) -> Classifier:
        """Load a safetensors file of this layout.

        Args:
            path: the file.
            class_names: one name per output.

        Raises:
            EvofoolError: the file cannot be read or does not hold this network.
        """
        arrays, _ = read_safetensors(path)
        try:
            weights = self.convert(arrays)
        except (KeyError, IndexError, ValueError) as error:
            raise EvofoolError(
                f"{path} is not {self.network} as {self.program} stores it: {error}"
            ) from error
        classifier = create_classifier(self.network, self.input_shape, class_names, seed=None)
        return with_weights(classifier, weights, path)


def has(name: str) -> Callable[[Shapes], bool]:
    """Whether a file has an array of a name."""
    return lambda shapes: name in shapes


def from_channels_first(
    arrays: Arrays, *, flattened: str | None = None, channels: int = 1
) -> dict[str, np.ndarray]:
    """Convert the weights of Caffe and PyTorch to Flax: `.weight` becomes `.kernel`.

    Args:
        arrays: per layer `.weight`, which is OIHW or (out, in), and `.bias`.
        flattened: the dense layer that reads images: the order of its inputs changes from channel, row,
            column to row, column, channel.
        channels: of these images.

    Returns:
        Kernels in HWIO, or in (in, out) for dense layers and 1x1 convolutions; other arrays unchanged.

    Raises:
        ValueError: an array has another number of axes, or `flattened` cannot be divided into channels.

    Example:
        >>> weights = {"conv.weight": np.zeros((8, 3, 5, 5)), "fc.weight": np.zeros((10, 8 * 36))}
        >>> {name: array.shape for name, array in from_channels_first(weights).items()}
        {'conv.kernel': (5, 5, 3, 8), 'fc.kernel': (288, 10)}
    """
    converted = {}
    for name, array in arrays.items():
        layer = name.removesuffix(".weight")
        if layer == name:
            converted[name] = array
            continue
        if layer == flattened:
            outputs = len(array)
            kernel = array.reshape(outputs, channels, -1).transpose(2, 1, 0).reshape(-1, outputs)
        elif array.ndim == 2:
            kernel = array.T
        else:
            kernel = array.transpose(2, 3, 1, 0)
            kernel = kernel[0, 0] if kernel.shape[:2] == (1, 1) else kernel
        converted[f"{layer}.kernel"] = kernel
    return converted


def renamed(arrays: Arrays, layers: Mapping[str, str]) -> dict[str, np.ndarray]:
    """The arrays with their layers renamed, from their names to ours.

    Example:
        >>> list(renamed({"features.0.weight": np.zeros(1)}, {"features.0": "conv1"}))
        ['conv1.weight']
    """

    def ours(name: str) -> str:
        found = (name.replace(f"{old}.", f"{new}.") for old, new in layers.items() if f"{old}." in name)
        return next(found, name)

    return {ours(name): array for name, array in arrays.items()}


def fold_normalisation(
    kernel: Float[np.ndarray, "... o"],
    gamma: Float[np.ndarray, " o"],
    beta: Float[np.ndarray, " o"],
    mean: Float[np.ndarray, " o"],
    variance: Float[np.ndarray, " o"],
    *,
    epsilon: float = 1e-3,
) -> tuple[Float[np.ndarray, "... o"], Float[np.ndarray, " o"]]:
    """Kernel and bias of a convolution that includes the batch normalisation after it.

    The normalisation `gamma (x - mean) / sqrt(variance + epsilon) + beta` is a factor and a summand per
    channel. Keras's MobileNet and torchvision's GoogLeNet both add 0.001 to the variance.
    """
    factor = gamma / np.sqrt(variance + epsilon)
    return kernel * factor, beta - factor * mean
