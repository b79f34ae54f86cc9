"""One change that fools a classifier on most images, and on images that it was not made for."""

from functools import partial
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.attack import (
    AttackResult,
    Goal,
    Untargeted,
    assess,
    require_gradient,
    require_images,
    result_of,
)
from evofool.attacks.deepfool import Norm, cross_boundary
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_not_negative, require_positive, require_seed, unknown_name

Improvement = Literal["gradient", "deepfool"]
"""How a perturbation is improved: by the gradient of the loss on a batch of images, or by DeepFool on one."""

# An image whose class has less than exp(-3) = 5 % is fooled, and pulls no longer.
_ENOUGH_LOSS = 3.0
# A step of the gradient, as a share of the ball's size.
_STEP = 0.1


class UniversalResult(NamedTuple):
    """One perturbation for many images.

    Attributes:
        perturbation: to be added to any image (see `add_perturbation`), after the pass that left the highest
            fooling rate.
        fooling_rates: the share of the images whose class it changes, after each pass over them; nan for
            passes that were not needed.
        attack: what it does to the images that it was made from, away from their predicted classes.
    """

    perturbation: Float[Array, "h w c"]
    fooling_rates: Float[Array, " passes"]
    attack: AttackResult


def universal_perturbation(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    *,
    epsilon: float,
    norm: Norm = "linf",
    improvement: Improvement = "gradient",
    fooling_rate: float = 0.8,
    passes: int = 20,
    batch_size: int = 50,
    steps: int = 10,
    overshoot: float = 0.02,
    candidates: int = 10,
    seed: int = 0,
) -> UniversalResult:
    r"""A universal adversarial perturbation (Moosavi-Dezfooli et al., CVPR 2017).

    The images are visited in an order drawn anew for each pass, until the share whose class changes is at
    least `fooling_rate`. By "deepfool" (their algorithm 1) they are visited one after the other: where the
    perturbation v so far does not change the class, DeepFool finds the smallest further change that does, and
    the sum is projected back on the ball:

    $$\Delta v_i = \arg\min_r \|r\|_2 \;\text{s.t.}\; \hat{k}(x_i + v + r) \ne \hat{k}(x_i), \quad
    v \leftarrow P_{p, \epsilon}(v + \Delta v_i)$$

    By "gradient" (Shafahi et al., "Universal adversarial training", AAAI 2020), a batch at a time:

    $$v \leftarrow P_{p, \epsilon}\Big(v + \alpha \, \text{sign} \nabla_v
    \sum_i \min(-\log p_{\hat{k}(x_i)}(x_i + v), \beta)\Big)$$

    with alpha a tenth of epsilon and beta 3; for "l2" the gradient is scaled to the length alpha instead. The
    changes that DeepFool finds for images of ten digits point ten ways and undo each other, so that on MNIST
    the second is far stronger, and it takes one gradient for each image where DeepFool takes `candidates` for
    each of its steps. Where a thousand classes have a few that most images can be pushed into, both work.

    Args:
        classifier: what to fool.
        images: values in [0, 1]. Their labels are not needed: what counts is that the prediction changes.
        epsilon: the size of the ball (the paper's xi), 0 or more: the most that a pixel changes for "linf"
            (the paper's is 10/255 on ImageNet), or the Euclidean length of the perturbation for "l2".
        norm: "linf" or "l2".
        improvement: "gradient" or "deepfool".
        fooling_rate: where to stop, the paper's 1 - delta, in [0, 1].
        passes: the most passes over the images, at least one.
        batch_size: how many images the gradient is taken of at once; also how many are classified at once.
        steps: the most steps of DeepFool for one image.
        overshoot: of DeepFool.
        candidates: of DeepFool.
        seed: of the orders.

    Raises:
        UsageError: there are no images, they are not in [0, 1] or not of the classifier's size, or a setting
            is out of its range.
        NoGradientError: no image gave a gradient to follow.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (4, 4, 1), ("even", "odd"))
        >>> images = jax.random.uniform(jax.random.key(0), (20, 4, 4, 1))
        >>> result = universal_perturbation(classifier, images, epsilon=0.2, fooling_rate=0.3)
        >>> bool(jnp.abs(result.perturbation).max() <= 0.2), bool(result.attack.success.mean() >= 0.3)
        (True, True)
    """
    require_images(classifier, images, Untargeted(jnp.zeros(len(images), jnp.int32)))
    require_seed(seed)
    require_not_negative(epsilon=epsilon, overshoot=overshoot)
    require_positive(passes=passes, batch_size=batch_size, steps=steps, candidates=candidates)
    if not 0 <= fooling_rate <= 1:
        raise UsageError(f"fooling_rate must be between 0 and 1, not {fooling_rate}")
    if norm not in get_args(Norm):
        raise unknown_name("norm", norm, get_args(Norm))
    if improvement not in get_args(Improvement):
        raise unknown_name("improvement", improvement, get_args(Improvement))
    result, found = _perturb(
        classifier,
        images,
        (epsilon, overshoot, fooling_rate),
        jax.random.key(seed),
        norm,
        improvement,
        passes,
        min(batch_size, len(images)),
        steps,
        min(candidates, len(classifier.spec.class_names) - 1),
    )
    require_gradient(classifier, found, result.attack)
    return result


