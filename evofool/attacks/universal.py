"""One change that fools a classifier on most images, also on images that it was not made from."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from evofool.attacks.attack import (
    AttackResult,
    assess,
    in_parts,
    predicted_classes,
    require_attackable,
    result_of,
    unattacked,
)
from evofool.attacks.balls import CommonNorm, project, radius, require_ball, steepest
from evofool.attacks.deepfool import cross_boundary
from evofool.attacks.goals import Goal, Untargeted
from evofool.attacks.options import AttackOptions
from evofool.classifiers.black_box import AnyClassifier
from evofool.classifiers.classifier import Classifier
from evofool.classifiers.compositions import resized
from evofool.classifiers.scoring import batch_size_of
from evofool.errors import (
    require_choice,
    require_not_negative,
    require_positive,
    require_seed,
    require_share,
)
from evofool.images import from_uint8, round_to_8_bits

Improvement = Literal["gradient", "deepfool"]
"""How a perturbation is improved: by the gradient of the loss on a batch of images, or by DeepFool on one."""

_EPSILONS = (10 / 255, 10 / 255)
"""Of the paper, whatever the channels."""
_BATCH_SIZE = 50
# An image whose class has less than exp(-3) = 5% is fooled, and no longer contributes to the gradient.
_ENOUGH_LOSS = 3.0
# A step of the gradient, as a share of the ball's size.
_STEP = 0.1


@dataclass(frozen=True)
class UniversalOptions(AttackOptions):
    """The ball that the perturbation stays in, and how it is improved.

    Attributes:
        epsilon: the size of the ball (the paper's xi), 0 or more: the largest change of a pixel for linf, in
            [0, 1] (10/255 by default, the paper's on ImageNet), or the Euclidean length of the perturbation
            for l2, which has no default.
        norm: linf or l2.
        improvement: gradient: of the loss on a batch of images; deepfool: on one image after the other, as in
            the paper.
        fooling_rate: the share of the images at which to stop, the paper's 1 - delta, in [0, 1].
        passes: the most passes over the images, at least one.
        batch_size: the number of images whose gradient makes one step; by default 50, or fewer if images are
            so large that fewer are attacked at once.
        steps: the most steps of DeepFool for one image, at least one.
        overshoot: of DeepFool, 0 or more.
        candidates: of DeepFool, at least one.
        seed: of the orders in which the images are visited.

    Raises:
        UsageError: a value is out of range.
    """

    epsilon: float | None = None
    norm: CommonNorm = "linf"
    improvement: Improvement = "gradient"
    fooling_rate: float = 0.8
    passes: int = 20
    batch_size: int | None = None
    steps: int = 10
    overshoot: float = 0.02
    candidates: int = 10
    seed: int = 0
    goals = (Untargeted,)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_seed(self.seed)
        require_not_negative(overshoot=self.overshoot)
        require_share(fooling_rate=self.fooling_rate)
        require_ball(self.epsilon, self.norm, get_args(CommonNorm))
        require_positive(
            passes=self.passes, batch_size=self.batch_size, steps=self.steps, candidates=self.candidates
        )
        require_choice(get_args(Improvement), improvement=self.improvement)

    def size(self, image: Float[Array, "h w c"]) -> float:
        """The size of the ball for images of this size.

        Raises:
            UsageError: the norm is l2 and there is no epsilon.
        """
        return radius(self.epsilon, self.norm, image.shape, _EPSILONS)


def universal_perturbation(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: UniversalOptions = UniversalOptions(),
) -> AttackResult:
    r"""A universal adversarial perturbation (Moosavi-Dezfooli et al., CVPR 2017).

    The images are visited in an order drawn anew for each pass, until the share that has left its class is at
    least `fooling_rate`. By "deepfool" (their algorithm 1) they are visited one after the other: where the
    perturbation v so far does not change the class, DeepFool finds the smallest further change that does, and
    the sum is projected back on the ball:

    $$\Delta v_i = \arg\min_r \|r\|_2 \;\text{s.t.}\; \hat{k}(x_i + v + r) \ne \hat{k}(x_i), \quad
    v \leftarrow P_{p, \epsilon}(v + \Delta v_i)$$

    By "gradient" (Shafahi et al., "Universal adversarial training", AAAI 2020), a batch at a time:

    $$v \leftarrow P_{p, \epsilon}\Big(v + \alpha \, \text{sign} \nabla_v
    \sum_i \min(-\log p_{\hat{k}(x_i)}(x_i + v), \beta)\Big)$$

    with alpha a tenth of epsilon and beta 3; for "l2" the gradient is scaled to the length alpha instead. The
    changes that DeepFool finds for images of ten digits point in ten directions and undo each other. On MNIST
    the gradient is far stronger, and it takes one gradient for each image where DeepFool takes `candidates`
    for each of its steps. Where a few of a thousand classes attract most images, both work.

    Args:
        classifier: the classifier to fool.
        images: values in [0, 1].
        goal: `Untargeted(predicted_classes(classifier, images))`, as in the paper, or with the labels.
        options: the ball, and how the perturbation is improved.

    Returns:
        The images with the perturbation added that fooled the classifier on most of them, this perturbation,
        and the share of the images that left their class after each pass. As the images share one
        perturbation, either all or none of them had a gradient.

    Raises:
        UsageError: the goal is not untargeted, there are no images, they are not in [0, 1] or not of the
            classifier's size, there is not one class for each, or epsilon is needed and not given.

    Example:
        >>> from evofool import create_classifier
        >>> from evofool.attacks import predicted_classes
        >>> classifier = create_classifier("linear", (4, 4, 1), ("even", "odd"))
        >>> images = jax.random.uniform(jax.random.key(0), (20, 4, 4, 1))
        >>> goal = Untargeted(predicted_classes(classifier, images))
        >>> options = UniversalOptions(epsilon=0.2, fooling_rate=0.3)
        >>> result = universal_perturbation(classifier, images, goal, options)
        >>> bool(jnp.abs(result.perturbation).max() <= 0.2), bool(result.success.mean() >= 0.3)
        (True, True)
    """
    require_attackable(classifier, images, goal, options.goals)
    at_once = batch_size_of(images.shape[1:])
    key = jax.random.key(options.seed)
    candidates = min(options.candidates, len(classifier.spec.class_names) - 1)
    chosen = replace(
        options,
        epsilon=options.size(images[0]),
        batch_size=min(options.batch_size or min(_BATCH_SIZE, at_once), len(images)),
        candidates=candidates,
        steps=max(1, options.affordable(options.steps, each=2 + candidates, fixed=4)),
        seed=0,  # another seed is another key and no other program
    )
    if not options.affordable(1, each=_most_of_pass(chosen, len(images)), fixed=2):
        result = in_parts(partial(unattacked, classifier), images, goal)
        nothing, rates = jnp.zeros(images.shape[1:]), jnp.full(options.passes, jnp.nan)
        result = result._replace(perturbation=nothing, fooling_rates=rates)
        return result.against(classifier, goal, options)
    return _perturb(classifier, chosen, images, goal, key).against(classifier, goal, options)


def add_perturbation(
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    perturbation: Float[Array, "*n h w c"],
) -> AttackResult:
    """Add a perturbation to any images, and classify them.

    Args:
        classifier: the classifier to fool; the perturbation may have been made for another.
        images: values in [0, 1].
        goal: `Untargeted(labels)` or `Targeted(classes)`. With the predicted classes as labels, the share of
            successes is the paper's fooling rate.
        perturbation: one for all images or one for each, added before the sum is clipped to [0, 1].

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> images, perturbation = jnp.zeros((1, 2, 2, 1)), jnp.full((2, 2, 1), 0.25)
        >>> add_perturbation(classifier, images, Untargeted([0]), perturbation).distortion.tolist()
        [0.25]
    """
    require_attackable(classifier, images, goal)
    return assess(classifier, images, jnp.clip(images + perturbation, 0, 1), goal)


def fooling_rate(
    classifier: AnyClassifier,
    images: UInt8[Array | np.ndarray, "n h w c"],
    perturbation: Float[Array | np.ndarray, "h w c"],
) -> float:
    """The share of 8-bit images whose class a perturbation changes, as saved with 8 bits.

    Args:
        classifier: what classifies them. If it takes images of another size they are resized, with the
            perturbation in them.
        images: pixels in 0..255.
        perturbation: added to each, in [0, 1] units, before the sum is clipped.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> fooling_rate(classifier, np.zeros((3, 2, 2, 1), np.uint8), jnp.zeros((2, 2, 1)))
        0.0
    """
    if isinstance(classifier, Classifier):
        classifier = resized(classifier, *images.shape[1:3])
    before = from_uint8(images)
    after = round_to_8_bits(jnp.clip(before + perturbation, 0, 1))
    return float(jnp.mean(predicted_classes(classifier, before) != predicted_classes(classifier, after)))


class _State(NamedTuple):
    """The perturbation after `passes` passes, the best so far, and the fooling rate after each pass.

    Of each image so many queries and gradients were needed.
    """

    perturbation: Float[Array, "h w c"]
    best: Float[Array, "h w c"]
    rates: Float[Array, " passes"]
    had_gradient: Bool[Array, ""]
    passes: Int[Array, ""]
    queries: Int[Array, " n"]
    gradients: Int[Array, " n"]


def _most_of_pass(options: UniversalOptions, count: int) -> int:
    """The most passes of the classifier that one of so many images takes while all are visited once."""
    if options.improvement == "deepfool":
        return 2 + (2 + options.candidates) * options.steps
    # An image that fills up the last batch is visited twice.
    return 3 if count % (options.batch_size or 1) == 0 else 5


@jax.jit
def _perturb(
    classifier: Classifier,
    options: UniversalOptions,
    images: Float[Array, "n h w c"],
    goal: Goal,
    key: Key[Array, ""],
) -> AttackResult:
    def unfinished(state: _State) -> Bool[Array, ""]:
        enough = state.rates[state.passes - 1] >= options.fooling_rate
        more = (state.passes < options.passes) & ((state.passes == 0) | ~enough)
        if options.max_queries is None:
            return more
        spent = (state.queries + state.gradients).max()
        return more & (spent + _most_of_pass(options, len(images)) <= options.max_queries)

    nothing, none = jnp.zeros(images.shape[1:]), jnp.zeros(len(images), jnp.int32)
    rates = jnp.full(options.passes, jnp.nan)
    # Of each image two queries at the end: the original and the result.
    start = _State(nothing, nothing, rates, jnp.bool_(False), jnp.int32(0), none + 2, none)
    visit_all = partial(_pass, classifier, options, images, goal, key)
    state = jax.lax.while_loop(unfinished, visit_all, start)
    attacked = jnp.clip(images + state.best, 0, 1)
    logits_before, logits = _logits(classifier, images), _logits(classifier, attacked)
    had_gradient = jnp.full(len(images), state.had_gradient)
    result = result_of(classifier, goal, images, attacked, logits_before, logits, had_gradient)
    result = result.counting(state.queries, state.gradients)
    return result._replace(perturbation=state.best, fooling_rates=state.rates)


def _pass(
    classifier: Classifier,
    options: UniversalOptions,
    images: Float[Array, "n h w c"],
    goal: Goal,
    key: Key[Array, ""],
    state: _State,
) -> _State:
    """Visit all images once, and keep the perturbation if it fools on more of them."""

    def visit(state: _State, visited: Int[Array, " b"]) -> tuple[_State, None]:
        made = improve(classifier, options, images[visited], goal.classes[visited], state.perturbation)
        state = state._replace(
            perturbation=_project(state.perturbation + made.change, options),
            had_gradient=state.had_gradient | made.had_gradient,
            queries=state.queries.at[visited].add(made.queries),
            gradients=state.gradients.at[visited].add(made.gradients),
        )
        return state, None

    improve, together = (
        (_by_deepfool, 1) if options.improvement == "deepfool" else (_by_gradient, options.batch_size or 1)
    )
    order = jax.random.permutation(jax.random.fold_in(key, state.passes), len(images))
    # The last batch is filled up with the first images.
    visits = jnp.resize(order, (-(-len(images) // together), together))
    state, _ = jax.lax.scan(visit, state, visits)
    rate = goal.reached(_logits(classifier, jnp.clip(images + state.perturbation, 0, 1))).mean()
    better = ~(rate <= jnp.nanmax(state.rates, initial=-1))
    return state._replace(
        best=jnp.where(better, state.perturbation, state.best),
        rates=state.rates.at[state.passes].set(rate),
        passes=state.passes + 1,
        queries=state.queries + 1,
    )


class _Improvement(NamedTuple):
    """A change of the perturbation, and what it asked about each of the images."""

    change: Float[Array, "h w c"]
    had_gradient: Bool[Array, ""]
    queries: Int[Array, ""] | int
    gradients: Int[Array, ""] | int


def _by_deepfool(
    classifier: Classifier,
    options: UniversalOptions,
    images: Float[Array, "1 h w c"],
    classes: Int[Array, " 1"],
    perturbation: Float[Array, "h w c"],
) -> _Improvement:
    """The smallest further change that takes one image over a boundary: none if its class has changed."""
    perturbed = jnp.clip(images + perturbation, 0, 1)
    crossing = cross_boundary(
        classifier,
        perturbed,
        classes,
        norm="l2",
        steps=options.steps,
        overshoot=options.overshoot,
        candidates=options.candidates,
    )
    steps = crossing.steps[0]
    return _Improvement(
        change=(crossing.images - perturbed)[0],
        had_gradient=crossing.had_gradient[0],
        queries=1 + 2 * steps,
        gradients=options.candidates * steps,
    )


def _by_gradient(
    classifier: Classifier,
    options: UniversalOptions,
    images: Float[Array, "b h w c"],
    classes: Int[Array, " b"],
    perturbation: Float[Array, "h w c"],
) -> _Improvement:
    """A step along the gradient of the clipped loss on a batch of images."""

    def loss(perturbation: Float[Array, "h w c"]) -> Float[Array, ""]:
        logits = classifier.logits(jnp.clip(images + perturbation, 0, 1))
        losses = -jax.nn.log_sigmoid(-Untargeted(classes).objective(classifier, logits))
        return jnp.minimum(losses, _ENOUGH_LOSS).sum()

    gradient = jax.grad(loss)(perturbation)
    assert options.epsilon is not None
    step = _STEP * options.epsilon * steepest(gradient[None], options.norm)[0]
    return _Improvement(step, gradient.any(), queries=1, gradients=1)


def _project(perturbation: Float[Array, "h w c"], options: UniversalOptions) -> Float[Array, "h w c"]:
    """The nearest point of the ball."""
    assert options.epsilon is not None
    return project(perturbation[None], options.norm, options.epsilon)[0]


def _logits(classifier: Classifier, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    """In batches, so that memory does not depend on the number of images."""
    count = len(images)
    size = min(batch_size_of(images.shape[1:]), count)
    batches = jnp.resize(jnp.arange(count), (-(-count // size), size))
    logits = jax.lax.map(lambda batch: classifier.logits(images[batch]), batches)
    return logits.reshape(-1, logits.shape[-1])[:count]
