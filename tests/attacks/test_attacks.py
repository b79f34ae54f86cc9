"""The gradient attacks: closed forms for linear classifiers, Foolbox's results, and their contract."""

import csv
import json
from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evofool import Classifier, ClassifierSpec, create_classifier
from evofool.attacks import (
    ATTACKS,
    APGDOptions,
    AutoAttackOptions,
    DeepFoolOptions,
    FABOptions,
    FastGradientSignOptions,
    GradientAscentOptions,
    HopSkipJumpOptions,
    IteratedGradientSignOptions,
    LBFGSOptions,
    NESOptions,
    OnePixelOptions,
    PGDOptions,
    SquareOptions,
    Targeted,
    TemplateOptions,
    UniversalOptions,
    Untargeted,
    add_perturbation,
    add_template,
    assess,
    deepfool,
    fast_gradient_sign,
    first_step_above,
    gradient_ascent,
    input_gradient,
    iterated_gradient_sign,
    lbfgs,
    noise_images,
    pgd,
    predicted_classes,
    random_targets,
    templates,
    universal_perturbation,
)
from evofool.attacks.gradient_ascent import _gaussian_blur
from evofool.classifiers import weights_digest
from evofool.datasets import load_dataset
from evofool.errors import UsageError
from evofool.images import from_uint8, read_png

BINARY_SHAPE = (6, 5, 1)
YES = Targeted([1] * 8)


def binary_logits(params, images):
    """Two classes whose logits differ by `weights . image + bias`."""
    weights, bias = params
    margin = images.reshape(len(images), -1) @ weights + bias
    return jnp.stack([jnp.zeros_like(margin), margin], axis=1)


@pytest.fixture(scope="module")
def binary() -> Classifier:
    weights = jax.random.normal(jax.random.key(3), (30,))
    spec = ClassifierSpec("binary", BINARY_SHAPE, ("no", "yes"))
    return Classifier((weights, jnp.float32(0.2)), binary_logits, spec)


@pytest.fixture(scope="module")
def inner_images() -> jax.Array:
    """Images so far from black and white that no attack of these tests is clipped."""
    return jax.random.uniform(jax.random.key(4), (8, *BINARY_SHAPE), minval=0.4, maxval=0.6)


@pytest.fixture
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def margin(classifier: Classifier, images: jax.Array) -> np.ndarray:
    weights, bias = classifier.params
    return np.asarray(images.reshape(len(images), -1) @ weights + bias)


def l2(change: jax.Array) -> np.ndarray:
    return np.sqrt(np.sum(np.square(np.asarray(change, np.float64)), axis=(1, 2, 3)))


def leaving(classifier: Classifier, images: jax.Array) -> Untargeted:
    return Untargeted(predicted_classes(classifier, images))


def steps_of(step_size: float, steps: int, **options: object) -> IteratedGradientSignOptions:
    """Options of iterated steps from their size in [0, 1] units."""
    return IteratedGradientSignOptions(steps, 255 * steps * step_size, **options)


# Closed forms for linear classifiers


def test_a_sign_step_moves_a_linear_margin_by_epsilon_times_the_sum_of_its_weights(
    binary, inner_images
) -> None:
    goal = leaving(binary, inner_images)
    result = fast_gradient_sign(binary, inner_images, goal, FastGradientSignOptions(0.1))
    towards_other = np.where(goal.classes == 1, -1, 1)
    expected = margin(binary, inner_images) + towards_other * 0.1 * np.abs(binary.params[0]).sum()
    np.testing.assert_allclose(margin(binary, result.images), expected, atol=1e-5)
    np.testing.assert_allclose(result.distortion, 0.1, atol=1e-6)


def test_a_step_towards_one_of_two_classes_is_a_step_away_from_the_other(binary, inner_images) -> None:
    targeted = fast_gradient_sign(binary, inner_images, Targeted([1] * 8))
    untargeted = fast_gradient_sign(binary, inner_images, Untargeted([0] * 8))
    np.testing.assert_array_equal(targeted.images, untargeted.images)


def test_many_small_sign_steps_are_one_large_one_for_a_linear_classifier(binary, inner_images) -> None:
    goal = Targeted([1] * 8)
    many = iterated_gradient_sign(binary, inner_images, goal, steps_of(0.005, 20))
    one = fast_gradient_sign(binary, inner_images, goal, FastGradientSignOptions(0.1))
    np.testing.assert_allclose(many.images, one.images, atol=1e-6)
    assert many.trajectory.shape == (21, 8, 2)
    np.testing.assert_allclose(many.trajectory[0], many.confidences_before, atol=1e-6)
    np.testing.assert_allclose(many.trajectory[-1], many.confidences, atol=1e-6)
    assert (jnp.diff(many.trajectory[:, :, 1], axis=0) > 0).all()


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", 1)])
def test_deepfool_goes_the_distance_of_a_point_from_a_plane(binary, inner_images, norm, order) -> None:
    options = DeepFoolOptions(norm=norm, overshoot=0.02)
    result = deepfool(binary, inner_images, leaving(binary, inner_images), options)
    change = np.asarray(result.images - inner_images)
    length = l2(change) if norm == "l2" else np.abs(change).max(axis=(1, 2, 3))
    plane = np.abs(margin(binary, inner_images)) / np.linalg.norm(binary.params[0], ord=order)
    np.testing.assert_allclose(length, 1.02 * (plane + 1e-4), rtol=1e-3)
    assert result.success.all()
    assert result.first_step.tolist() == [1] * 8


