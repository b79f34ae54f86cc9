"""Projected gradient descent: steps within a ball of any norm, from several random starts."""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from evofool.attacks.attack import (
    AttackResult,
    image_keys,
    in_parts,
    input_gradient,
    require_attackable,
    result_of,
    some,
    unattacked,
)
from evofool.attacks.balls import (
    Norm,
    on_grid,
    radius,
    random_changes,
    require_ball,
    steepest,
    within,
)
from evofool.attacks.goals import Goal
from evofool.attacks.options import AttackOptions
from evofool.classifiers.classifier import Classifier
from evofool.errors import require_not_negative, require_positive, require_seed
from evofool.numerics.random_numbers import fold_in_each
from evofool.numerics.rows import where_rows

# All steps together could bring an image to this many times the size of its ball (Madry et al., appendix).
_REACH = 2.5


@dataclass(frozen=True)
class PGDOptions(AttackOptions):
    """The ball, the steps in it, and how often to start again.

    Attributes:
        epsilon: the size of the ball in its norm, 0 or more. For linf at most 1, and by default the paper's:
            0.3 for grey images (MNIST), 8/255 for colour (CIFAR-10). l2 and l1 have no default.
        norm: linf, the largest change of a value; l2, the Euclidean length of the change; l1, the sum of the
            absolute changes.
        steps: the number of steps from each start, at least one.
        step_size: the size of a step in the same norm, 0 or more; by default 2.5 epsilon / steps.
        restarts: how many random starts an image gets at most, at least one.
        seed: of the random starts.
        eight_bit: see every image rounded to 8 bits on the way, so that its success survives saving.

    Raises:
        UsageError: a value is out of range.
    """

    epsilon: float | None = None
    norm: Norm = "linf"
    steps: int = 40
    step_size: float | None = None
    restarts: int = 1
    seed: int = 0
    eight_bit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require_ball(self.epsilon, self.norm)
        require_positive(steps=self.steps, restarts=self.restarts)
        require_not_negative(step_size=self.step_size)
        require_seed(self.seed)


def pgd(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: PGDOptions = PGDOptions(),
) -> AttackResult:
    r"""Projected gradient descent (Madry, Makelov, Schmidt, Tsipras & Vladu, ICLR 2018, section 2.1).

    From a point drawn uniformly from the ball B of size epsilon around each image,

    $$x_{i+1} = P_{B \cap [0, 1]}\Big(x_i + \alpha \, \arg\max_{\|d\| \le 1} d \cdot \nabla_x J(x_i, y)\Big)$$

    with `J = -log p(y)` for an `Untargeted` goal, and `J = log p(y)` for a `Targeted` one; for linf the step
    is alpha times the sign of the gradient. An image whose last step does not reach its goal is started
    again, until it has had `restarts` starts.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`.
        options: the ball, the steps and the starts.

    Returns:
        The image after the last step of the first start that reached the goal, or where none did, of the
        start that came nearest. Starts depend on the seed, the place of an image among the others and the
        number of the start, and on nothing else. An image without a gradient is left as it was.

    Raises:
        UsageError: as `fast_gradient_sign`.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import Targeted
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images = jnp.full((1, 2, 2, 1), 0.5)
        >>> result = pgd(classifier, images, Targeted([1]), PGDOptions(epsilon=0.1, restarts=3))
        >>> bool(result.linf[0] <= 0.1 + 1e-6)
        True
    """
    require_attackable(classifier, images, goal, options.goals)
    epsilon = radius(options.epsilon, options.norm, images.shape[1:])
    steps = options.affordable(options.steps, each=2, fixed=3)
    if not steps:
        return in_parts(partial(unattacked, classifier), images, goal).against(classifier, goal, options)
    # Another seed is another key and no other program.
    chosen = replace(
        options,
        epsilon=epsilon,
        steps=steps,
        step_size=_REACH * epsilon / steps if options.step_size is None else options.step_size,
        restarts=options.affordable(options.restarts, each=2 * steps + 1, fixed=2),
        seed=0,
        max_queries=None,
    )
    keys = image_keys(options.seed, len(images))
    return in_parts(partial(_attack, classifier, chosen), images, goal, keys).against(
        classifier, goal, options
    )


class _Best(NamedTuple):
    """The best image of all starts so far."""

    images: Float[Array, "n h w c"]
    objective: Float[Array, " n"]
    reached: Bool[Array, " n"]
    had_gradient: Bool[Array, " n"]
    starts: Int[Array, ""]
    needed: Int[Array, " n"]


@jax.jit
def _attack(
    classifier: Classifier,
    options: PGDOptions,
    images: Float[Array, "n h w c"],
    goal: Goal,
    keys: Key[Array, " n"],
) -> AttackResult:
    epsilon, step_size, norm = options.epsilon, options.step_size, options.norm
    assert epsilon is not None
    assert step_size is not None

    def seen(attacked: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        return on_grid(images, attacked, norm, epsilon) if options.eight_bit else attacked

    def step(attacked: Float[Array, "n h w c"], _: None) -> tuple[Float[Array, "n h w c"], Bool[Array, " n"]]:
        gradient, _logits = input_gradient(classifier, seen(attacked), goal)
        moved = attacked + step_size * steepest(gradient, norm)
        return within(images, moved, norm, epsilon), some(gradient)

    def start(best: _Best) -> _Best:
        changes = random_changes(fold_in_each(keys, best.starts), images.shape[1:], norm, epsilon)
        first = jnp.clip(images + changes, 0, 1)
        last, had_gradient = jax.lax.scan(step, first, length=options.steps)
        attacked = seen(last)
        logits = classifier.logits(attacked)
        objective, reached = goal.objective(classifier, logits), goal.reached(logits)
        had_gradient = best.had_gradient | had_gradient.any(axis=0)
        better = ~best.reached & (reached | (had_gradient & (objective > best.objective)))
        return _Best(
            images=where_rows(better, attacked, best.images),
            objective=jnp.where(better, objective, best.objective),
            reached=best.reached | reached,
            had_gradient=had_gradient,
            starts=best.starts + 1,
            needed=best.needed + ~best.reached,
        )

    none = jnp.zeros(len(images), bool)
    best = _Best(images, jnp.full(len(images), -jnp.inf), none, none, jnp.int32(0), none.astype(jnp.int32))
    best = jax.lax.while_loop(
        lambda best: (best.starts < options.restarts) & ~best.reached.all(), start, best
    )
    logits_before, logits = classifier.logits(images), classifier.logits(best.images)
    result = result_of(classifier, goal, images, best.images, logits_before, logits, best.had_gradient)
    passes = options.steps + 1
    padded = (best.starts - best.needed) * passes
    return result.counting(best.needed * passes + 2, best.needed * options.steps, padded)
