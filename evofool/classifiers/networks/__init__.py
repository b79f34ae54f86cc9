"""Networks in Flax NNX. Each takes images in [0, 1] and contains its own preprocessing."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import NamedTuple

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Key, PyTree, UInt32

from evofool.classifiers.classifier import (
    Activation,
    Classifier,
    ClassifierSpec,
    as_class_names,
    as_input_shape,
)
from evofool.classifiers.networks.alexnet import AlexNet
from evofool.classifiers.networks.caffenet import CaffeNet
from evofool.classifiers.networks.googlenet import GoogLeNet
from evofool.classifiers.networks.mobilenet import WIDTHS, MobileNetV1
from evofool.classifiers.networks.resnet import ResNet
from evofool.classifiers.networks.small import CNN, MLP, LeNet, Linear, Maxout
from evofool.classifiers.networks.squeezenet import SqueezeNet
from evofool.classifiers.networks.vgg import VGG
from evofool.errors import UsageError, require_seed
from evofool.registry import Entry, NoOptions, Registry

NETWORKS = Registry(
    "network",
    {
        "lenet": Entry("Caffe's LeNet, the network of MNIST that Nguyen et al. fooled", NoOptions, LeNet),
        "cnn": Entry("the convolutional network of Keras's MNIST example", NoOptions, CNN),
        "mlp": Entry("two hidden layers of 100 ReLU units", NoOptions, MLP),
        "maxout": Entry("two hidden layers of 240 maxout units of 5 pieces", NoOptions, Maxout),
        "linear": Entry("softmax regression: one template per class", NoOptions, Linear),
        "resnet": Entry("a residual network of seven layers for small colour images", NoOptions, ResNet),
        "squeezenet-1.0": Entry("SqueezeNet 1.0, as trained in Caffe", NoOptions, SqueezeNet),
        "alexnet": Entry("AlexNet in one column, as in torchvision", NoOptions, AlexNet),
        "caffenet": Entry("CaffeNet: AlexNet with pooling before normalisation", NoOptions, CaffeNet),
        "googlenet": Entry("GoogLeNet with batch normalisation, as in torchvision", NoOptions, GoogLeNet),
        "vgg16": Entry("VGG-16, as in torchvision", NoOptions, partial(VGG, layers=16)),
        "vgg19": Entry("VGG-19, as in torchvision", NoOptions, partial(VGG, layers=19)),
        **{
            f"mobilenet-v1-{width}": Entry(
                f"MobileNet v1 of width {width}, as in Keras", NoOptions, partial(MobileNetV1, width=width)
            )
            for width in WIDTHS
        },
    },
)
"""The networks by name; `build(input_shape, classes, rngs=...)` makes each with random weights."""


class Dropout(NamedTuple):
    """Which hidden units are dropped: each with a probability, drawn from a key."""

    rate: float
    key: Key[Array, ""]


def dropout_layers(network: nnx.Module) -> list[nnx.Dropout]:
    """The layers of a network that drop hidden units."""
    return [layer for _, layer in nnx.iter_modules(network) if isinstance(layer, nnx.Dropout)]


@dataclass(frozen=True)
class NetworkLogits:
    """The logits function of a network: its structure without its weights.

    Matrix products and convolutions are computed in float32, unless `jax.default_matmul_precision` says
    otherwise where it is called. By default JAX would round their operands to eleven bits on a GPU.
    """

    network: str
    graphdef: nnx.GraphDef

    def __call__(
        self, params: PyTree, images: Float[Array, "n h w c"], dropout: Dropout | None = None
    ) -> Float[Array, "n k"]:
        """Logits of images in [0, 1] for the given weights, with or without hidden units dropped."""
        network = nnx.merge(self.graphdef, params)
        if dropout is not None:
            # One stream for all layers, which draw their keys from it in turn.
            keys = nnx.Rngs(dropout=dropout.key)
            for layer in dropout_layers(network):
                layer.rate, layer.deterministic, layer.rngs = dropout.rate, False, keys
        named = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        with jax.default_matmul_precision(named or "highest"):
            return network(images)


def network_of(classifier: Classifier) -> str:
    """The name of a classifier's network.

    Raises:
        UsageError: it is not one of evofool's networks.

    Example:
        >>> network_of(create_classifier("linear", (8, 8, 1), ("even", "odd"), name="parity"))
        'linear'
    """
    logits = classifier.logits_function
    if not isinstance(logits, NetworkLogits) or logits.network not in NETWORKS:
        raise UsageError(
            f"{classifier.spec.name} is not one of evofool's networks, so it cannot be trained or saved"
        )
    return logits.network


def create_classifier(
    network: str,
    input_shape: Sequence[int],
    class_names: Sequence[str],
    *,
    activation: Activation = "softmax",
    name: str | None = None,
    seed: int | None = 0,
) -> Classifier:
    """A classifier with random weights.

    Args:
        network: a name in `NETWORKS`.
        input_shape: height, width and channels of an image.
        class_names: one name per class; at least one.
        activation: how the logits are read.
        name: what the classifier is called; the network's name by default.
        seed: seeds the weights (LeCun normal, zero biases); None leaves them as shapes, to be loaded.

    Raises:
        UsageError: an unknown network, no classes, images smaller than the network takes, or a seed of more
            than 32 bits.

    Example:
        >>> create_classifier("linear", (8, 8, 1), ("even", "odd")).spec.input_shape
        (8, 8, 1)
    """
    entry = NETWORKS.named(network)
    require_seed(seed or 0)
    spec = ClassifierSpec(
        name or network, as_input_shape(input_shape), as_class_names(class_names), activation
    )

    graphdef, shapes, random = _structure(entry.build, spec.input_shape, len(spec.class_names))
    params = shapes if seed is None else random(np.uint32(seed))
    return Classifier(params, NetworkLogits(network, graphdef), spec)


@lru_cache(maxsize=64)
def _structure(
    build: Callable[..., nnx.Module], input_shape: tuple[int, int, int], classes: int
) -> tuple[nnx.GraphDef, PyTree, Callable[[np.uint32], PyTree]]:
    """A network without weights, their shapes, and the function from a seed to random ones.

    Remembered, because a large network takes half a second, and its random weights seconds to compile.
    """

    def network(seed: UInt32[Array, ""]) -> nnx.Module:
        return build(input_shape, classes, rngs=nnx.Rngs(jax.random.key(seed)))

    graphdef, shapes = nnx.split(nnx.eval_shape(network, np.uint32(0)))
    return graphdef, shapes, jax.jit(lambda seed: nnx.split(network(seed))[1])