def test_lbfgs_finds_the_distance_of_a_point_from_a_plane(binary, inner_images) -> None:
    target = Targeted(jnp.argmin(binary(inner_images), axis=1))
    result = lbfgs(binary, inner_images, target, LBFGSOptions(searches=20))
    plane = np.abs(margin(binary, inner_images)) / np.linalg.norm(binary.params[0])
    assert result.success.all()
    np.testing.assert_allclose(l2(result.images - inner_images), plane, rtol=0.02, atol=1e-4)


def test_lbfgs_stays_in_the_box_where_the_plane_is_nearer_outside(binary) -> None:
    black = jnp.zeros((1, *BINARY_SHAPE))
    weights, bias = binary.params
    # Only the pixels of negative weight can help, and they can only grow.
    helpful = np.minimum(np.asarray(weights), 0)
    target = Targeted([0 if bias > 0 else 1])
    result = lbfgs(binary, black, target, LBFGSOptions(searches=20))
    assert result.success.all()
    expected = float(abs(bias)) / np.linalg.norm(helpful)
    np.testing.assert_allclose(l2(result.images), expected, rtol=0.03)


def test_ascent_adds_the_wanted_progress_while_the_confidence_is_linear(binary, inner_images) -> None:
    options = GradientAscentOptions(steps=1, early_progress=0.01, late_progress=1.0)
    result = gradient_ascent(binary, inner_images, YES, options)
    gained = result.trajectory[1, :, 1] - result.trajectory[0, :, 1]
    np.testing.assert_allclose(gained, 0.01, rtol=0.1)


def test_ascent_slows_down_to_a_share_of_what_is_missing(binary, inner_images) -> None:
    options = GradientAscentOptions(steps=1, early_progress=1.0, late_progress=0.02)
    result = gradient_ascent(binary, inner_images, YES, options)
    gained = result.trajectory[1, :, 1] - result.trajectory[0, :, 1]
    np.testing.assert_allclose(gained, 0.02 * (1 - result.trajectory[0, :, 1]), rtol=0.1)


def test_a_constant_rate_follows_the_gradient_of_the_confidence(binary, inner_images) -> None:
    options = GradientAscentOptions(steps=1, learning_rate=0.01)
    result = gradient_ascent(binary, inner_images, YES, options)
    p = jax.nn.sigmoid(jnp.asarray(margin(binary, inner_images)))
    expected = inner_images + (0.01 * p * (1 - p))[:, None, None, None] * binary.params[0].reshape(
        BINARY_SHAPE
    )
    np.testing.assert_allclose(result.images, expected, atol=1e-6)


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_ascent_gains_no_more_log_odds_than_it_may(binary, inner_images, gain) -> None:
    unlikely = Classifier((binary.params[0], jnp.float32(-15)), binary.logits_function, binary.spec)
    options = GradientAscentOptions(steps=1, largest_odds_gain=gain)
    result = gradient_ascent(unlikely, inner_images, YES, options)
    gained = margin(unlikely, result.images) - margin(unlikely, inner_images)
    np.testing.assert_allclose(gained, gain, rtol=1e-3)
    options = GradientAscentOptions(steps=1, largest_odds_gain=None)
    free = gradient_ascent(unlikely, inner_images, YES, options)
    assert jnp.mean((free.images == 0) | (free.images == 1)) > 0.4


@pytest.mark.parametrize("improvement", ["gradient", "deepfool"])
def test_a_universal_perturbation_pushes_one_side_of_a_plane_to_the_other(binary, improvement) -> None:
    images = jax.random.uniform(jax.random.key(5), (40, *BINARY_SHAPE), minval=0.3, maxval=0.7)
    labels = predicted_classes(binary, images)
    side = int(jnp.argmax(jnp.bincount(labels)))
    images = images[labels == side]
    options = UniversalOptions(epsilon=0.2, fooling_rate=1.0, improvement=improvement)
    result = universal_perturbation(binary, images, Untargeted([side] * len(images)), options)
    assert result.success.all()
    assert jnp.abs(result.perturbation).max() <= 0.2
    shift = jnp.sum(result.perturbation.ravel() * binary.params[0])
    assert (shift < 0) == (side == 1)


@pytest.mark.slow
def test_a_universal_perturbation_fools_on_images_that_it_was_not_made_from(lenet) -> None:
    dataset = load_dataset("digits")
    made_from, held_out = from_uint8(dataset.train_images[:300]), from_uint8(dataset.test_images)

    def rate(images: jax.Array, perturbation: jax.Array) -> float:
        return float(add_perturbation(lenet, images, leaving(lenet, images), perturbation).success.mean())

    options = UniversalOptions(epsilon=0.2, fooling_rate=1.0, passes=6)
    result = universal_perturbation(lenet, made_from, leaving(lenet, made_from), options)
    signs = 0.2 * jax.random.rademacher(jax.random.key(0), (28, 28, 1), jnp.float32)
    assert rate(held_out, result.perturbation) > 3 * rate(held_out, signs)
    # The best of all passes is returned.
    best = float(jnp.nanmax(result.fooling_rates))
    assert float(result.success.mean()) == pytest.approx(best)
    assert rate(made_from, result.perturbation) == pytest.approx(best)


def test_templates_are_the_weights(binary, inner_images) -> None:
    found = templates(binary)
    np.testing.assert_allclose(found[1].ravel(), binary.params[0], rtol=1e-5)
    np.testing.assert_array_equal(found[0], 0)
    result = add_template(binary, inner_images, YES, TemplateOptions(0.1))
    weights = binary.params[0]
    gained = 0.1 * jnp.sum(jnp.square(weights)) / jnp.abs(weights).max()
    np.testing.assert_allclose(
        margin(binary, result.images) - margin(binary, inner_images), gained, rtol=1e-4
    )


