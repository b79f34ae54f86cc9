"""Any framework's model as a classifier: images into what it expects, its outputs into logits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Shaped

from evofool.classifiers.checks import BATCH, Ending, ending_of, shapes_of, traced
from evofool.classifiers.classifier import (
    Activation,
    Classifier,
    ClassifierSpec,
    Output,
    as_activation,
    as_class_names,
    as_input_shape,
    logits_of_probabilities,
)
from evofool.classifiers.frameworks.preprocessing import Preprocessing
from evofool.errors import UsageError, require_choice, require_positive

ModelFunction = Callable[[PyTree, Array], Any]
"""`function(params, images)`: what a model gives for images that are preprocessed."""

_ENDINGS: dict[Ending, Activation] = {"softmax": "softmax", "sigmoid": "sigmoid"}


@dataclass(frozen=True)
class ModelLogits:
    """The logits function of a model: equal if the models, and what is done around them, are equal.

    Attributes:
        model: a pure function of weights and preprocessed images that compares equal to another of the same
            computation.
        preprocessing: what the model expects; its layout is known.
        output: what the model gives.
        activation: how the logits are read, which decides what the logit of a probability is.
        classes: the number of classes.
        batch_size: the only number of images that the model takes; None if it takes any.
    """

    model: ModelFunction
    preprocessing: Preprocessing
    output: Output
    activation: Activation
    classes: int
    batch_size: int | None

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Any:
        """Logits of images in [0, 1]."""
        outputs = self.outputs(params, images)
        if self.output == "labels":
            return logits_of_labels(outputs, self.classes)
        if self.output == "probabilities":
            return logits_of_probabilities(outputs, self.activation)
        # What else it may be, the constructor of `Classifier` finds.
        return outputs.astype(jnp.float32) if is_matrix(outputs) else outputs

    def outputs(self, params: PyTree, images: Float[Array, "n h w c"]) -> Any:
        """What the model gives for images in [0, 1], in float32 on every device."""
        named = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
        with jax.default_matmul_precision(named or "highest"):
            return in_fixed_batches(
                lambda batch: self.model(params, batch), self.preprocessing(images), self.batch_size
            )


def imported(
    model: ModelFunction,
    params: PyTree,
    *,
    name: str,
    input_shape: Sequence[int],
    class_names: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    layout: Literal["nhwc", "nchw"],
    output: Output | None,
    activation: Activation | None,
    batch_size: int | None,
) -> Classifier:
    """A classifier of a model.

    Args:
        model: see `ModelLogits`.
        params: its weights.
        name: of the classifier.
        input_shape: height, width and channels of an image, in this order whatever the model's layout.
        class_names: one name per class; numbers from "0" on by default.
        preprocessing: what the model expects of images in [0, 1]; nothing by default.
        layout: of the images, where `preprocessing` names none.
        output: what the model gives. By default "probabilities" if it ends in a softmax or a sigmoid, else
            "logits".
        activation: how the logits are read. By default "sigmoid" if the model ends in one, else "softmax".
        batch_size: the only number of images that the model takes; by default any, or one at a time if it
            takes one image only.

    Raises:
        UsageError: the model does not fit what is said of it.
    """
    shape = as_input_shape(input_shape)
    preprocessing = preprocessing or Preprocessing()
    preprocessing = replace(preprocessing, layout=preprocessing.layout or layout)
    preprocessing.require_channels(shape[2])
    if output is not None:
        require_choice(get_args(Output), output=output)
    if activation is not None:
        as_activation(activation)
    require_positive(batch_size=batch_size)
    logits = ModelLogits(model, preprocessing, output or "logits", activation or "softmax", 1, batch_size)
    logits, program, result = _probed(logits, params, name, shape)
    ending = ending_of(program) if is_matrix(result) else None
    if output is None and ending is not None:
        logits = replace(logits, output="probabilities")
    if activation is None and ending is not None:
        logits = replace(logits, activation=_ENDINGS[ending])
    if logits.output == "labels" and class_names is None:
        raise UsageError(f"{name} gives labels, which do not tell how many classes there are: name them")
    if class_names is None:
        names = tuple(map(str, range(result.shape[1]))) if is_matrix(result) else ("0",)
    else:
        names = as_class_names(class_names)
    logits = replace(logits, classes=len(names))
    if logits.output == "probabilities" and ending is None:
        _require_probabilities(logits, params, name, shape)
    return Classifier(params, logits, ClassifierSpec(name, shape, names, logits.activation))


def filled_shape(
    given: Sequence[int | None] | None, stated: Sequence[int | None], name: str
) -> tuple[int, int, int]:
    """Height, width and channels as they are given, or else as a model states them.

    Raises:
        UsageError: a side is neither given nor stated, or they contradict each other.

    Example:
        >>> filled_shape((32, None, None), (None, 32, 3), "mine")
        (32, 32, 3)
    """
    given = (None, None, None) if given is None else tuple(given)
    if len(given) != 3:
        return as_input_shape(given)
    sides = [own if wanted is None else wanted for wanted, own in zip(given, stated, strict=True)]
    if None in sides:
        raise UsageError(
            f"{name} takes images of any size: say which, as input_shape in Python or as height and width "
            "in a text"
        )
    if any(own not in (None, side) for side, own in zip(sides, stated, strict=True)):
        raise UsageError(
            f"{name} takes images of height, width and channels {tuple(stated)}, not {tuple(sides)}: if its "
            "channels come first, its layout is nchw, otherwise nhwc"
        )
    return as_input_shape(sides)


def in_fixed_batches(
    function: Callable[[Array], Any], images: Shaped[Array, "n *_"], size: int | None
) -> Any:
    """The results of a function that takes one number of rows only, for any number of rows.

    Args:
        function: of `size` rows; it gives an array with a row for each.
        images: the rows.
        size: None if the function takes any number.

    Example:
        >>> pairs = lambda rows: rows.reshape(2, 3).sum(axis=1)
        >>> in_fixed_batches(pairs, jnp.arange(9).reshape(3, 3), 2).tolist()
        [3, 12, 21]
    """
    count = len(images)
    if size is None or size == count:
        return function(images)
    parts = -(-count // size)
    filled = jnp.pad(images, [(0, parts * size - count)] + [(0, 0)] * (images.ndim - 1))
    results = jax.vmap(function)(filled.reshape(parts, size, *images.shape[1:]))
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:count], results)


def logits_of_labels(labels: Shaped[Array, "n *_"], classes: int) -> Float[Array, "n k"]:
    """Logits that are certain: of confidence 1 for the label, and 0 for all other classes.

    They say which class wins and nothing of how close the others are, and have no gradient. A label that is
    none of the classes gives NaN.

    Args:
        labels: whole numbers from 0 on, one per image.
        classes: how many there are.

    Example:
        >>> jax.nn.softmax(logits_of_labels(jnp.array([1, 0]), 2)).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    if labels.size != len(labels):
        raise UsageError(f"labels must be one number per image, not of the shape {labels.shape}")
    labels = labels.reshape(-1, 1)
    is_label = labels == jnp.arange(classes)
    certain = jnp.where(is_label, 200.0, -200.0).astype(jnp.float32)
    return jnp.where(is_label.any(axis=1, keepdims=True), certain, jnp.nan)


