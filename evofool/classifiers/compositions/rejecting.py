"""A classifier that may say that an image is none of its classes."""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from evofool.classifiers.classifier import Activation, Classifier, LogitsFunction
from evofool.classifiers.compositions.composition import composition
from evofool.errors import UsageError, require_share, shown
from evofool.numerics.reductions import fold, logsumexp

REJECTED = "rejected"
"""The name of the further class."""


@composition
def rejecting(classifier: Classifier, threshold: float = 0.9) -> Classifier:
    r"""The classifier with one more class, "rejected", which wins where no other exceeds a threshold.

    Let $p_i$ be the confidences of a softmax, $p$ the largest of them, and $t$ the threshold. The odds of
    rejection are

    $$o = t \cdot \frac{t}{1 - t} \cdot \frac{1 - p}{p}$$

    and the new confidences $o / (1 + o)$ for "rejected" and $p_i / (1 + o)$ for each class: a distribution in
    which the order of the classes is kept. As $o = p$ where $p = t$, "rejected" wins where $p < t$, and the
    class where $p > t$. With ten equally likely classes and $t = 0.9$ it has 98.6%; with $p = 0.999$, 0.8%.

    The scores of sigmoids do not compete. There the logits of the classes stay, and that of "rejected" is the
    largest of them mirrored at the logit of the threshold: $2 \ln (t / (1 - t)) - \max_i z_i$.

    Args:
        classifier: what decides between its classes.
        threshold: the confidence that a class needs, in (0, 1).

    Raises:
        UsageError: a threshold out of range, or a classifier that has a class "rejected" already.

    Example:
        >>> from evofool import load_classifier
        >>> rejecting(load_classifier("lenet-digits"), 0.99).spec.class_names[-2:]
        ('nine', 'rejected')
    """
    require_share(threshold=threshold)
    if threshold in (0, 1):
        raise UsageError(f"threshold must be above 0 and below 1, not {shown(threshold)}")
    spec = classifier.spec
    if REJECTED in spec.class_names:
        raise UsageError(f"{spec.name} has a class {REJECTED!r} already")
    return replace(
        classifier,
        logits_function=_Rejecting(classifier.logits_function, threshold, spec.activation),
        spec=replace(spec, class_names=(*spec.class_names, REJECTED)),
    )


@dataclass(frozen=True)
class _Rejecting:
    inner: LogitsFunction
    threshold: float
    activation: Activation

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        logits = self.inner(params, images)
        log_odds_of_threshold = float(np.log(self.threshold) - np.log1p(-self.threshold))
        largest = fold(jnp.maximum, logits, -jnp.inf)
        if self.activation == "sigmoid":
            return jnp.concatenate([logits, 2 * log_odds_of_threshold - largest], axis=1)
        # ln((1 - p) / p) from the logits of the other classes, which keeps its digits where p is nearly 1.
        is_first = jnp.arange(logits.shape[1]) == logits.argmax(axis=1, keepdims=True)
        others = logsumexp(jnp.where(is_first, -jnp.inf, logits)) - largest
        logarithms = logits - logsumexp(logits)
        rejected = float(np.log(self.threshold)) + log_odds_of_threshold + others
        return jnp.concatenate([logarithms, rejected], axis=1)