# Gradients


UNTARGETED, TARGETED = Untargeted([0, 1]), Targeted([2, 2])


@pytest.mark.parametrize(
    ("network", "size", "activation", "goal"),
    [
        ("linear", 8, "softmax", UNTARGETED),
        ("maxout", 8, "sigmoid", TARGETED),
        ("lenet", 16, "softmax", UNTARGETED),
        pytest.param("mlp", 8, "sigmoid", TARGETED, marks=pytest.mark.slow),
        pytest.param("cnn", 8, "softmax", UNTARGETED, marks=pytest.mark.slow),
        pytest.param("squeezenet-1.0", 21, "softmax", TARGETED, marks=pytest.mark.slow),
        pytest.param("mobilenet-v1-0.25", 32, "softmax", TARGETED, marks=pytest.mark.slow),
    ],
)
def test_gradients_agree_with_finite_differences(network, size, activation, goal, double_precision) -> None:
    shape = (size, size, 3)
    classifier = create_classifier(network, shape, ("a", "b", "c"), activation=activation)

    def scaled(leaf: jax.Array) -> jax.Array:
        # Depthwise kernels start so small that nothing of the image would be left after thirteen of them.
        return leaf.astype(jnp.float64) * (np.sqrt(2 * leaf.shape[-1]) if leaf.ndim == 3 else 1)

    classifier = jax.tree.map(scaled, classifier)
    images = jax.random.uniform(jax.random.key(0), (2, *shape), jnp.float64)
    direction = jax.random.normal(jax.random.key(1), images.shape, jnp.float64)

    step = 1e-6

    @jax.jit
    def slopes(images: jax.Array) -> tuple[jax.Array, jax.Array]:
        gradient, logits = input_gradient(classifier, images, goal)
        assert gradient.dtype == logits.dtype == jnp.float64
        nearby = classifier.logits(jnp.concatenate([images + step * direction, images - step * direction]))
        ahead, behind = (goal.objective(classifier, logits) for logits in jnp.split(nearby, 2))
        return jnp.sum(gradient * direction, axis=(1, 2, 3)), (ahead - behind) / (2 * step)

    expected, found = slopes(images)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)
    assert (jnp.abs(expected) > 1e-6).all()


def test_the_gradient_survives_where_the_confidence_rounds_to_one(binary, inner_images) -> None:
    certain = Classifier((100 * binary.params[0], binary.params[1]), binary.logits_function, binary.spec)
    goal = leaving(certain, inner_images)
    assert (certain(inner_images).max(axis=1) == 1).any()
    result = fast_gradient_sign(certain, inner_images, goal)
    expected = fast_gradient_sign(binary, inner_images, goal)
    np.testing.assert_array_equal(result.images, expected.images)


# Foolbox's results


@pytest.fixture(scope="module")
def foolbox():
    return pytest.importorskip("foolbox")


def foolbox_model(foolbox, classifier):
    return foolbox.JAXModel(jax.jit(classifier.logits), bounds=(0, 1), data_format="channels_last")


@pytest.mark.slow
def test_fast_gradient_sign_is_foolboxs_image_by_image(foolbox, lenet, digits, double_precision) -> None:
    # In float64, because Foolbox's gradient is rounding error where the softmax is certain in float32.
    classifier = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), lenet)
    images, labels = digits[0].astype(jnp.float64), digits[1]
    model = foolbox_model(foolbox, classifier)
    for epsilon in (0.05, 0.25):
        _, expected, success = foolbox.attacks.LinfFastGradientAttack()(
            model, images, labels, epsilons=epsilon
        )
        options = FastGradientSignOptions(epsilon)
        result = fast_gradient_sign(classifier, images, Untargeted(labels), options)
        np.testing.assert_allclose(result.images, expected, atol=1e-12)
        np.testing.assert_array_equal(result.success, success)


@pytest.mark.slow
def test_iterated_steps_in_a_ball_are_foolboxs(foolbox, lenet, digits, double_precision) -> None:
    classifier = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), lenet)
    images, labels = digits[0].astype(jnp.float64), digits[1]
    attack = foolbox.attacks.LinfBasicIterativeAttack(steps=5, abs_stepsize=0.05)
    _, expected, _ = attack(foolbox_model(foolbox, classifier), images, labels, epsilons=0.15)
    options = steps_of(0.05, 5, epsilon=0.15)
    result = iterated_gradient_sign(classifier, images, Untargeted(labels), options)
    np.testing.assert_allclose(result.images, expected, atol=1e-12)


@pytest.mark.slow
def test_projected_gradient_descent_succeeds_as_often_as_foolboxs(foolbox, lenet, digits) -> None:
    images, labels = digits
    attack = foolbox.attacks.LinfPGD(steps=20, abs_stepsize=0.01)
    _, _, success = attack(foolbox_model(foolbox, lenet), images, labels, epsilons=0.1)
    result = pgd(lenet, images, Untargeted(labels), PGDOptions(0.1, steps=20, step_size=0.01))
    assert result.success.mean() >= float(success.mean()) - 0.04


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_is_as_near_as_foolboxs(foolbox, lenet, digits, norm) -> None:
    images, labels = digits
    attack = {"l2": foolbox.attacks.L2DeepFoolAttack, "linf": foolbox.attacks.LinfDeepFoolAttack}[norm]()
    _, expected, success = attack(foolbox_model(foolbox, lenet), images, labels, epsilons=None)
    result = deepfool(lenet, images, Untargeted(labels), DeepFoolOptions(norm=norm))
    assert success.all()
    assert result.success.all()
    ours, theirs = l2(result.images - images).mean(), l2(expected - images).mean()
    assert ours <= 1.01 * theirs


