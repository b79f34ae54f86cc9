"""The shortest way over the nearest decision boundary, taken as if the classifier were linear."""

from functools import partial
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import (
    AttackResult,
    Untargeted,
    require_gradient,
    require_images,
    result_of,
)
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_not_negative, require_positive, unknown_name

Norm = Literal["l2", "linf"]
"""How the size of a change is measured: its Euclidean length, or its largest value."""

# Keeps a step from ending on the boundary itself, where float32 decides; Foolbox adds the same.
_BEYOND_BOUNDARY = 1e-4


def deepfool(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    *,
    norm: Norm = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
) -> AttackResult:
    r"""DeepFool (Moosavi-Dezfooli, Fawzi & Frossard, CVPR 2016, algorithm 2).

    With the logits f, the label y and `w_k = grad f_k - grad f_y`, each step goes to the nearest boundary of
    the linearised classifier:

    $$\hat{l} = \arg\min_{k \ne y} \frac{|f_k(x) - f_y(x)|}{\|w_k\|_q}, \quad
    r = \frac{|f_{\hat{l}} - f_y|}{\|w_{\hat{l}}\|_2^2} w_{\hat{l}} \;\text{(L2, q = 2)}, \quad
    r = \frac{|f_{\hat{l}} - f_y|}{\|w_{\hat{l}}\|_1} \text{sign}(w_{\hat{l}}) \;\text{(L-infinity, q = 1)}$$

    and the image is `clip(x_0 + (1 + overshoot) * (sum of all r))`. An image that is no longer classified as
    its label is left as it is.

    Args:
        classifier: what to fool.
        images: values in [0, 1].
        labels: the class that each image is to leave, as an index. The paper takes the predicted one.
        norm: "l2" or "linf", the size that is to be small.
        steps: the most steps that an image may take, at least one.
        overshoot: how far to go beyond the boundary; the paper's is 0.02.
        candidates: the classes that are looked at, the likeliest first; at least one. The paper's is 10.

    Returns:
        The attacked images and after how many steps each had left its label. There is no trajectory.

    Raises:
        UsageError: there are no images, they are not in [0, 1] or not of the classifier's size, there is not
            one label for each, the classifier lacks one or has only one class, or a setting is out of range.
        NoGradientError: the gradient is zero at every image.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((1, 2, 2, 1), 0.5)
        >>> label = jnp.argmax(classifier(images), axis=1)
        >>> result = deepfool(classifier, images, label)
        >>> result.success.tolist(), result.first_step.tolist()
        ([True], [1])
    """
    goal = Untargeted(labels)
    require_images(classifier, images, goal)
    require_positive(steps=steps, candidates=candidates)
    require_not_negative(overshoot=overshoot)
    if norm not in get_args(Norm):
        raise unknown_name("norm", norm, get_args(Norm))
    candidates = min(candidates, len(classifier.spec.class_names) - 1)
    result, found = _attack(classifier, images, goal, overshoot, norm, steps, candidates)
    require_gradient(classifier, found, result)
    return result


@partial(jax.jit, static_argnames=("norm", "steps", "candidates"))
def _attack(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Untargeted,
    overshoot: float | Float[Array, ""],
    norm: Norm,
    steps: int,
    candidates: int,
) -> tuple[AttackResult, Bool[Array, ""]]:
    logits_before = classifier.logits(images)
    attacked, taken, found = cross_boundary(
        classifier, images, goal.labels, overshoot, norm=norm, steps=steps, candidates=candidates
    )
    logits = classifier.logits(attacked)
    result = result_of(classifier, goal, images, attacked, logits_before, logits)
    return result._replace(first_step=jnp.where(result.success, taken, -1)), found


def cross_boundary(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    overshoot: float | Float[Array, ""],
    *,
    norm: Norm,
    steps: int,
    candidates: int,
) -> tuple[Float[Array, "n h w c"], Int[Array, " n"], Bool[Array, ""]]:
    """DeepFool without its checks, to be part of another compiled function.

    Returns:
        The images beyond the boundary, the steps that each took, and whether there was any gradient.
    """
    logits = classifier.logits(images)
    rows = jnp.arange(len(labels))
    nearest = jax.lax.top_k(logits.at[rows, labels].set(-jnp.inf), candidates)[1]

    def unfinished(carry: Any) -> Bool[Array, ""]:
        _, _, _, done, _, count = carry
        return (count < steps) & ~done.all()

    def step(carry: Any) -> Any:
        attacked, change, taken, done, found, count = carry
        logits, pull_back = jax.vjp(classifier.logits, attacked)

        def difference(candidate: Int[Array, " n"]) -> tuple[Array, Array]:
            cotangent = jnp.zeros_like(logits).at[rows, candidate].add(1).at[rows, labels].add(-1)
            return logits[rows, candidate] - logits[rows, labels], pull_back(cotangent)[0]

        f, w = jax.vmap(difference)(nearest.T)
        dual = jnp.sqrt(jnp.square(w).sum(axis=(2, 3, 4))) if norm == "l2" else jnp.abs(w).sum(axis=(2, 3, 4))
        flat = dual == 0
        distance = jnp.where(flat, jnp.inf, jnp.abs(f) / jnp.where(flat, 1, dual))
        closest = jnp.argmin(distance, axis=0)
        w, dual, distance = w[closest, rows], dual[closest, rows], distance[closest, rows]
        length = jnp.where(jnp.isfinite(distance), distance + _BEYOND_BOUNDARY, 0)[:, None, None, None]
        direction = w / jnp.maximum(dual, jnp.finfo(dual.dtype).tiny)[:, None, None, None]
        change = change + length * (direction if norm == "l2" else jnp.sign(w))
        moved = jnp.clip(images + (1 + overshoot) * change, 0, 1)
        attacked = jnp.where(done[:, None, None, None], attacked, moved)
        taken = taken + ~done
        done = jnp.argmax(classifier.logits(attacked), axis=1) != labels
        return attacked, change, taken, done, found | ~flat.all(), count + 1

    done = jnp.argmax(logits, axis=1) != labels
    none = jnp.zeros(len(labels), jnp.int32)
    # Where every image has left its label already, no gradient is looked for and none is missed.
    start = images, jnp.zeros_like(images), none, done, done.all(), jnp.int32(0)
    attacked, _, taken, _, found, _ = jax.lax.while_loop(unfinished, step, start)
    return attacked, taken, found
