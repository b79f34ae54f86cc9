"""Another precision of what a network computes."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from evofool.classifiers.classifier import Classifier, LogitsFunction
from evofool.classifiers.compositions.composition import composition
from evofool.errors import require_choice
from evofool.numerics.platform import name_of_tensorfloat32

Precision = Literal["float32", "tensorfloat32", "bfloat16"]
"""Of matrix products and convolutions; in bfloat16 of everything that a network computes."""


@composition
def with_precision(classifier: Classifier, precision: Precision) -> Classifier:
    """The classifier computed in less than float32, which is faster on an accelerator.

    In "tensorfloat32" weights stay in single precision, and accelerators round the operands of matrix
    products and convolutions to eleven bits; a CPU computes in float32. In "bfloat16" the weights, and so the
    layers, have eight bits. Images and logits stay in single precision, so neither is rounded to these.

    Raises:
        UsageError: an unknown precision.

    Example:
        >>> from evofool import load_classifier
        >>> with_precision(load_classifier("lenet-digits"), "bfloat16").params["fc2"]["kernel"].dtype
        dtype(bfloat16)
    """
    require_choice(get_args(Precision), precision=precision)
    if precision == "float32":
        return classifier
    if precision == "tensorfloat32":
        return replace(classifier, logits_function=_TensorFloat32(classifier.logits_function))

    def convert(leaf: Array) -> Array:
        return leaf.astype(precision) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return replace(classifier, params=jax.tree.map(convert, classifier.params))


@dataclass(frozen=True)
class _TensorFloat32:
    inner: LogitsFunction

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        with jax.default_matmul_precision(name_of_tensorfloat32()):
            return self.inner(params, images)
