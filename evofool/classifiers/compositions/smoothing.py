"""Randomised smoothing."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from evofool.classifiers.classifier import Activation, Classifier, LogitsFunction
from evofool.classifiers.compositions.averaging import logits_of_mean
from evofool.classifiers.compositions.composition import composition
from evofool.errors import require_positive, require_seed


@composition
def smoothed(classifier: Classifier, sigma: float = 0.25, samples: int = 16, seed: int = 0) -> Classifier:
    r"""The classifier whose confidence is the mean over Gaussian noise that is added to the image.

    J. Cohen, E. Rosenfeld & Z. Kolter, "Certified Adversarial Robustness via Randomized Smoothing", ICML
    2019: their equation (1) counts the classes predicted for $x + \mathcal{N}(0, \sigma^2 I)$; the mean of
    the confidences has a gradient. All images get the same noise, which the seed determines, and noisy
    images are clipped to [0, 1].

    Args:
        classifier: what sees the noisy images.
        sigma: the standard deviation of the noise, where pixels are in [0, 1].
        samples: how many noisy images make the mean. They are classified one after the other, so that more
            take more time but no more memory.
        seed: of the noise.

    Raises:
        UsageError: a standard deviation or a number of samples that is not above zero, or a seed of more than
            32 bits.

    Example:
        >>> from evofool import load_classifier
        >>> smoothed(load_classifier("lenet-digits"), 0.1, samples=4).spec.name
        'smoothed(lenet-digits, sigma=0.1, samples=4)'
    """
    require_positive(sigma=sigma, samples=samples)
    require_seed(seed)
    function = _Smoothed(classifier.logits_function, sigma, samples, seed, classifier.spec.activation)
    return replace(classifier, logits_function=function)


@dataclass(frozen=True)
class _Smoothed:
    inner: LogitsFunction
    sigma: float
    samples: int
    seed: int
    activation: Activation

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        # A gradient computes each sample again instead of keeping the layers of all.
        @jax.checkpoint
        def seen(sample: Int[Array, ""]) -> Float[Array, "n k"]:
            key = jax.random.fold_in(jax.random.key(self.seed), sample)
            noise = self.sigma * jax.random.normal(key, images.shape[1:], jnp.float32)
            # Computed once, not again for each image by whatever instructions suit the batch.
            noise = jax.lax.optimization_barrier(noise)
            return self.inner(params, jnp.clip(images + noise, 0, 1))

        return logits_of_mean(jax.lax.map(seen, jnp.arange(self.samples)), self.activation)
