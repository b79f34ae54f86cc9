"""Classifiers from Flax: NNX modules with their state, Linen modules with their variables."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx
from jaxtyping import Array, PyTree

from evofool.classifiers.classifier import Activation, Classifier, Output
from evofool.classifiers.frameworks.imported import ModelFunction, imported
from evofool.classifiers.frameworks.preprocessing import Preprocessing
from evofool.errors import UsageError

_OF_INFERENCE = {
    "train": False,
    "training": False,
    "is_training": False,
    "deterministic": True,
    "use_running_average": True,
}
"""What the arguments that switch between training and inference are called, and what they are."""


def from_flax(
    model: nnx.Module | linen.Module,
    variables: Mapping[str, Any] | None = None,
    *,
    input_shape: Sequence[int],
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    output: Output | None = None,
    activation: Activation | None = None,
    batch_size: int | None = None,
    name: str | None = None,
) -> Classifier:
    """A classifier of a model in Flax, called for inference.

    The model itself is left as it is. Arguments of its `__call__` that are named train, training,
    is_training, deterministic or use_running_average are set for inference.

    Args:
        model: an `nnx.Module`, or a `linen.Module` with `variables`.
        variables: of a Linen module: what `init` returned, or training made of it.
        input_shape: height, width and channels of an image.
        class_names: one name per class; numbers from "0" on by default.
        preprocessing: what the model expects of images in [0, 1]; by default the images as they are.
        output: "logits", "probabilities" or "labels". By default it is found: probabilities if the model ends
            in a softmax or a sigmoid, else logits.
        activation: read the logits as "softmax" or "sigmoid"; by default sigmoid if the model ends in one.
        batch_size: the only number of images that the model takes; by default any.
        name: what the classifier is called; the name of the model's class by default.

    Raises:
        UsageError: the model is no module, or does not fit what is said of it.

    Example:
        >>> model = nnx.Sequential(nnx.Conv(1, 4, (3, 3), rngs=nnx.Rngs(0)), lambda x: x.mean((1, 2)))
        >>> from_flax(model, input_shape=(8, 8, 1), name="bars")
        Classifier('bars', 8x8x1, 4 classes, softmax)
    """
    function: ModelFunction
    if isinstance(model, nnx.Module):
        if variables is not None:
            raise UsageError("an nnx.Module has its own state: pass variables with a linen.Module only")
        function, params = _of_nnx(model)
    elif isinstance(model, linen.Module):
        function, params = _of_linen(model, variables)
    else:
        raise UsageError(f"from_flax takes an nnx.Module or a linen.Module, not {type(model).__name__}")
    return imported(
        function,
        params,
        name=name or type(model).__name__,
        input_shape=input_shape,
        class_names=class_names,
        preprocessing=preprocessing,
        layout="nhwc",
        output=output,
        activation=activation,
        batch_size=batch_size,
    )


def _of_nnx(model: nnx.Module) -> tuple["_NNX", PyTree]:
    inference = nnx.clone(model)
    inference.eval()
    graphdef, state = nnx.split(inference)
    leaves, structure = jax.tree.flatten(state)
    # Keys of random numbers have no bytes, which the digest of the weights needs.
    keys = {
        number: str(jax.random.key_impl(leaf))
        for number, leaf in enumerate(leaves)
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    }
    leaves = [jax.random.key_data(leaf) if number in keys else leaf for number, leaf in enumerate(leaves)]
    function = _NNX(graphdef, tuple(keys.items()), _of_inference(type(model).__call__))
    return function, jax.tree.unflatten(structure, leaves)


def _of_linen(model: linen.Module, variables: Mapping[str, Any] | None) -> tuple["_Linen", PyTree]:
    if variables is None:
        if model.scope is None:
            raise UsageError("a linen.Module has no weights of its own: pass its variables as well")
        model, variables = model.unbind()
    try:
        hash(model)
        key: Any = model
    except TypeError:  # of a list among its attributes, say
        key = id(model)
    return _Linen(model, key, _of_inference(type(model).__call__)), dict(variables)


@dataclass(frozen=True)
class _NNX:
    graphdef: nnx.GraphDef
    keys: tuple[tuple[int, str], ...]
    options: tuple[tuple[str, bool], ...]

    def __call__(self, params: PyTree, images: Array) -> Any:
        leaves, structure = jax.tree.flatten(params)
        for number, implementation in self.keys:
            leaves[number] = jax.random.wrap_key_data(leaves[number], impl=implementation)
        model = nnx.merge(self.graphdef, jax.tree.unflatten(structure, leaves))
        return model(images, **dict(self.options))


@dataclass(frozen=True)
class _Linen:
    model: linen.Module = field(compare=False)
    key: Any
    options: tuple[tuple[str, bool], ...]

    def __call__(self, params: PyTree, images: Array) -> Any:
        options: dict[str, Any] = dict(self.options)
        return self.model.apply(params, images, **options)


def _of_inference(call: Any) -> tuple[tuple[str, bool], ...]:
    """The arguments of a model that make it one for inference."""
    names = inspect.signature(call).parameters
    return tuple((name, value) for name, value in _OF_INFERENCE.items() if name in names)
