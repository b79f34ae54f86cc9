"""Dropout, for training: a function from classifier to classifier."""

from dataclasses import dataclass, replace

from flax import nnx
from jaxtyping import Array, Float, Key, PyTree

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.networks import Dropout, NetworkLogits, dropout_layers, network_of
from evofool.errors import UsageError, shown


def with_dropout(classifier: Classifier, rate: float, key: Key[Array, ""]) -> Classifier:
    """The classifier with hidden units dropped at random, as they are while it is trained.

    Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", JMLR 15, 2014.
    Every input of a fully connected layer but the pixels is zero with the given probability, and divided by
    that of being kept otherwise: other units for each image of a batch.

    Args:
        classifier: one of evofool's networks.
        rate: the probability, at least 0 and below 1.
        key: decides which units are dropped; the same in every call of the result.

    Returns:
        A classifier whose `params` are the weights and the key.

    Raises:
        UsageError: the classifier is no network of evofool with hidden units, or a rate outside [0, 1).

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from evofool import load_classifier
        >>> digits, blank = load_classifier("lenet-digits"), jnp.zeros((1, 28, 28, 1))
        >>> dropped = [with_dropout(digits, 0.5, jax.random.key(seed)).logits(blank) for seed in (0, 0, 1)]
        >>> bool((dropped[0] == dropped[1]).all()), bool((dropped[0] == dropped[2]).all())
        (True, False)
    """
    require_dropout(classifier, rate)
    function = _WithDropout(classifier.logits_function, rate)  # type: ignore[arg-type]
    return replace(classifier, params=(classifier.params, key), logits_function=function)


def require_dropout(classifier: Classifier, rate: float) -> None:
    """Raise `UsageError` unless `with_dropout` takes these."""
    if not 0 <= rate < 1:
        raise UsageError(f"dropout must be at least 0 and below 1, not {shown(rate)}")
    network = network_of(classifier)
    if not dropout_layers(nnx.merge(classifier.logits_function.graphdef, classifier.params)):  # type: ignore[attr-defined]
        raise UsageError(f"{network} has no hidden units that could be dropped")


@dataclass(frozen=True)
class _WithDropout:
    inner: NetworkLogits
    rate: float

    def __call__(
        self, params: tuple[PyTree, Key[Array, ""]], images: Float[Array, "n h w c"]
    ) -> Float[Array, "n k"]:
        weights, key = params
        return self.inner(weights, images, Dropout(self.rate, key))