@pytest.mark.slow
def test_lbfgs_changes_less_than_carlini_and_wagner_by_foolbox(foolbox, lenet, digits) -> None:
    """Foolbox has no L-BFGS any more; its attack by Carlini and Wagner minimises the same norm."""
    images, labels = digits[0][:10], digits[1][:10]
    targets = random_targets(jax.random.key(0), labels, lenet)
    criterion = foolbox.criteria.TargetedMisclassification(targets)
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=3, steps=60, stepsize=0.05)
    _, expected, success = attack(foolbox_model(foolbox, lenet), images, criterion, epsilons=None)
    result = lbfgs(lenet, images, Targeted(targets))
    assert result.success.all()
    both = np.asarray(success)
    assert both.any()
    assert l2(result.images - images)[both].mean() <= 1.01 * l2(expected - images)[both].mean()


# The contract of all attacks

SHORT = {
    "ascent": GradientAscentOptions(steps=3),
    "fgsm": FastGradientSignOptions(),
    "iterated": IteratedGradientSignOptions(steps=3, change=80.0),
    "pgd": PGDOptions(0.1, steps=3, restarts=2),
    "apgd": APGDOptions(0.1, steps=4, loss="dlr-targeted", targets=2),
    "fab": FABOptions(steps=4, targets=2),
    "auto": AutoAttackOptions(0.1, steps=3, targets=2, square_queries=5),
    "lbfgs": LBFGSOptions(searches=2, iterations=3),
    "deepfool": DeepFoolOptions(steps=3),
    "universal": UniversalOptions(epsilon=0.1, passes=1),
    "template": TemplateOptions(),
    "square": SquareOptions(max_queries=5),
    "nes": NESOptions(max_queries=5, samples=2),
    "hop-skip-jump": HopSkipJumpOptions(max_queries=5),
    "one-pixel": OnePixelOptions(max_queries=5, population=4),
}


ASKING = ("square", "nes", "hop-skip-jump", "one-pixel")
"""The attacks that need no gradient."""

# AutoAttack compiles four attacks.
ALL = [pytest.param(name, marks=pytest.mark.slow) if name == "auto" else name for name in ATTACKS]
BY_GRADIENT = [name for name in ALL if name not in ASKING]


@pytest.mark.parametrize("name", ALL)
def test_every_attack_has_one_signature_and_one_result(lenet, digits, name) -> None:
    classifier = (
        create_classifier("linear", (28, 28, 1), tuple("0123456789")) if name == "template" else lenet
    )
    images, labels = digits[0][:4], digits[1][:4].tolist()
    options = SHORT[name]
    kind = options.goals[0]
    targets = random_targets(jax.random.key(9), labels, classifier)
    goal = kind(targets if kind is Targeted else labels)
    result = ATTACKS.named(name).build(classifier, images, goal, options)
    assert result.images.shape == images.shape
    assert ((result.images >= 0) & (result.images <= 1)).all()
    np.testing.assert_allclose(result.confidences, classifier(result.images), atol=1e-5)
    np.testing.assert_allclose(result.confidences_before, classifier(images), atol=1e-5)
    np.testing.assert_array_equal(result.originals, images)
    assert result.had_gradient is None if name in ASKING else result.had_gradient.tolist() == [True] * 4
    if name in ASKING:
        assert ((result.queries == 5) | result.success).all()

    change = np.asarray(result.images - images).reshape(4, -1)
    for order, distance in ((0, result.l0), (1, result.l1), (2, result.l2), (np.inf, result.linf)):
        np.testing.assert_allclose(distance, np.linalg.norm(change, order, axis=1), rtol=1e-5)
    np.testing.assert_allclose(result.distortion, np.sqrt(np.mean(change**2, axis=1)), rtol=1e-5)
    assert len(repr(result)) < 100


@pytest.mark.parametrize("name", [name for name, entry in ATTACKS.items() if len(entry.options.goals) == 1])
def test_an_attack_of_one_kind_of_goal_refuses_the_other(binary, inner_images, name) -> None:
    goals = ATTACKS.named(name).options.goals
    wrong = (Targeted if goals == (Untargeted,) else Untargeted)([0] * 8)
    with pytest.raises(UsageError, match=f"the goal of this attack is {goals[0].__name__}"):
        ATTACKS.named(name).build(binary, inner_images, wrong)


def test_gradient_attacks_count_their_passes(binary, inner_images) -> None:
    goal, count = leaving(binary, inner_images), len(inner_images)
    step = fast_gradient_sign(binary, inner_images, goal, FastGradientSignOptions(0.1))
    assert (step.queries.tolist(), step.gradient_queries.tolist()) == ([2] * count, [1] * count)
    iterated = iterated_gradient_sign(binary, inner_images, goal, steps_of(0.001, 7))
    assert (iterated.queries.tolist(), iterated.gradient_queries.tolist()) == ([9] * count, [7] * count)
    # Three starts that fail, and one that succeeds at once.
    for epsilon, starts in ((1e-4, 3), (0.4, 1)):
        result = pgd(binary, inner_images, goal, PGDOptions(epsilon, steps=5, restarts=3))
        assert result.queries.tolist() == [starts * 6 + 2] * count
        assert result.gradient_queries.tolist() == [starts * 5] * count
        assert not result.padded_queries.any()


