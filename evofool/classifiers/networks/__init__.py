"""Networks in Flax NNX. Each takes images in [0, 1] and holds its own preprocessing."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from flax import nnx
from jaxtyping import Array, Float

from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec
from evofool.classifiers.networks.alexnet import AlexNet
from evofool.classifiers.networks.caffenet import CaffeNet
from evofool.classifiers.networks.googlenet import GoogLeNet
from evofool.classifiers.networks.mobilenet import MobileNetV1
from evofool.classifiers.networks.small import CNN, MLP, LeNet, Linear, Maxout
from evofool.classifiers.networks.squeezenet import SqueezeNet
from evofool.errors import UsageError, require_seed, unknown_name

NETWORKS: dict[str, Callable[..., nnx.Module]] = {
    "lenet": LeNet,
    "cnn": CNN,
    "mlp": MLP,
    "maxout": Maxout,
    "linear": Linear,
    "squeezenet-1.0": SqueezeNet,
    "alexnet": AlexNet,
    "caffenet": CaffeNet,
    "googlenet": GoogLeNet,
    "mobilenet-v1-0.25": partial(MobileNetV1, width=0.25),
    "mobilenet-v1-0.5": partial(MobileNetV1, width=0.5),
    "mobilenet-v1-0.75": partial(MobileNetV1, width=0.75),
    "mobilenet-v1-1.0": partial(MobileNetV1, width=1.0),
}
"""The networks by name: each is built from the shape of its images, its number of classes and its `rngs`."""


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
    seed: int | None = 0,
) -> Classifier:
    """A classifier with random weights.

    Args:
        network: a name in `NETWORKS`.
        input_shape: height, width and channels of an image.
        class_names: one name per class; at least one.
        activation: how the logits are read.
        name: what the classifier is called; the network's name if not given.
        seed: seeds the weights (LeCun normal, zero biases); with None they are left as shapes, to be loaded.

    Raises:
        UsageError: an unknown network, no classes, images smaller than the network takes, or a seed beyond
            32 bits.

    Example:
        >>> create_classifier("linear", (8, 8, 1), ("even", "odd")).spec.input_shape
        (8, 8, 1)
    """
    if network not in NETWORKS:
        raise unknown_name("network", network, NETWORKS)
    require_seed(seed or 0)
    if not class_names:
        raise UsageError("a classifier needs at least one class")

    def build() -> nnx.Module:
        return NETWORKS[network](input_shape, len(class_names), rngs=nnx.Rngs(seed or 0))

    module = build() if seed is not None else nnx.eval_shape(build)
    graphdef, params = nnx.split(module)
    spec = ClassifierSpec(name or network, input_shape, tuple(class_names), activation)
    return Classifier(params=params, logits_function=NetworkLogits(network, graphdef), spec=spec)
