"""A classifier in another precision: less exact, and on an accelerator faster."""

from dataclasses import replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array

from evofool.classifiers.classifier import Classifier
from evofool.errors import unknown_name

Precision = Literal["float32", "bfloat16"]
"""What the weights are kept in; evofool's networks compute in the precision of their weights."""


def with_precision(classifier: Classifier, precision: Precision) -> Classifier:
    """The classifier with its weights, and so its layers, in "float32" or in "bfloat16".

    Images come and logits leave in single precision, so that neither levels nor logits are rounded to the
    eight bits of a bfloat16 on the way.

    Raises:
        UsageError: an unknown precision.

    Example:
        >>> from evofool import load_classifier
        >>> with_precision(load_classifier("lenet-digits"), "bfloat16").params["fc2"]["kernel"].dtype
        dtype(bfloat16)
    """
    if precision not in get_args(Precision):
        raise unknown_name("precision", precision, get_args(Precision))
    if precision == "float32":
        return classifier

    def convert(leaf: Array) -> Array:
        return leaf.astype(precision) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return replace(classifier, params=jax.tree.map(convert, classifier.params))