def test_classes_are_taken_as_lists_numpy_and_jax_arrays() -> None:
    logits = jnp.array([[2.0, 1.0], [2.0, 1.0]])
    for classes in ([0, 1], (0, 1), np.array([0, 1]), np.array([0, 1], np.uint8), jnp.array([0, 1])):
        assert Untargeted(classes).reached(logits).tolist() == [False, True]
        assert Targeted(classes).classes.tolist() == [0, 1]


@pytest.mark.parametrize("classes", [[0.5], [[0]], 3, ["three"], [True]])
def test_classes_that_are_no_whole_numbers_are_refused(classes) -> None:
    with pytest.raises(UsageError, match="whole numbers"):
        Targeted(np.array(classes))


def test_a_class_beyond_32_bits_is_out_of_range(binary, inner_images) -> None:
    with pytest.raises(UsageError, match="the classes of binary are 0 to 1"):
        fast_gradient_sign(binary, inner_images, Untargeted([2**32] * 8))


@pytest.mark.parametrize("name", sorted(SHORT.keys() - {"universal", "template", "auto"}))
def test_results_do_not_depend_on_batches(binary, monkeypatch, name) -> None:
    images = jax.random.uniform(jax.random.key(5), (7, *BINARY_SHAPE))
    entry = ATTACKS.named(name)
    options = SHORT[name]
    goal = options.goals[0](jnp.argmin(binary(images), axis=1))
    whole = entry.build(binary, images, goal, options)
    monkeypatch.setattr("evofool.attacks.attack.batch_size_of", lambda shape: 3)
    parts = entry.build(binary, images, goal, options)
    for field, expected, found in zip(whole._fields, whole, parts, strict=True):
        # What is scored for nothing depends on the others in the batch by its nature.
        if isinstance(expected, jax.Array) and field != "padded_queries":
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=field)


def test_random_starts_are_keyed_by_seed_and_image(binary, inner_images) -> None:
    def start(count: int, seed: int) -> jax.Array:
        options = PGDOptions(0.1, steps=1, step_size=0.0, seed=seed)
        goal = Untargeted([0] * count)
        return pgd(binary, inner_images[:count], goal, options).images

    np.testing.assert_array_equal(start(3, 0), start(8, 0)[:3])
    assert (start(8, 0) != start(8, 1)).mean() > 0.9
    changes = start(8, 0) - inner_images
    assert (changes[0] != changes[1]).mean() > 0.9


def test_attacks_can_be_part_of_a_compiled_function(lenet, digits) -> None:
    images, labels = digits[0][:4], digits[1][:4]

    @jax.jit
    def both(classifier: Classifier, images: jax.Array) -> jax.Array:
        return fast_gradient_sign(classifier, images, Untargeted(labels)).images

    alone = fast_gradient_sign(lenet, images, Untargeted(labels)).images
    np.testing.assert_allclose(both(lenet, images), alone, atol=1e-6)


def test_other_weights_and_sizes_compile_nothing(binary, inner_images) -> None:
    traced = []

    def counting(params, images):
        traced.append(1)
        return binary_logits(params, images)

    goal = Untargeted([1] * 8)
    first = Classifier(binary.params, counting, binary.spec)
    second = Classifier((-binary.params[0], binary.params[1]), counting, binary.spec)
    up = fast_gradient_sign(first, inner_images, goal, FastGradientSignOptions(0.1)).images
    count = len(traced)
    down = fast_gradient_sign(second, inner_images, goal, FastGradientSignOptions(0.2)).images
    assert len(traced) == count
    np.testing.assert_allclose(down - inner_images, -2 * (up - inner_images), atol=1e-6)


IMAGES = jax.random.uniform(jax.random.key(7), (6, *BINARY_SHAPE))


@settings(max_examples=30, deadline=None)
@given(epsilon=st.floats(0, 1), seed=st.integers(0, 2**31 - 1))
def test_a_sign_step_stays_in_its_ball_and_in_the_valid_range(binary, epsilon, seed) -> None:
    images = jax.random.uniform(jax.random.key(seed), (6, *BINARY_SHAPE))
    result = fast_gradient_sign(binary, images, Untargeted([0] * 6), FastGradientSignOptions(epsilon))
    assert ((result.images >= 0) & (result.images <= 1)).all()
    assert jnp.abs(result.images - images).max() <= epsilon + 1e-6


@settings(max_examples=30, deadline=None)
@given(epsilon=st.floats(0, 0.5), step_size=st.floats(0, 0.5), seed=st.integers(0, 2**31 - 1))
def test_iterated_steps_stay_in_their_ball_and_in_the_valid_range(binary, epsilon, step_size, seed) -> None:
    images = jax.random.uniform(jax.random.key(seed), (6, *BINARY_SHAPE))
    options = steps_of(step_size, 4, epsilon=epsilon)
    result = iterated_gradient_sign(binary, images, Untargeted([0] * 6), options)
    assert ((result.images >= 0) & (result.images <= 1)).all()
    assert jnp.abs(result.images - images).max() <= epsilon + 1e-6


@settings(max_examples=10, deadline=None)
@given(
    epsilon=st.floats(0, 1),
    norm=st.sampled_from(["linf", "l2"]),
    improvement=st.sampled_from(["gradient", "deepfool"]),
    seed=st.integers(0, 99),
)
def test_a_universal_perturbation_stays_in_its_ball(binary, epsilon, norm, improvement, seed) -> None:
    options = UniversalOptions(
        epsilon, norm, improvement, fooling_rate=1.0, passes=2, batch_size=4, seed=seed
    )
    result = universal_perturbation(binary, IMAGES, leaving(binary, IMAGES), options)
    size = jnp.abs(result.perturbation).max() if norm == "linf" else jnp.linalg.norm(result.perturbation)
    assert size <= epsilon + 1e-6
    assert ((result.images >= 0) & (result.images <= 1)).all()


