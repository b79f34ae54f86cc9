"""A classifier from a function in JAX."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jaxtyping import Array, PyTree

from evofool.classifiers.checks import BATCH
from evofool.classifiers.classifier import Activation, Classifier, Output, as_input_shape
from evofool.classifiers.frameworks.imported import imported
from evofool.classifiers.frameworks.preprocessing import Preprocessing
from evofool.errors import UsageError


def from_callable(
    function: Callable[..., Any],
    params: PyTree = None,
    *,
    input_shape: Sequence[int],
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    output: Output | None = None,
    activation: Activation | None = None,
    batch_size: int | None = None,
    name: str | None = None,
) -> Classifier:
    """A classifier of a pure function in JAX, whatever library made it.

    Args:
        function: `function(params, images)`, or `function(images)` without `params`. Arrays that such a
            function closes over become the weights; those of a `jax.jit` inside it stay constants of the
            compiled program. Two classifiers share compiled programs if their functions compare equal.
        params: the weights: any pytree of arrays.
        input_shape: height, width and channels of an image, in this order whatever the function's layout.
        class_names: one name per class; numbers from "0" on by default.
        preprocessing: what the function expects of images in [0, 1], by default the images as they are,
            channels last.
        output: "logits", "probabilities" or "labels". By default it is found: probabilities if the function
            ends in a softmax or a sigmoid, else logits.
        activation: read the logits as "softmax" or "sigmoid"; by default sigmoid if the function ends in one.
        batch_size: the only number of images that the function takes. By default any; a function that takes
            one image only is found, and mapped over images.
        name: what the classifier is called; the function's name by default.

    Raises:
        UsageError: the function cannot be compiled, or does not fit what is said of it.

    Example:
        >>> import jax.numpy as jnp
        >>> def model(weights, images):
        ...     return jax.nn.softmax(images.reshape(len(images), -1) @ weights)
        >>> classifier = from_callable(model, jnp.eye(4), input_shape=(2, 2, 1))
        >>> classifier
        Classifier('model', 2x2x1, 4 classes, softmax)
        >>> classifier(jnp.ones((3, 2, 2, 1)))[0].tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    if not callable(function):
        raise UsageError(f"from_callable takes a function of images, not {type(function).__name__}")
    if params is None:
        hoisted = _Hoisted(inspect.unwrap(function))
        function, params = hoisted, hoisted.arrays(as_input_shape(input_shape), preprocessing, batch_size)
    return imported(
        function,
        params,
        name=name or _name(function),
        input_shape=input_shape,
        class_names=class_names,
        preprocessing=preprocessing,
        layout="nhwc",
        output=output,
        activation=activation,
        batch_size=batch_size,
    )


@dataclass(frozen=True)
class _Hoisted:
    """A function of images with the arrays that it closes over as an argument."""

    function: Callable[[Array], Any]

    def __call__(self, params: tuple[Array, ...], images: Array) -> Any:
        program, result = jax.make_jaxpr(self.function, return_shape=True)(images)
        outputs = jax.core.eval_jaxpr(program.jaxpr, params, images)
        return jax.tree.unflatten(jax.tree.structure(result), outputs)

    def arrays(
        self, shape: tuple[int, int, int], preprocessing: Preprocessing | None, batch_size: int | None
    ) -> tuple[Array, ...]:
        """The arrays, in the order in which they are used; none if the function cannot be traced."""
        layout = preprocessing.layout if preprocessing is not None else None
        sides = (shape[2], shape[0], shape[1]) if layout == "nchw" else shape
        for count in (batch_size or BATCH, 1):
            try:
                program = jax.make_jaxpr(self.function)(jax.ShapeDtypeStruct((count, *sides), "float32"))
            except Exception:  # which the constructor meets again, and names
                continue
            return tuple(program.consts)
        return ()


def _name(function: Callable[..., Any]) -> str:
    inner = function.function if isinstance(function, _Hoisted) else function
    name = getattr(inner, "__name__", type(inner).__name__)
    return "function" if name == "<lambda>" else name
