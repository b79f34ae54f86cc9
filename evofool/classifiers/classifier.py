"""The first contract: the classifier that is fooled."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import GetAttrKey
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from evofool.classifiers.checks import require_logits
from evofool.errors import UsageError, require_printable, shown, unknown_name
from evofool.numerics.reductions import fold

Activation = Literal["softmax", "sigmoid"]
"""How logits become confidences: classes that compete, or each class with its own score."""

Output = Literal["logits", "probabilities", "labels"]
"""What a model gives: a score for each class, a number in [0, 1] for each, or the index of the best class."""

LogitsFunction = Callable[[PyTree, Array], Array]
"""`logits(params, images)`: a pure function that compares equal to another of the same computation."""

_LARGEST_SIDE = 2**16
_SOFTMAX_ROWS = 8
"""On a CPU up to four rows of a thousand logits get their exponentials from other instructions."""


@dataclass(frozen=True)
class ClassifierSpec:
    """What every part of evofool may ask of a classifier.

    Attributes:
        name: what it is called on the command line and in figures.
        input_shape: height, width and channels of an image (1 grey, 3 RGB).
        class_names: one name per logit, in order.
        activation: "softmax" or "sigmoid".
        training_data: what it was trained on, in a few words that begin with the dataset's name and a comma;
            empty if unknown.

    Raises:
        UsageError: a shape that is not three positive integers, no classes, text that does not fit one line,
            or an unknown activation.
    """

    name: str
    input_shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    activation: Activation = "softmax"
    training_data: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "input_shape", as_input_shape(self.input_shape))
        object.__setattr__(self, "class_names", as_class_names(self.class_names))
        require_printable("the name of a classifier", self.name)
        require_printable("the training data of a classifier", self.training_data)
        as_activation(self.activation)

    def class_index(self, wanted: str | int) -> int:
        """The index of a class given by its name or its index; underscores may replace blanks in a name.

        Raises:
            UsageError: no class has that name or index (similar names are suggested), or several have the
                name, as ImageNet's two cranes do.

        Example:
            >>> spec = ClassifierSpec("bears", (8, 8, 1), ("giant panda", "polar bear"))
            >>> spec.class_index("polar_bear"), spec.class_index("0"), spec.class_index(1)
            (1, 0, 1)
        """
        named = [i for i, name in enumerate(self.class_names) if wanted in (name, name.replace(" ", "_"))]
        if len(named) > 1:
            raise UsageError(
                f"{self.name} has several classes named {wanted!r}: give the index, one of {named}"
            )
        if named:
            return named[0]
        index = _index(wanted)
        if index is None:
            raise unknown_name(f"class of {self.name}", str(wanted), self.class_names)
        if not 0 <= index < len(self.class_names):
            raise UsageError(
                f"class {shown(wanted)} is not one of {self.name}'s {len(self.class_names)}: "
                f"allowed are 0 to {len(self.class_names) - 1} or a name"
            )
        return index


def as_input_shape(shape: object) -> tuple[int, int, int]:
    """A shape of images, checked: height, width and channels.

    Raises:
        UsageError: it is anything but three positive integers.

    Example:
        >>> as_input_shape([28, 28, 1])
        (28, 28, 1)
    """
    sides = tuple(shape) if isinstance(shape, tuple | list) else ()
    whole = all(isinstance(side, Integral) and not isinstance(side, bool) for side in sides)
    if len(sides) != 3 or not whole or not all(0 < side <= _LARGEST_SIDE for side in sides):
        raise UsageError(
            f"input_shape must be height, width and channels, 1 to {_LARGEST_SIDE}, not {shown(shape)}"
        )
    height, width, channels = map(int, sides)
    return height, width, channels


def as_class_names(names: object) -> tuple[str, ...]:
    """The names of a classifier's classes, checked.

    Raises:
        UsageError: they are no tuple or list, there is none, or one cannot be printed in one line.

    Example:
        >>> as_class_names(["even", "odd"])
        ('even', 'odd')
    """
    if not isinstance(names, tuple | list) or not names:
        raise UsageError(f"class_names must name one or more classes, not {shown(repr(names))}")
    for name in names:
        require_printable("a class name", name)
    return tuple(names)


def as_activation(name: str) -> Activation:
    """The activation of a name; raises `UsageError` if there is none."""
    for activation in get_args(Activation):
        if activation == name:
            return activation
    raise unknown_name("activation", name, get_args(Activation))


@dataclass(frozen=True)
class Classifier:
    """The classifier to fool: a pytree whose leaves are the weights, called on images.

    The weights are leaves so that they are an argument of every compiled function and never a constant
    inside it; the rest is static. Preprocessing (scale, mean, channel order) belongs to `logits_function`:
    callers pass images in [0, 1] and never ask which network it is.

    Attributes:
        params: the weights, any pytree of arrays.
        logits_function: `logits(params, images)`, pure; hashable, and equal for equal computations, so that
            two loads of the same network share one compilation.
        spec: name, input shape, class names and activation.

    Raises:
        UsageError: a weight is no array, or the function cannot be compiled, does not take any number of
            images, does not return one logit per image and class, or ends in a softmax or sigmoid.

    Example:
        >>> import jax.numpy as jnp
        >>> def brightness(params, images):
        ...     level = images.mean(axis=(1, 2, 3))
        ...     return params * jnp.stack([-level, level], axis=1)
        >>> spec = ClassifierSpec("brightness", (2, 2, 1), ("dark", "bright"))
        >>> classifier = Classifier(jnp.float32(5.0), brightness, spec)
        >>> classifier(jnp.ones((1, 2, 2, 1))).round(3).tolist()
        [[0.0, 1.0]]
        >>> classifier
        Classifier('brightness', 2x2x1, 2 classes, softmax)
    """

    params: PyTree
    logits_function: LogitsFunction
    spec: ClassifierSpec

    def __post_init__(self) -> None:
        require_logits(
            self.logits_function,
            self.params,
            name=self.spec.name,
            input_shape=self.spec.input_shape,
            classes=len(self.spec.class_names),
            activation=self.spec.activation,
        )

    def __repr__(self) -> str:
        spec = self.spec
        size = "x".join(map(str, spec.input_shape))
        return f"Classifier({spec.name!r}, {size}, {len(spec.class_names)} classes, {spec.activation})"

    def logits(self, images: Shaped[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Logits of images with values in [0, 1].

        Raises:
            UsageError: there are no images, or they are not of the classifier's size, integers, or outside
                [0, 1]. Inside a compiled function values are unknown and not checked.
        """
        self.require_images(images)
        return _logits(self.logits_function, self.params, images)

    def __call__(self, images: Shaped[Array, "n h w c"]) -> Float[Array, "n k"]:
        """Confidences in [0, 1] of images with values in [0, 1]; raises what `logits` raises."""
        return self.activate(self.logits(images))

    def require_images(self, images: Shaped[Array, "n h w c"]) -> None:
        """Raise `UsageError` unless these are images that this classifier takes."""
        require_images(self.spec, images)

    def activate(self, logits: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """Confidences in [0, 1] of logits; NaN where they depend on a logit that is NaN."""
        return activate(logits, self.spec.activation)

    def with_activation(self, activation: Activation | None) -> "Classifier":
        """The same network with its logits read as "softmax" or as "sigmoid" scores; None for as they are."""
        if activation is None:
            return self
        return replace(self, spec=replace(self.spec, activation=activation))


def require_images(spec: ClassifierSpec, images: Shaped[Array | np.ndarray, "n h w c"]) -> None:
    """Raise `UsageError` unless these are images that a classifier takes."""
    if images.shape[1:] != spec.input_shape:
        raise UsageError(
            f"{spec.name} takes images of height, width and channels {spec.input_shape}, not "
            f"{images.shape[1:]}"
        )
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise UsageError(
            f"{spec.name} takes images of floats in [0, 1], not {images.dtype}: divide them by 255"
        )
    if len(images) == 0:
        raise UsageError("there are no images")
    if not isinstance(images, jax.core.Tracer) and not _are_shares(images):
        raise UsageError("images must have values in [0, 1]: divide 8-bit images by 255")


# One program where it is called with numbers, and traced once where a larger program calls it again.
@partial(jax.jit, static_argnums=0, inline=True)
def _logits(
    function: LogitsFunction, params: PyTree, images: Shaped[Array, "n h w c"]
) -> Float[Array, "n k"]:
    return function(params, images)


@jax.jit
def _are_shares(values: Shaped[Array | np.ndarray, "..."]) -> Bool[Array, ""]:
    return jnp.all((values >= 0) & (values <= 1))


@partial(jax.jit, static_argnums=1, inline=True)
def activate(logits: Float[Array, "n k"], activation: Activation) -> Float[Array, "n k"]:
    """Confidences in [0, 1] of logits; NaN where they depend on a logit that is NaN.

    Example:
        >>> activate(jnp.zeros((1, 2)), "softmax").tolist()
        [[0.5, 0.5]]
    """
    lost = jnp.isnan(logits)
    if activation == "softmax":
        confidences, lost = _softmax(logits), lost.any(axis=1, keepdims=True)
    else:
        confidences = jax.nn.sigmoid(logits)
    # Stated explicitly, because XLA's fast exponential on CPU turns NaN into a number.
    return jnp.where(lost, jnp.nan, confidences)


def logits_of_probabilities(
    probabilities: Float[Array | np.ndarray, "n k"], activation: Activation
) -> Float[Array, "n k"]:
    """The logits whose activation gives probabilities back, as far as float32 tells them apart.

    Args:
        probabilities: in [0, 1]; those below 1e-38 count as that, and their gradient is 0.
        activation: "softmax" if they sum to 1, "sigmoid" if each stands for itself.

    Example:
        >>> jax.nn.softmax(logits_of_probabilities(jnp.array([[0.25, 0.75]]), "softmax")).round(4).tolist()
        [[0.25, 0.75]]
        >>> jax.nn.sigmoid(logits_of_probabilities(jnp.array([[0.25, 1.0]]), "sigmoid")).round(4).tolist()
        [[0.25, 1.0]]
    """
    smallest = jnp.finfo(jnp.float32).tiny
    probabilities = jnp.asarray(probabilities, jnp.float32)
    logits = jnp.log(jnp.maximum(probabilities, smallest))
    if activation == "sigmoid":
        logits -= jnp.log(jnp.maximum(1 - probabilities, smallest))
    return logits


def _flatten_with_keys(
    classifier: Classifier,
) -> tuple[tuple[tuple[GetAttrKey, PyTree]], tuple[LogitsFunction, ClassifierSpec]]:
    return ((GetAttrKey("params"), classifier.params),), (classifier.logits_function, classifier.spec)


def _unflatten(static: tuple[LogitsFunction, ClassifierSpec], children: Iterable[PyTree]) -> Classifier:
    # Without the constructor's check: JAX rebuilds classifiers from placeholders and from stacked weights.
    classifier = object.__new__(Classifier)
    for name, value in zip(("params", "logits_function", "spec"), (*children, *static), strict=True):
        object.__setattr__(classifier, name, value)
    return classifier


jax.tree_util.register_pytree_with_keys(Classifier, _flatten_with_keys, _unflatten)


def _index(wanted: str | int) -> int | None:
    if not isinstance(wanted, str):
        return int(wanted)
    if not wanted.removeprefix("-").isdecimal():
        return None
    # Python does not convert thousands of digits, and no index has twenty.
    return int(wanted) if len(wanted) < 20 else -1


def _softmax(logits: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """Softmax that on a CPU rounds a row the same way whatever other rows it is computed with."""
    return jax.lax.platform_dependent(logits, cpu=_softmax_by_row, default=jax.nn.softmax)


def _softmax_by_row(logits: Float[Array, "n k"]) -> Float[Array, "n k"]:
    count = len(logits)
    logits = jnp.pad(logits, ((0, max(0, _SOFTMAX_ROWS - count)), (0, 0)))
    shares = jnp.exp(logits - fold(jnp.maximum, logits, -jnp.inf))
    return (shares / fold(jnp.add, shares, 0))[:count]
