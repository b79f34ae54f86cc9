"""Networks in Flax NNX. Each takes images in [0, 1] and holds its own preprocessing."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec
from evofool.classifiers.convolution import conv_general_dilated
from evofool.errors import UsageError, unknown_name

_FEWEST_ROWS = 64
"""Below about 50 rows the CPU's matrix library sums in another order, and a row's result would depend on how
many others are computed with it. Padding to this many rows keeps every result the same to the last bit."""


class Dense(nnx.Linear):
    """A fully connected layer whose result for one image does not depend on the batch it is in."""

    def __call__(self, inputs: Float[Array, "n i"], out_sharding: Any = None) -> Float[Array, "n o"]:
        """Map `n` rows of inputs to `n` rows of outputs."""
        missing = max(0, _FEWEST_ROWS - inputs.shape[0])
        rows = jnp.pad(inputs, ((0, missing), (0, 0)))
        return super().__call__(rows, out_sharding=out_sharding)[: inputs.shape[0]]


def _conv(inputs: int, outputs: int, size: int, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        inputs,
        outputs,
        (size, size),
        padding="VALID",
        precision=jax.lax.Precision.HIGHEST,
        conv_general_dilated=conv_general_dilated,
        rngs=rngs,
    )


def _dense(inputs: int, outputs: int, rngs: nnx.Rngs) -> Dense:
    return Dense(inputs, outputs, precision=jax.lax.Precision.HIGHEST, rngs=rngs)


def _max_pool(images: Float[Array, "n h w c"]) -> Float[Array, "n h2 w2 c"]:
    # The gradient of a maximum over a reshaped axis is several times faster on CPU than that of a window.
    n, height, width, channels = images.shape
    whole = images[:, : height // 2 * 2, : width // 2 * 2]
    return whole.reshape(n, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


def _flatten(images: Float[Array, "n h w c"]) -> Float[Array, "n i"]:
    return images.reshape(images.shape[0], -1)


class LeNet(nnx.Module):
    """Caffe's LeNet, the network that Nguyen et al. released and fooled (CVPR 2015, section 2.1).

    conv 20@5x5, max-pool 2, conv 50@5x5, max-pool 2, dense 500, ReLU, dense k. There is no activation
    between a convolution and its pooling. A pixel value 0..255 is divided by 256, as Caffe does.
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        rows, columns = ((height - 4) // 2 - 4) // 2, ((width - 4) // 2 - 4) // 2
        if min(rows, columns) < 1:
            raise UsageError(f"lenet needs images of at least 16x16, not {height}x{width}")
        self.conv1 = _conv(channels, 20, 5, rngs)
        self.conv2 = _conv(20, 50, 5, rngs)
        self.fc1 = _dense(rows * columns * 50, 500, rngs)
        self.fc2 = _dense(500, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = images * (255 / 256)
        x = _max_pool(self.conv1(x))
        x = _max_pool(self.conv2(x))
        x = jax.nn.relu(self.fc1(_flatten(x)))
        return self.fc2(x)


class CNN(nnx.Module):
    """The convolutional network of the Keras MNIST example, the teacher of Frigeni's student.

    conv 32@3x3, ReLU, conv 64@3x3, ReLU, max-pool 2, dense 128, ReLU, dense k. Pixels are taken in [0, 1].
    """

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        rows, columns = (height - 4) // 2, (width - 4) // 2
        if min(rows, columns) < 1:
            raise UsageError(f"cnn needs images of at least 6x6, not {height}x{width}")
        self.conv1 = _conv(channels, 32, 3, rngs)
        self.conv2 = _conv(32, 64, 3, rngs)
        self.fc1 = _dense(rows * columns * 64, 128, rngs)
        self.fc2 = _dense(128, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = jax.nn.relu(self.conv1(images))
        x = _max_pool(jax.nn.relu(self.conv2(x)))
        x = jax.nn.relu(self.fc1(_flatten(x)))
        return self.fc2(x)


class MLP(nnx.Module):
    """Two hidden layers of 100 ReLU units, as FC100-100-10 of Szegedy et al. (ICLR 2014, table 1)."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        self.fc1 = _dense(height * width * channels, 100, rngs)
        self.fc2 = _dense(100, 100, rngs)
        self.fc3 = _dense(100, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        x = jax.nn.relu(self.fc1(_flatten(images)))
        x = jax.nn.relu(self.fc2(x))
        return self.fc3(x)


class Linear(nnx.Module):
    """Softmax regression: one template per class."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, *, rngs: nnx.Rngs) -> None:
        height, width, channels = input_shape
        self.fc = _dense(height * width * channels, classes, rngs)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1]."""
        return self.fc(_flatten(images))


NETWORKS: dict[str, type[nnx.Module]] = {"lenet": LeNet, "cnn": CNN, "mlp": MLP, "linear": Linear}
"""The networks that `evofool train` can train, by name."""


@dataclass(frozen=True)
class NetworkLogits:
    """The logits function of a network: its structure without its weights."""

    network: str
    graphdef: Any

    def __call__(self, params: Any, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images in [0, 1] for the given weights."""
        return nnx.merge(self.graphdef, params)(images)


def create_classifier(
    network: str,
    input_shape: tuple[int, int, int],
    class_names: tuple[str, ...],
    *,
    activation: Activation = "softmax",
    name: str | None = None,
    seed: int = 0,
) -> Classifier:
    """A classifier with random weights.

    Args:
        network: a name in `NETWORKS`.
        input_shape: height, width and channels of an image.
        class_names: one name per class; at least one.
        activation: how the logits are read.
        name: what the classifier is called; the network's name if not given.
        seed: seeds the weights (LeCun normal, zero biases).

    Raises:
        UsageError: an unknown network, no classes, or images smaller than the network takes.

    Example:
        >>> create_classifier("linear", (8, 8, 1), ("even", "odd")).spec.input_shape
        (8, 8, 1)
    """
    if network not in NETWORKS:
        raise unknown_name("network", network, NETWORKS)
    if not class_names:
        raise UsageError("a classifier needs at least one class")
    module = NETWORKS[network](input_shape, len(class_names), rngs=nnx.Rngs(seed))  # type: ignore[call-arg]
    graphdef, params = nnx.split(module)
    spec = ClassifierSpec(name or network, input_shape, class_names, activation)
    return Classifier(params=params, logits_function=NetworkLogits(network, graphdef), spec=spec)
