"""One change that fools a classifier on most images, and on images that it was not made for."""

from functools import partial
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.attack import AttackResult, Goal, Untargeted, assess, require_gradient, require_images
from evofool.attacks.deepfool import Norm, cross_boundary
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_not_negative, require_positive, unknown_name


class UniversalResult(NamedTuple):
    """One perturbation for many images.

    Attributes:
        perturbation: to be added to any image; see `add_perturbation`.
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
    fooling_rate: float = 0.8,
    passes: int = 10,
    steps: int = 10,
    overshoot: float = 0.02,
    candidates: int = 10,
    seed: int = 0,
) -> UniversalResult:
    r"""A universal adversarial perturbation (Moosavi-Dezfooli et al., CVPR 2017, algorithm 1).

    The images are visited one after the other, in an order drawn anew for each pass. Where the perturbation v
    so far does not change the class of an image, DeepFool finds the smallest further change that does, and
    the sum is projected back on the ball:

    $$\Delta v_i = \arg\min_r \|r\|_2 \;\text{s.t.}\; \hat{k}(x_i + v + r) \ne \hat{k}(x_i), \quad
    v \leftarrow P_{p, \epsilon}(v + \Delta v_i)$$

    until the share of the images whose class changes is at least `fooling_rate`.

    Args:
        classifier: what to fool.
        images: values in [0, 1]. Their labels are not needed: what counts is that the prediction changes.
        epsilon: the size of the ball (the paper's xi), 0 or more: the most that a pixel changes for "linf"
            (the paper's is 10/255 on ImageNet), or the Euclidean length of the perturbation for "l2".
        norm: "linf" or "l2".
        fooling_rate: where to stop, the paper's 1 - delta, in [0, 1].
        passes: the most passes over the images, at least one.
        steps: the most steps of DeepFool for one image.
        overshoot: of DeepFool.
        candidates: of DeepFool.
        seed: of the orders.

    Raises:
        UsageError: there are no images, they are not in [0, 1] or not of the classifier's size, or a setting
            is out of its range.
        EvofoolError: no image gave a gradient to follow.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (4, 4, 1), ("even", "odd"))
        >>> images = jax.random.uniform(jax.random.key(0), (20, 4, 4, 1))
        >>> result = universal_perturbation(classifier, images, epsilon=0.2, fooling_rate=0.3)
        >>> bool(jnp.abs(result.perturbation).max() <= 0.2), bool(result.attack.success.mean() >= 0.3)
        (True, True)
    """
    require_images(classifier, images, Untargeted(jnp.zeros(len(images), jnp.int32)))
    require_not_negative(epsilon=epsilon, overshoot=overshoot)
    require_positive(passes=passes, steps=steps, candidates=candidates)
    if not 0 <= fooling_rate <= 1:
        raise UsageError(f"fooling_rate must be between 0 and 1, not {fooling_rate}")
    if norm not in get_args(Norm):
        raise unknown_name("norm", norm, get_args(Norm))
    candidates = min(candidates, len(classifier.spec.class_names) - 1)
    result, found = _perturb(
        classifier,
        images,
        (epsilon, overshoot, fooling_rate),
        jax.random.key(seed),
        norm,
        passes,
        steps,
        candidates,
    )
    require_gradient(classifier, found)
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


@partial(jax.jit, static_argnames=("norm", "passes", "steps", "candidates"))
def _perturb(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    settings: tuple[Any, Any, Any],
    key: Key[Array, ""],
    norm: Norm,
    passes: int,
    steps: int,
    candidates: int,
) -> tuple[UniversalResult, Bool[Array, ""]]:
    epsilon, overshoot, enough = settings
    labels = jnp.argmax(classifier.logits(images), axis=1)

    def project(perturbation: Float[Array, "h w c"]) -> Float[Array, "h w c"]:
        if norm == "linf":
            return jnp.clip(perturbation, -epsilon, epsilon)
        length = jnp.sqrt(jnp.square(perturbation).sum())
        return perturbation * jnp.minimum(1, epsilon / jnp.maximum(length, jnp.finfo(length.dtype).tiny))

    def visit(carry: tuple[Array, Array], index: Int[Array, ""]) -> tuple[tuple[Array, Array], None]:
        perturbation, found = carry
        perturbed = jnp.clip(images[index] + perturbation, 0, 1)[None]
        # DeepFool does nothing where the class has changed already, and takes no gradient for it.
        crossed, _, gradient_found = cross_boundary(
            classifier,
            perturbed,
            labels[index][None],
            overshoot,
            norm="l2",
            steps=steps,
            candidates=candidates,
        )
        return (project(perturbation + (crossed - perturbed)[0]), found | gradient_found), None

    def one_pass(carry: Any) -> Any:
        perturbation, rates, found, count = carry
        order = jax.random.permutation(jax.random.fold_in(key, count), len(images))
        (perturbation, found), _ = jax.lax.scan(visit, (perturbation, found), order)
        fooled = jnp.argmax(classifier.logits(jnp.clip(images + perturbation, 0, 1)), axis=1) != labels
        return perturbation, rates.at[count].set(fooled.mean()), found, count + 1

    def unfinished(carry: Any) -> Bool[Array, ""]:
        _, rates, _, count = carry
        return (count < passes) & ((count == 0) | (rates[count - 1] < enough))

    nothing = jnp.zeros(images.shape[1:])
    start = nothing, jnp.full(passes, jnp.nan), jnp.bool_(False), jnp.int32(0)
    perturbation, rates, found, _ = jax.lax.while_loop(unfinished, one_pass, start)
    attack = assess(classifier, images, jnp.clip(images + perturbation, 0, 1), Untargeted(labels))
    return UniversalResult(perturbation, rates, attack), found