def test_a_size_of_zero_changes_nothing(binary) -> None:
    goal = Untargeted([0] * 6)
    for result in (
        fast_gradient_sign(binary, IMAGES, goal, FastGradientSignOptions(0.0)),
        iterated_gradient_sign(binary, IMAGES, goal, steps_of(0.0, 3)),
        iterated_gradient_sign(binary, IMAGES, goal, steps_of(0.1, 3, epsilon=0.0)),
        universal_perturbation(binary, IMAGES, goal, UniversalOptions(0.0, passes=1)),
        add_template(binary, IMAGES, Targeted([1] * 6), TemplateOptions(0.0)),
        add_perturbation(binary, IMAGES, goal, jnp.zeros(BINARY_SHAPE)),
    ):
        np.testing.assert_array_equal(result.images, IMAGES)
        np.testing.assert_array_equal(result.distortion, 0)


def test_an_image_that_has_left_its_label_is_left_alone_by_deepfool(binary, inner_images) -> None:
    wrong = Untargeted(jnp.argmin(binary(inner_images), axis=1))
    result = deepfool(binary, inner_images, wrong)
    np.testing.assert_array_equal(result.images, inner_images)
    assert result.first_step.tolist() == [0] * 8


def test_an_image_that_is_its_target_already_needs_no_change(binary, inner_images) -> None:
    result = lbfgs(binary, inner_images, Targeted(predicted_classes(binary, inner_images)))
    np.testing.assert_array_equal(result.images, inner_images)
    assert result.success.all()


def test_images_do_not_influence_each_other(lenet, digits) -> None:
    images, labels = digits[0][:4], digits[1][:4]
    targets, options = random_targets(jax.random.key(9), labels, lenet), SHORT["lbfgs"]
    together = lbfgs(lenet, images, Targeted(targets), options)
    alone = lbfgs(lenet, images[2:3], Targeted(targets[2:3]), options)
    np.testing.assert_allclose(together.distortion[2], alone.distortion[0], rtol=0.02)


def test_random_targets_are_never_the_label(lenet) -> None:
    labels = jnp.arange(10_000) % 10
    targets = random_targets(jax.random.key(0), labels, lenet)
    assert (targets != labels).all()
    assert jnp.bincount(targets, length=10).min() > 900


def test_a_changed_image_is_assessed_as_what_it_is(binary, inner_images) -> None:
    rounded = jnp.round(inner_images * 255) / 255
    result = assess(binary, inner_images, rounded, leaving(binary, inner_images))
    np.testing.assert_array_equal(result.images, rounded)
    assert not result.success.all()
    assert 0 < result.distortion.max() < 1 / 255


def test_a_quantised_result_is_that_of_the_images_in_256_levels(lenet, digits) -> None:
    images, labels = digits[0][:20], digits[1][:20]
    result = deepfool(lenet, images, Untargeted(labels))
    quantised = result.quantised
    levels = np.rint(255 * np.asarray(result.images)).astype(np.uint8)
    np.testing.assert_array_equal(np.rint(255 * np.asarray(quantised.images)), levels)
    expected = np.asarray(lenet(from_uint8(levels)))
    np.testing.assert_allclose(quantised.confidences, expected, atol=1e-6)
    np.testing.assert_array_equal(quantised.success, expected.argmax(axis=1) != labels)
    np.testing.assert_array_equal(quantised.originals, images)
    assert 0 < quantised.success.sum() < result.success.sum() == 20


def test_what_nobody_says_was_attacked_cannot_be_measured_again(binary, inner_images, tmp_path) -> None:
    result = fast_gradient_sign(binary, inner_images, YES)
    unknown = result._replace(classifier=None)
    with pytest.raises(UsageError, match="lacks what was attacked"):
        _ = unknown.quantised
    with pytest.raises(UsageError, match="lacks what was attacked"):
        unknown.save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    again = unknown.against(binary, YES).quantised
    np.testing.assert_array_equal(again.images, result.quantised.images)


def test_a_result_is_saved_as_its_quantised_self(binary, inner_images, tmp_path) -> None:
    options = FastGradientSignOptions(0.1)
    result = fast_gradient_sign(binary, inner_images, Untargeted([0, 1] * 4), options)
    result.save(tmp_path, names=list("abcdefgh"))
    saved = from_uint8(np.stack([read_png(tmp_path / "images" / f"{name}.png") for name in "abcdefgh"]))
    np.testing.assert_array_equal(saved, result.quantised.images)
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for kind, suffix in ((result, ""), (result.quantised, "_saved")):
        assert [row[f"success{suffix}"] == "True" for row in rows] == kind.success.tolist()
        found = [float(row[f"confidence{suffix}"]) for row in rows]
        np.testing.assert_allclose(found, kind.confidences.max(axis=1), atol=1e-6)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["attack"] == {"name": "fgsm", "max_queries": None, "epsilon": 0.1, "norm": "linf"}
    assert (config["goal"], config["classifier"]) == ("untargeted", "binary")
    assert config["classifier_sha256"] == weights_digest(binary)
    with pytest.raises(UsageError, match="already holds an attack"):
        result.save(tmp_path)
    result.save(tmp_path, overwrite=True)
    assert sorted(path.name for path in (tmp_path / "images").iterdir()) == [f"{n:05}.png" for n in range(8)]
    for names in (["a"] * 8, ["a"]):
        with pytest.raises(UsageError, match="8 different names"):
            result.save(tmp_path / "new", names=names)