def add_perturbation(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    perturbation: Float[Array, "*n h w c"],
) -> AttackResult:
    """Add a perturbation to images, whichever they are, and look what a classifier makes of them.

    Args:
        classifier: what to fool; it need not be the one that the perturbation was made for.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`. With the predicted classes as labels, the share of
            successes is the paper's fooling rate.
        perturbation: one for all images or one for each, added before the sum is clipped to [0, 1].

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> goal = Untargeted(jnp.array([0]))
        >>> result = add_perturbation(classifier, jnp.zeros((1, 2, 2, 1)), goal, jnp.full((2, 2, 1), 0.25))
        >>> result.distortion.tolist()
        [0.25]
    """
    require_images(classifier, images, goal)
    return _add(classifier, images, goal, perturbation)


@jax.jit
def _add(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    perturbation: Float[Array, "*n h w c"],
) -> AttackResult:
    return assess(classifier, images, jnp.clip(images + perturbation, 0, 1), goal)


@partial(jax.jit, static_argnums=range(4, 10))
def _perturb(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    settings: tuple[Any, Any, Any],
    key: Key[Array, ""],
    norm: Norm,
    improvement: Improvement,
    passes: int,
    batch_size: int,
    steps: int,
    candidates: int,
) -> tuple[UniversalResult, Bool[Array, ""]]:
    epsilon, overshoot, enough = settings
    count = len(images)

    def logits_of(images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        """In batches, so that memory does not depend on how many there are."""
        batches = jnp.resize(jnp.arange(count), (-(-count // batch_size), batch_size))
        logits = jax.lax.map(lambda batch: classifier.logits(images[batch]), batches)
        return logits.reshape(-1, logits.shape[-1])[:count]

    logits_before = logits_of(images)
    labels = jnp.argmax(logits_before, axis=1)

    def project(perturbation: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        if norm == "linf":
            return jnp.clip(perturbation, -epsilon, epsilon)
        return perturbation * jnp.minimum(1, epsilon / _length(perturbation))

    def by_deepfool(carry: tuple[Array, Array], visited: Int[Array, " 1"]) -> tuple[Any, None]:
        perturbation, found = carry
        perturbed = jnp.clip(images[visited] + perturbation, 0, 1)
        # DeepFool does nothing where the class has changed already, and takes no gradient for it.
        crossed, _, gradient_found = cross_boundary(
            classifier, perturbed, labels[visited], overshoot, norm="l2", steps=steps, candidates=candidates
        )
        return (project(perturbation + (crossed - perturbed)[0]), found | gradient_found), None

    def by_gradient(carry: tuple[Array, Array], visited: Int[Array, " b"]) -> tuple[Any, None]:
        perturbation, found = carry

        def loss(perturbation: Float[Array, "h w c"]) -> Float[Array, ""]:
            logits = classifier.logits(jnp.clip(images[visited] + perturbation, 0, 1))
            losses = -jax.nn.log_sigmoid(-Untargeted(labels[visited]).objective(classifier, logits))
            return jnp.minimum(losses, _ENOUGH_LOSS).sum()

        gradient = jax.grad(loss)(perturbation)
        direction = jnp.sign(gradient) if norm == "linf" else gradient / _length(gradient)
        return (project(perturbation + _STEP * epsilon * direction), found | gradient.any()), None

    visit, together = (by_deepfool, 1) if improvement == "deepfool" else (by_gradient, batch_size)

    def one_pass(carry: Any) -> Any:
        perturbation, best, rates, found, number = carry
        order = jax.random.permutation(jax.random.fold_in(key, number), count)
        # The last batch is filled up with the first images.
        visits = jnp.resize(order, (-(-count // together), together))
        (perturbation, found), _ = jax.lax.scan(visit, (perturbation, found), visits)
        fooled = jnp.argmax(logits_of(jnp.clip(images + perturbation, 0, 1)), axis=1) != labels
        better = ~(fooled.mean() <= jnp.nanmax(rates, initial=-1))
        best = jnp.where(better, perturbation, best)
        return perturbation, best, rates.at[number].set(fooled.mean()), found, number + 1

    def unfinished(carry: Any) -> Bool[Array, ""]:
        _, _, rates, _, number = carry
        return (number < passes) & ((number == 0) | (rates[number - 1] < enough))

    nothing = jnp.zeros(images.shape[1:])
    start = nothing, nothing, jnp.full(passes, jnp.nan), jnp.bool_(False), jnp.int32(0)
    _, best, rates, found, _ = jax.lax.while_loop(unfinished, one_pass, start)
    attacked = jnp.clip(images + best, 0, 1)
    attack = result_of(classifier, Untargeted(labels), images, attacked, logits_before, logits_of(attacked))
    return UniversalResult(best, rates, attack), found


def _length(array: Float[Array, "h w c"]) -> Float[Array, ""]:
    """The Euclidean length, never below what may be divided by."""
    return jnp.maximum(jnp.sqrt(jnp.square(array).sum()), jnp.finfo(array.dtype).tiny)
