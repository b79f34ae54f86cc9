"""The first contract: what is fooled."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evofool.errors import UsageError, unknown_name
from evofool.numerics.reductions import fold

Activation = Literal["softmax", "sigmoid"]
"""How logits become confidences: classes that compete, or each class with its own score."""

_FEWEST_ROWS = 8

LogitsFunction = Callable[[Any, Array], Array]
"""`logits(params, images)`: a pure function that compares equal to another of the same computation."""


@dataclass(frozen=True)
class ClassifierSpec:
    """What every part of evofool may ask of a classifier.

    Attributes:
        name: what it is called on the command line and in figures.
        input_shape: height, width and channels of an image (1 grey, 3 RGB).
        class_names: one name per logit, in order.
        activation: "softmax" or "sigmoid".
        training_data: what it was trained on, in a few words that begin with the dataset's name and a comma;
            empty where that is not known.
    """

    name: str
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    activation: Activation = "softmax"
    training_data: str = ""

    def __post_init__(self) -> None:
        if self.activation not in get_args(Activation):
            raise unknown_name("activation", self.activation, get_args(Activation))

    def class_index(self, wanted: str | int) -> int:
        """The index of a class given by its name or its index; a blank in a name may be an underscore.

        Raises:
            UsageError: no class has that name or index (the nearest name is suggested), or several have the
                name, as ImageNet's two cranes do.

        Example:
            >>> spec = ClassifierSpec("bears", (8, 8, 1), ("giant panda", "polar bear"))
            >>> spec.class_index("polar_bear"), spec.class_index("0"), spec.class_index(1)
            (1, 0, 1)
        """
        text = str(wanted)
        named = [
            index for index, name in enumerate(self.class_names) if text in (name, name.replace(" ", "_"))
        ]
        if len(named) > 1:
            raise UsageError(
                f"{self.name} has several classes named {text!r}: give the index, one of {named}"
            )
        if named:
            return named[0]
        if text.removeprefix("-").isdecimal():
            if 0 <= int(text) < len(self.class_names):
                return int(text)
            raise UsageError(
                f"class {text} is not one of {self.name}'s {len(self.class_names)}: "
                f"allowed are 0 to {len(self.class_names) - 1} or a name"
            )
        raise unknown_name(f"class of {self.name}", text, self.class_names)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Classifier:
    """What is fooled: a pytree whose leaves are the weights, called on images.

    The weights are leaves so that they are an argument of every compiled function and never a constant
    inside it; the rest is static. Preprocessing (scale, mean, channel order) belongs to `logits_function`:
    whoever holds a classifier passes images in [0, 1] and never asks which network it is.

    Attributes:
        params: the weights, any pytree of arrays.
        logits_function: `logits(params, images)`, pure; hashable, and equal for equal computations, so that
            two loads of the same network share one compilation.
        spec: name, input shape, class names and activation.

    Example:
        >>> import jax.numpy as jnp
        >>> def brightness(params, images):
        ...     level = images.mean(axis=(1, 2, 3))
        ...     return params * jnp.stack([-level, level], axis=1)
        >>> spec = ClassifierSpec("brightness", (2, 2, 1), ("dark", "bright"))
        >>> classifier = Classifier(jnp.float32(5.0), brightness, spec)
        >>> classifier(jnp.ones((1, 2, 2, 1))).round(3).tolist()
        [[0.0, 1.0]]
    """

    params: Any
    logits_function: LogitsFunction = field(metadata={"static": True})
    spec: ClassifierSpec = field(metadata={"static": True})

    def logits(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images with values in [0, 1].

        Raises:
            UsageError: the images are not of the classifier's size.
        """
        if images.shape[1:] != self.spec.input_shape:
            raise UsageError(
                f"{self.spec.name} takes images of height, width and channels {self.spec.input_shape}, "
                f"not {images.shape[1:]}"
            )
        return self.logits_function(self.params, images)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Confidences in [0, 1] of images with values in [0, 1]."""
        return self.activate(self.logits(images))

    def activate(self, logits: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """Confidences in [0, 1] of logits; where a logit is not a number, so is what depends on it."""
        lost = jnp.isnan(logits)
        if self.spec.activation == "softmax":
            confidences, lost = _softmax(logits), lost.any(axis=1, keepdims=True)
        else:
            confidences = jax.nn.sigmoid(logits)
        # Said outright, because XLA's fast exponential on CPU makes a number of nan.
        return jnp.where(lost, jnp.nan, confidences)

    def with_activation(self, activation: Activation) -> "Classifier":
        """The same network with its logits read as "softmax" or as "sigmoid" scores."""
        return replace(self, spec=replace(self.spec, activation=activation))


def _softmax(logits: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Softmax that rounds a row the same way whatever other rows it is computed with."""
    count = len(logits)
    # Of up to four rows of a thousand classes a CPU computes the exponentials by other instructions.
    logits = jnp.pad(logits, ((0, max(0, _FEWEST_ROWS - count)), (0, 0)))
    shares = jnp.exp(logits - fold(jnp.maximum, logits, -jnp.inf))
    return (shares / fold(jnp.add, shares, 0))[:count]


@dataclass(frozen=True)
class _SubtractedMean:
    inner: LogitsFunction

    def __call__(self, params: Any, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        inner_params, mean_image = params
        return self.inner(inner_params, images - mean_image)


def subtract_mean(classifier: Classifier, mean_image: Float[Array | np.ndarray, "h w c"]) -> Classifier:
    """The classifier that subtracts a mean image, in [0, 1] units, before the given one looks.

    Example:
        >>> import jax.numpy as jnp
        >>> spec = ClassifierSpec("total", (1, 1, 1), ("it",), "sigmoid")
        >>> total = Classifier((), lambda params, images: images.sum(axis=(1, 2)), spec)
        >>> subtract_mean(total, jnp.full((1, 1, 1), 0.25)).logits(jnp.ones((1, 1, 1, 1))).tolist()
        [[0.75]]
    """
    if mean_image.shape != classifier.spec.input_shape:
        raise UsageError(
            f"the mean image has shape {mean_image.shape}, {classifier.spec.name} takes images of shape "
            f"{classifier.spec.input_shape}"
        )
    return Classifier(
        params=(classifier.params, jnp.asarray(mean_image)),
        logits_function=_SubtractedMean(classifier.logits_function),
        spec=classifier.spec,
    )