# Gradient ascent and its regularisation


@pytest.mark.slow
def test_all_digits_are_reached_at_once(lenet) -> None:
    start = noise_images(jax.random.key(0), 10, lenet)
    goal, options = Targeted(range(10)), GradientAscentOptions(steps=200)
    result = gradient_ascent(lenet, start, goal, options, watch=goal.classes[:, None])
    assert result.trajectory.shape == (201, 10, 1)
    at = [first_step_above(result.trajectory[..., 0], p) for p in (0.99, 0.999, 0.9999)]
    assert result.success.all()
    assert all((steps >= 0).all() for steps in at)
    assert (at[0] <= at[1]).all()
    assert (at[1] <= at[2]).all()
    assert (result.first_step <= at[0]).all()


def test_the_best_image_on_the_way_is_kept(lenet) -> None:
    start = noise_images(jax.random.key(0), 2, lenet)
    # A decay so strong that the confidence falls again.
    result = gradient_ascent(lenet, start, Targeted([3, 8]), GradientAscentOptions(steps=60, decay=0.2))
    of_target = jnp.stack([result.trajectory[:, 0, 3], result.trajectory[:, 1, 8]], axis=1)
    kept = jnp.array([result.confidences[0, 3], result.confidences[1, 8]])
    np.testing.assert_allclose(kept, of_target.max(axis=0), rtol=1e-5)


def test_decay_alone_leads_to_the_mean_image(binary, inner_images) -> None:
    # A mean image of the target class, so that the image half way to it is the better one and is kept.
    mean_image = (binary.params[0] > 0).astype(jnp.float32).reshape(BINARY_SHAPE)
    options = GradientAscentOptions(steps=1, learning_rate=1e-12, decay=0.5)
    result = gradient_ascent(binary, inner_images, YES, options, mean_image=mean_image)
    np.testing.assert_allclose(result.images, (inner_images + mean_image) / 2, atol=1e-6)


def test_the_blur_is_scipys() -> None:
    from scipy.ndimage import gaussian_filter

    images = np.random.default_rng(0).normal(size=(2, 20, 24, 3)).astype(np.float32)
    blurred = _gaussian_blur(jnp.asarray(images), 1.3)
    expected = gaussian_filter(images, (0, 1.3, 1.3, 0))
    np.testing.assert_allclose(blurred, expected, atol=1e-5)


SCORES = {
    "small_values": lambda difference, gradient: np.abs(difference),
    "small_norms": lambda difference, gradient: np.abs(difference),
    "small_benefits": lambda difference, gradient: -difference * gradient,
    "small_contributions": lambda difference, gradient: np.abs(difference * gradient),
}


@pytest.mark.parametrize("name", SCORES)
def test_a_percentage_of_pixels_is_set_to_the_mean(lenet, name) -> None:
    start, three = noise_images(jax.random.key(0), 1, lenet), Targeted([3])
    # So long a step that three quarters of it raise the confidence, and the image is kept.
    options = GradientAscentOptions(steps=1, early_progress=0.9, late_progress=0.9)
    plain = gradient_ascent(lenet, start, three, options)
    clipped = gradient_ascent(lenet, start, three, replace(options, **{name: 25.0}))
    assert clipped.confidences[0, 3] > clipped.confidences_before[0, 3]
    gradient, _ = jax.jit(input_gradient)(lenet, start, three)
    score = SCORES[name](np.asarray(plain.images - 0.5), np.asarray(gradient))
    # But for pixels on the threshold, where rounding decides.
    assert np.mean((clipped.images == 0.5) == (score < np.percentile(score, 25))) > 0.99
    assert jnp.mean(plain.images == 0.5) < 0.01


# Images without a gradient


@pytest.mark.parametrize("name", BY_GRADIENT)
def test_an_image_without_a_gradient_is_marked_and_left_as_it_is(binary, inner_images, name) -> None:
    flat = Classifier((jnp.zeros(30), jnp.float32(0.2)), binary.logits_function, binary.spec)
    entry = ATTACKS.named(name)
    goal = Targeted([0] * 8) if Targeted in entry.options.goals else Untargeted([1] * 8)
    result = entry.build(flat, inner_images, goal, SHORT[name])
    assert not result.had_gradient.any()
    assert not result.success.any()
    np.testing.assert_array_equal(result.images, inner_images)


def dead_below(params, images):
    """No gradient where an image is darker than 1%."""
    level = jax.nn.relu(images.mean(axis=(1, 2, 3)) - 0.01) * params
    return jnp.stack([0.05 * params * jnp.ones_like(level), level], axis=1)


@pytest.fixture
def dead() -> Classifier:
    return Classifier(jnp.float32(50), dead_below, ClassifierSpec("dead", (4, 4, 1), ("dark", "light")))


@pytest.mark.parametrize("name", ["ascent", "fgsm", "iterated", "lbfgs", "deepfool"])
def test_images_are_marked_one_by_one(dead, name) -> None:
    images = jnp.stack([jnp.zeros((4, 4, 1)), jnp.full((4, 4, 1), 0.02)])
    entry = ATTACKS.named(name)
    goal = Targeted([1, 1]) if Targeted in entry.options.goals else Untargeted([0, 0])
    result = entry.build(dead, images, goal, SHORT[name])
    assert result.had_gradient.tolist() == [False, True]