def is_matrix(outputs: Any) -> bool:
    """Whether what a model gives is one array with two axes."""
    return hasattr(outputs, "shape") and len(outputs.shape) == 2


def _probed(
    logits: ModelLogits, params: PyTree, name: str, shape: tuple[int, int, int]
) -> tuple[ModelLogits, Any, Any]:
    """The function with the batch size that the model takes; its program, and the shape of its result."""
    shapes = shapes_of(params, name)
    try:
        return logits, *traced(logits.outputs, name, shape, shapes)
    except UsageError:
        if logits.batch_size is not None:
            raise
        single = replace(logits, batch_size=1)
        try:
            return single, *traced(single.outputs, name, shape, shapes)
        except UsageError:
            pass
        raise


def _require_probabilities(
    logits: ModelLogits, params: PyTree, name: str, shape: tuple[int, int, int]
) -> None:
    """Raise `UsageError` if a model gives something else for noise."""
    noise = jax.random.uniform(jax.random.key(0), (BATCH, *shape))
    found = jax.jit(logits.outputs)(params, noise)
    if not is_matrix(found):
        return
    if float(found.min()) < 0 or float(found.max()) > 1.001:
        raise UsageError(
            f"{name} gives values from {found.min():.3g} to {found.max():.3g}, which are no probabilities: "
            "if they are logits, leave out output='probabilities'"
        )
    total = found.sum(axis=1)
    if logits.activation == "softmax" and float(abs(total - 1).max()) > 0.01:
        raise UsageError(
            f"the probabilities of {name} sum to {total[0]:.3g}, not 1: if each class has a score of its "
            "own, read them as activation='sigmoid'"
        )
