"""What a classifier's function must be: mistakes that tracing it finds, each with a sentence of its own."""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr
from jaxtyping import PyTree

from evofool.errors import EvofoolError, UsageError, shown

Ending = Literal["softmax", "sigmoid"]
"""What a model's last step turns its scores into."""

BATCH = 5
"""How many images a function is traced with: a number that no axis of theirs is likely to have."""

_LONGEST_CAUSE = 200
_UNCHANGING = (
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "reshape",
    "slice",
    "squeeze",
    "stop_gradient",
)
"""Steps after which a probability is still one."""


def shapes_of(params: PyTree, name: str) -> PyTree:
    """The shapes and types of a classifier's weights.

    Args:
        params: the weights.
        name: of the classifier, for the error.

    Raises:
        UsageError: one of them is no array.

    Example:
        >>> shapes_of({"kernel": np.zeros((3, 2), np.float32)}, "mine")
        {'kernel': ShapeDtypeStruct(shape=(3, 2), dtype=float32)}
    """

    def shape_of(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
        try:
            return jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"params{jax.tree_util.keystr(path)} of {name} is {type(leaf).__name__} {shown(repr(leaf))}, "
                "not an array: weights are arrays of numbers, everything else belongs to the function"
            ) from error

    return jax.tree_util.tree_map_with_path(shape_of, params)


def require_logits(
    function: Callable[..., Any],
    params: PyTree,
    *,
    name: str,
    input_shape: tuple[int, int, int],
    classes: int,
    activation: str,
) -> None:
    """Raise `UsageError` unless a function gives one logit per image and class.

    Args:
        function: `function(params, images)`.
        params: the weights, or their shapes.
        name: of the classifier, for the error.
        input_shape: height, width and channels of an image.
        classes: how many logits there should be.
        activation: how they are read.
    """
    leaves, structure = jax.tree.flatten(shapes_of(params, name))
    try:
        hash(function)
    except TypeError as error:
        raise UsageError(
            f"the logits function of {name} must be hashable, so that what is compiled for it is found "
            "again: use a function or a frozen dataclass, with arrays in params"
        ) from error
    result, ending = _result(function, name, input_shape, tuple(leaves), structure)
    if result.shape != (BATCH, classes):
        raise UsageError(
            f"the logits of {name} for {BATCH} images must have the shape {(BATCH, classes)}, one per class "
            f"name, not {result.shape}"
        )
    if ending is not None:
        others = classes - 1 if activation == "softmax" else 1
        raise UsageError(
            f"the logits function of {name} ends in a {ending}, so it gives probabilities, and no confidence "
            f"could exceed {np.e / (np.e + others):.2%}: return what the {ending} is given, or use "
            "evofool.from_callable, which turns probabilities into logits"
        )


@functools.lru_cache(maxsize=64)
def _result(
    function: Callable[..., Any],
    name: str,
    input_shape: tuple[int, int, int],
    leaves: tuple[jax.ShapeDtypeStruct, ...],
    structure: jax.tree_util.PyTreeDef,
) -> tuple[Any, Ending | None]:
    """The shape of the logits and the last step; remembered, because tracing a large network takes 0.2 s."""
    program, result = traced(function, name, input_shape, jax.tree.unflatten(structure, leaves))
    require_matrix(result, name)
    return result, ending_of(program)


def traced(
    function: Callable[..., Any], name: str, input_shape: tuple[int, ...], params: PyTree, count: int = BATCH
) -> tuple[ClosedJaxpr, Any]:
    """The program of a function of weights and images, and the shape of its result.

    Args:
        function: `function(params, images)`.
        name: of the classifier, for the error.
        input_shape: of an image.
        params: the weights, or their shapes.
        count: of images.

    Raises:
        UsageError: the function cannot be traced.
    """
    images = jax.ShapeDtypeStruct((count, *input_shape), jnp.float32)
    try:
        program, result = jax.make_jaxpr(function, return_shape=True)(params, images)
    except EvofoolError:
        raise
    except jax.errors.TracerArrayConversionError as error:
        raise UsageError(
            f"the function of {name} hands its images to NumPy, or to a library that uses NumPy, and cannot "
            "be compiled: compute with jax.numpy, or let it be asked as an evofool.BlackBox"
        ) from error
    except jax.errors.ConcretizationTypeError as error:
        raise UsageError(
            f"the function of {name} asks for the value of a pixel and cannot be compiled: choose with "
            "jax.numpy.where or jax.lax.cond"
        ) from error
    except Exception as error:
        raise UsageError(
            f"the function of {name} fails for {count} images of the shape {tuple(input_shape)}: "
            f"{cause(error)}. It must take any number of images; to one of a fixed number, "
            "evofool.from_callable is told its batch_size"
        ) from error
    return program, result


def require_matrix(result: Any, name: str) -> None:
    """Raise `UsageError` unless a result is one matrix of floats."""
    if not hasattr(result, "shape"):
        raise UsageError(
            f"the function of {name} returns a {type(result).__name__}, not an array: return the logits alone"
        )
    if not jnp.issubdtype(result.dtype, jnp.floating):
        raise UsageError(
            f"the function of {name} returns numbers of type {result.dtype}, not logits. If these are "
            "labels, evofool.from_callable takes output='labels'"
        )
    if len(result.shape) == 1:
        raise UsageError(
            f"the function of {name} returns a vector, one number per image, and not a matrix of one per "
            "image and class: of a score s of the second of two classes, return "
            "jnp.stack([-s / 2, s / 2], axis=1)"
        )


def ending_of(program: ClosedJaxpr) -> Ending | None:
    """Whether a program ends in a softmax or a sigmoid; None if it ends in neither.

    Example:
        >>> ending_of(jax.make_jaxpr(lambda scores: jax.nn.softmax(2 * scores))(jnp.zeros((1, 3))))
        'softmax'
        >>> ending_of(jax.make_jaxpr(jax.nn.log_softmax)(jnp.zeros((1, 3)))) is None
        True
    """
    scope = _Scope(program.jaxpr)
    last = scope.step(program.jaxpr.outvars[0])
    if last is None:
        return None
    scope, equation = last
    if equation.primitive.name == "logistic":
        return "sigmoid"
    if equation.primitive.name != "div":
        return None
    above, below = map(scope.step, equation.invars)
    if above is None or below is None or above[1].primitive.name != "exp":
        return None
    inner, total = below
    if total.primitive.name != "reduce_sum":
        return None
    terms = inner.step(total.invars[0])
    return "softmax" if terms is not None and terms[1].primitive.name == "exp" else None


class _Scope:
    """The steps of a program by what they compute."""

    def __init__(self, jaxpr: Any) -> None:
        self._steps = {output: equation for equation in jaxpr.eqns for output in equation.outvars}

    def step(self, variable: Any) -> "tuple[_Scope, Any] | None":
        """The step that computed a variable, behind those that do not change values; and where it is."""
        equation = None if hasattr(variable, "val") else self._steps.get(variable)
        if equation is None:
            return None
        if equation.primitive.name in _UNCHANGING:
            return self.step(equation.invars[0])
        called = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        if called is None or len(equation.outvars) != 1:
            return self, equation
        inner = getattr(called, "jaxpr", called)
        return _Scope(inner).step(inner.outvars[0])


def cause(error: BaseException) -> str:
    """An exception in one line of bounded length."""
    text = " ".join(str(error).split())
    text = text if len(text) <= _LONGEST_CAUSE else f"{text[: _LONGEST_CAUSE - 3]}..."
    return f"{type(error).__name__}: {text}".rstrip(".: ")