def test_a_random_start_leaves_a_point_without_gradient(dead) -> None:
    black, goal = jnp.zeros((1, 4, 4, 1)), Targeted([1])
    assert not iterated_gradient_sign(dead, black, goal, steps_of(0.05, 5)).success.any()
    assert pgd(dead, black, goal, PGDOptions(0.3, steps=5)).success.all()


# Refused


@pytest.mark.parametrize(
    ("options", "values", "message"),
    [
        (FastGradientSignOptions, {"epsilon": -0.1}, "epsilon must be between 0 and 1"),
        (FastGradientSignOptions, {"epsilon": float("nan")}, "epsilon must be between 0 and 1"),
        (IteratedGradientSignOptions, {"epsilon": -0.1}, "epsilon must be between 0 and 1"),
        (IteratedGradientSignOptions, {"change": -0.1}, "change must be 0 or more"),
        (IteratedGradientSignOptions, {"steps": 0}, "steps must be above zero"),
        (DeepFoolOptions, {"steps": 0}, "steps must be above zero"),
        (DeepFoolOptions, {"candidates": 0}, "candidates must be above zero"),
        (DeepFoolOptions, {"overshoot": -1.0}, "overshoot must be 0 or more"),
        (LBFGSOptions, {"searches": 0}, "searches must be above zero"),
        (LBFGSOptions, {"first_weight": 0.0}, "first_weight must be above zero"),
        (UniversalOptions, {"epsilon": 1.1}, "epsilon must be between 0 and 1"),
        (UniversalOptions, {"epsilon": -0.1, "norm": "l2"}, "epsilon must be 0 or more"),
        (UniversalOptions, {"fooling_rate": 1.2}, "fooling_rate must be between 0 and 1"),
        (UniversalOptions, {"passes": 0}, "passes must be above zero"),
        (UniversalOptions, {"steps": 0}, "steps must be above zero"),
        (UniversalOptions, {"seed": 2**32}, "seed must be 0 to"),
        (TemplateOptions, {"epsilon": -0.1}, "epsilon must be between 0 and 1"),
        (GradientAscentOptions, {"steps": 0}, "steps must be above zero"),
        (GradientAscentOptions, {"late_progress": 0.0}, "late_progress must be above zero"),
        (GradientAscentOptions, {"decay": 1.5}, "decay must be between 0 and 1"),
        (GradientAscentOptions, {"blur_radius": 0.1}, "at least 0.3"),
        (GradientAscentOptions, {"blur_every": 0}, "blur_every must be above zero"),
        (GradientAscentOptions, {"small_norms": 101.0}, "small_norms must be a percentage"),
        (GradientAscentOptions, {"small_values": -1.0}, "small_values must be a percentage"),
    ],
)
def test_options_out_of_range_are_refused(options, values, message) -> None:
    with pytest.raises(UsageError, match=message):
        options(**values)


@pytest.mark.parametrize(
    ("images", "classes", "message"),
    [
        (np.zeros((0, 6, 5, 1)), [], "no images"),
        (np.zeros((2, 6, 5, 1)), [0], "2 images, 1 classes"),
        (np.zeros((1, 6, 5, 1)), [2], "0 to 1"),
        (np.full((1, 6, 5, 1), 200.0), [0], "divide 8-bit images by 255"),
        (np.full((1, 6, 5, 1), np.nan), [0], r"values in \[0, 1\]"),
        (np.zeros((1, 5, 6, 1)), [0], r"takes images of height"),
    ],
)
def test_images_and_classes_that_do_not_fit_are_refused(binary, images, classes, message) -> None:
    for kind in (Untargeted, Targeted):
        with pytest.raises(UsageError, match=message):
            fast_gradient_sign(binary, jnp.asarray(images, jnp.float32), kind(classes))


@pytest.mark.parametrize("mean_image", [1.5, jnp.full(BINARY_SHAPE, -0.5), float("nan")])
def test_a_mean_image_outside_the_valid_range_is_refused(binary, inner_images, mean_image) -> None:
    with pytest.raises(UsageError, match=r"must be between 0 and 1, not (1.5|-0.5|nan)"):
        gradient_ascent(binary, inner_images, YES, mean_image=mean_image)
    with pytest.raises(UsageError, match=r"must be between 0 and 1, not (1.5|-0.5|nan)"):
        noise_images(jax.random.key(0), 1, binary, mean_image=mean_image)


def test_noise_of_no_images_or_a_negative_level_is_refused(binary) -> None:
    with pytest.raises(UsageError, match="level must be 0 or more"):
        noise_images(jax.random.key(0), 1, binary, level=-1.0)
    with pytest.raises(UsageError, match="count must be above zero"):
        noise_images(jax.random.key(0), 0, binary)


def test_the_euclidean_ball_has_no_default_size(binary, inner_images) -> None:
    with pytest.raises(UsageError, match=r"norm l2 requires epsilon.*has 0\.21"):
        universal_perturbation(binary, inner_images, Untargeted([0] * 8), UniversalOptions(norm="l2"))


def test_only_linear_classifiers_have_templates(lenet) -> None:
    with pytest.raises(UsageError, match="lenet-digits is not linear"):
        templates(lenet)


def test_a_classifier_of_one_class_cannot_be_fooled() -> None:
    one_class = Classifier(
        (), lambda _, images: images.sum(axis=(1, 2)), ClassifierSpec("o", (2, 2, 1), ("o",))
    )
    with pytest.raises(UsageError, match="only one class"):
        deepfool(one_class, jnp.zeros((1, 2, 2, 1)), Untargeted([0]))
