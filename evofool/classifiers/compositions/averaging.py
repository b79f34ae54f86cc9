"""The mean of several confidences, and gradients that are passed through steps."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evofool.classifiers.classifier import Activation
from evofool.numerics.reductions import logsumexp


def logits_of_mean(logits: Float[Array, "m n k"], activation: Activation) -> Float[Array, "n k"]:
    """The logits of the mean confidence, computed from logarithms alone to keep digits near 0 and near 1.

    Args:
        logits: several of each image and class.
        activation: how they become confidences; for a softmax, any constant may be added to the result.

    Example:
        >>> logits_of_mean(jnp.log(jnp.array([[[0.9, 0.1]], [[0.5, 0.5]]])), "softmax").shape
        (1, 2)
    """

    def total(logarithms: Float[Array, "m n k"]) -> Float[Array, "n k"]:
        return logsumexp(jnp.moveaxis(logarithms, 0, -1))[..., 0]

    if activation == "softmax":
        return total(logits - logsumexp(logits))
    return total(jax.nn.log_sigmoid(logits)) - total(jax.nn.log_sigmoid(-logits))


@jax.custom_jvp
def straight_through(value: Float[Array, "*shape"], smooth: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """A value with the gradient of another one, for a step that has none of its own.

    Y. Bengio, N. Léonard & A. Courville, "Estimating or Propagating Gradients Through Stochastic Neurons for
    Conditional Computation", 2013, section 4: the straight-through estimator.

    Example:
        >>> float(jax.grad(lambda x: straight_through(jnp.round(x), 3 * x))(1.2))
        3.0
    """
    return value


@straight_through.defjvp
def _tangent_of_smooth(primals: Any, tangents: Any) -> Any:
    return primals[0], tangents[1]
