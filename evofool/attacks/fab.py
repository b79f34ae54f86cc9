"""The fast adaptive boundary attack: small changes, between the image and the boundary."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from evofool.attacks.attack import AttackResult, in_parts, require_attackable, result_of, unattacked
from evofool.attacks.balls import CommonNorm, lengths, of_rows
from evofool.attacks.goals import Goal, Untargeted, likeliest_others
from evofool.attacks.options import AttackOptions
from evofool.classifiers.classifier import Classifier
from evofool.errors import UsageError, require_choice, require_positive
from evofool.numerics.rows import where_rows

_TINY = 1e-12
_LEAST_SIZE = 1e-8


@dataclass(frozen=True)
class FABOptions(AttackOptions):
    """The norm and the limits of FAB.

    Attributes:
        norm: the size to keep small: linf, the largest change of a value, or l2, its Euclidean length.
        steps: the number of steps towards each class, at least one.
        targets: towards how many of the likeliest other classes, at least one.
        overshoot: eta: how far to go, in steps to the boundary, at least one.
        largest_bias: alpha_max: the most that a step is drawn to the image, in [0, 1].
        shrinkage: beta: the share of its change that an image keeps on its way back, above 0 and below 1.

    Raises:
        UsageError: a value is out of range.
    """

    norm: CommonNorm = "linf"
    steps: int = 100
    targets: int = 9
    overshoot: float = 1.05
    largest_bias: float = 0.1
    shrinkage: float = 0.9
    goals = (Untargeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(get_args(CommonNorm), norm=self.norm)
        require_positive(steps=self.steps, targets=self.targets)
        if not self.overshoot >= 1:
            raise UsageError(f"overshoot must be at least 1, not {self.overshoot}")
        if not 0 <= self.largest_bias <= 1:
            raise UsageError(f"largest_bias must be between 0 and 1, not {self.largest_bias}")
        if not 0 < self.shrinkage < 1:
            raise UsageError(f"shrinkage must be above 0 and below 1, not {self.shrinkage}")


def fab(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: FABOptions = FABOptions(),
) -> AttackResult:
    r"""The fast adaptive boundary attack, towards one class after the other (Croce & Hein, ICML 2020).

    "Minimally distorted adversarial examples with a fast adaptive boundary attack", algorithm 1, in the form
    of AutoAttack (FAB-T). With the boundary of the label y and a target t linearised at the latest point,
    `w = grad (z_t - z_y)`, both this point and the image are projected on it within [0, 1]:

    $$d_1 = \text{proj}_p(x_i, w, b) - x_i, \quad d_0 = \text{proj}_p(x_0, w, b) - x_0, \quad
    \alpha = \min\left(\frac{\|d_1\|_p}{\|d_1\|_p + \|d_0\|_p}, \alpha_{max}\right)$$

    $$x_{i+1} = \text{clip}_{[0, 1]}\big((1 - \alpha)(x_i + \eta d_1) + \alpha (x_0 + \eta d_0)\big)$$

    A point that has left its label is kept if its change is the smallest so far, and the search goes on from
    `x_0 + beta (x_{i+1} - x_0)`, nearer to the image.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)`.
        options: the norm and the limits.

    Returns:
        The image of the smallest change that left its label, or the original where none did.

    Raises:
        UsageError: as `deepfool`.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import predicted_classes
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((1, 2, 2, 1), 0.5)
        >>> fab(classifier, images, Untargeted(predicted_classes(classifier, images))).success.tolist()
        [True]
    """
    require_attackable(classifier, images, goal, options.goals)
    attack = partial(attack_until, classifier, options, 0.0)
    return in_parts(attack, images, goal).against(classifier, goal, options)


class _State(NamedTuple):
    """The latest points, the smallest change that left each label, and the number of steps of all targets.

    Each image needed so many of them.
    """

    points: Float[Array, "n h w c"]
    found: Float[Array, "n h w c"]
    size: Float[Array, " n"]
    had_gradient: Bool[Array, " n"]
    step: Int[Array, ""]
    needed: Int[Array, " n"]


@jax.jit
def attack_until(
    classifier: Classifier,
    options: FABOptions,
    enough: float | Float[Array, ""],
    images: Float[Array, "n h w c"],
    goal: Goal,
) -> AttackResult:
    """The attack without its checks. An image with a change of at most this size goes on no more."""
    if not options.affordable(1, each=3, fixed=2):
        return unattacked(classifier, images, goal)
    logits_before = classifier.logits(images)
    targets = likeliest_others(logits_before, goal.classes, options.targets)
    steps = options.affordable(options.steps * targets.shape[1], each=3, fixed=2)
    left = goal.reached(logits_before)

    def unfinished(state: _State) -> Bool[Array, ""]:
        return (state.step < steps) & ~(state.size <= enough).all()

    def step(state: _State) -> _State:
        # Each target begins at the image.
        points = jnp.where(state.step % options.steps == 0, images, state.points)
        target = targets[:, state.step // options.steps]
        moved, had_gradient = _moved(classifier, options, images, points, goal.classes, target)
        size = lengths(moved - images, options.norm)
        adversarial = goal.reached(classifier.logits(moved))
        better = adversarial & (size < state.size) & (state.size > enough)
        return _State(
            points=where_rows(adversarial, images + options.shrinkage * (moved - images), moved),
            found=where_rows(better, moved, state.found),
            size=jnp.where(better, size, state.size),
            had_gradient=state.had_gradient | had_gradient,
            step=state.step + 1,
            needed=state.needed + (state.size > enough),
        )

    size = jnp.where(left, 0, jnp.inf)
    none = jnp.zeros(len(images), jnp.int32)
    state = jax.lax.while_loop(unfinished, step, _State(images, images, size, left, jnp.int32(0), none))
    logits = classifier.logits(state.found)
    result = result_of(classifier, goal, images, state.found, logits_before, logits, state.had_gradient)
    # Of each step the pass that is linearised, with its gradient, and the one after it.
    return result.counting(2 + 2 * state.needed, state.needed, 2 * (state.step - state.needed))


def _moved(
    classifier: Classifier,
    options: FABOptions,
    images: Float[Array, "n h w c"],
    points: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    target: Int[Array, " n"],
) -> tuple[Float[Array, "n h w c"], Bool[Array, " n"]]:
    """The next point of each image, and whether there was a gradient to follow."""

    def difference(points: Float[Array, "n h w c"]) -> tuple[Array, Array]:
        logits = classifier.logits(points)
        pair = jnp.take_along_axis(logits, jnp.stack([target, labels], axis=1), axis=1)
        return (pair[:, 0] - pair[:, 1]).sum(), pair[:, 0] - pair[:, 1]

    gradient, value = jax.grad(difference, has_aux=True)(points)
    normal = jnp.where(jnp.isnan(gradient), 0, gradient).reshape(len(points), -1)
    here, origin = points.reshape(normal.shape), images.reshape(normal.shape)
    # The plane: normal . z = offset.
    offset = (normal * here).sum(axis=1) - value
    of_point = to_plane(here, normal, offset, options.norm).reshape(points.shape)
    of_image = to_plane(origin, normal, offset, options.norm).reshape(points.shape)
    from_point = jnp.maximum(lengths(of_point, options.norm), _LEAST_SIZE)
    from_image = jnp.maximum(lengths(of_image, options.norm), _LEAST_SIZE)
    bias = of_rows(jnp.minimum(from_point / (from_point + from_image), options.largest_bias))
    moved = (points + options.overshoot * of_point) * (1 - bias)
    moved = moved + (images + options.overshoot * of_image) * bias
    had_gradient = normal.any(axis=1)
    return where_rows(had_gradient, jnp.clip(moved, 0, 1), points), had_gradient


def to_plane(
    points: Float[Array, "n d"], normals: Float[Array, "n d"], offsets: Float[Array, " n"], norm: CommonNorm
) -> Float[Array, "n d"]:
    r"""The smallest change that brings each point to its plane within [0, 1].

    With `s = sign(w . x - b)` and `room_i` the way of a value against `s w_i` to the end of its range, it is
    `-s sign(w_i) min(m, room_i)` for linf and `-s sign(w_i) min(m |w_i|, room_i)` for l2, for the m of
    `sum_i |w_i| |change_i| = |w . x - b|`: piecewise linear in m, so that sorting its corners solves it. A
    plane beyond all of [0, 1] is approached as far as possible.

    Args:
        points: values in [0, 1].
        normals: w, of the planes `w . z = b`.
        offsets: b.
        norm: the size to keep small.

    Example:
        >>> plane = (jnp.array([[1.0, 2.0]]), jnp.array([1.5]))
        >>> [to_plane(jnp.zeros((1, 2)), *plane, norm).tolist() for norm in ("linf", "l2")]
        [[[0.5, 0.5]], [[0.30000001192092896, 0.6000000238418579]]]
    """
    above = (normals * points).sum(axis=1) - offsets
    direction = -jnp.sign(normals) * jnp.where(above >= 0, 1, -1)[:, None]
    room = jnp.where(direction < 0, points, 1 - points)
    weights, wanted = jnp.abs(normals), jnp.abs(above)[:, None]
    speed = jnp.ones_like(weights) if norm == "linf" else weights
    corners = jnp.where(weights > 0, room / jnp.maximum(speed, _TINY), 0)
    order = jnp.argsort(corners, axis=1)
    corner, slope, full = (
        jnp.take_along_axis(each, order, axis=1) for each in (corners, weights * speed, weights * room)
    )
    # Before each corner: what the values without room have brought, and what the others bring.
    used = jnp.cumsum(full, axis=1) - full
    slopes = jnp.cumsum(slope[:, ::-1], axis=1)[:, ::-1]
    reached = used + corner * slopes
    segment = jnp.minimum((reached < wanted).sum(axis=1, keepdims=True), normals.shape[1] - 1)
    used, slopes, last = (jnp.take_along_axis(each, segment, axis=1) for each in (used, slopes, corner))
    multiplier = jnp.clip((wanted - used) / jnp.maximum(slopes, _TINY), 0, last)
    return direction * jnp.minimum(multiplier * speed, room)
