"""The gradient attacks: closed forms of linear classifiers, Foolbox's results, and what they promise."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evofool import Classifier, ClassifierSpec, create_classifier, load_classifier
from evofool.attacks import (
    AttackResult,
    Goal,
    Regularisation,
    Targeted,
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
    random_targets,
    templates,
    universal_perturbation,
)
from evofool.attacks.gradient_ascent import _gaussian_blur
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError, UsageError
from evofool.images import from_uint8

BINARY_SHAPE = (6, 5, 1)


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


@pytest.fixture(scope="module")
def lenet() -> Classifier:
    return load_classifier("lenet-digits")


@pytest.fixture(scope="module")
def digits() -> tuple[jax.Array, jax.Array]:
    dataset = load_dataset("digits")
    return from_uint8(dataset.test_images[:60]), jnp.asarray(dataset.test_labels[:60])


@pytest.fixture
def double_precision() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def margin(classifier: Classifier, images: jax.Array) -> np.ndarray:
    weights, bias = classifier.params
    return np.asarray(images.reshape(len(images), -1) @ weights + bias)


def l2(change: jax.Array) -> np.ndarray:
    return np.sqrt(np.sum(np.square(np.asarray(change, np.float64)), axis=(1, 2, 3)))


# What a linear classifier must give, worked out by hand


def test_a_sign_step_moves_a_linear_margin_by_epsilon_times_the_sum_of_its_weights(
    binary, inner_images
) -> None:
    labels = jnp.argmax(binary(inner_images), axis=1)
    result = fast_gradient_sign(binary, inner_images, Untargeted(labels), 0.1)
    towards_other = np.where(labels == 1, -1, 1)
    expected = margin(binary, inner_images) + towards_other * 0.1 * np.abs(binary.params[0]).sum()
    np.testing.assert_allclose(margin(binary, result.images), expected, atol=1e-5)
    np.testing.assert_allclose(result.distortion, 0.1, atol=1e-6)


def test_a_targeted_sign_step_goes_up_where_an_untargeted_one_from_the_other_class_does(
    binary, inner_images
) -> None:
    yes, no = jnp.ones(8, int), jnp.zeros(8, int)
    targeted = fast_gradient_sign(binary, inner_images, Targeted(yes), 0.05)
    untargeted = fast_gradient_sign(binary, inner_images, Untargeted(no), 0.05)
    np.testing.assert_array_equal(targeted.images, untargeted.images)


def test_many_small_sign_steps_are_one_large_one_for_a_linear_classifier(binary, inner_images) -> None:
    goal = Targeted(jnp.ones(8, int))
    many = iterated_gradient_sign(binary, inner_images, goal, steps=20, step_size=0.005)
    one = fast_gradient_sign(binary, inner_images, goal, 0.1)
    np.testing.assert_allclose(many.images, one.images, atol=1e-6)
    assert many.trajectory.shape == (21, 8, 2)
    np.testing.assert_allclose(many.trajectory[0], many.confidences_before, atol=1e-6)
    np.testing.assert_allclose(many.trajectory[-1], many.confidences, atol=1e-6)
    assert (jnp.diff(many.trajectory[:, :, 1], axis=0) > 0).all()


@pytest.mark.parametrize(("norm", "order"), [("l2", 2), ("linf", 1)])
def test_deepfool_goes_the_distance_of_a_point_from_a_plane(binary, inner_images, norm, order) -> None:
    labels = jnp.argmax(binary(inner_images), axis=1)
    result = deepfool(binary, inner_images, labels, norm=norm, overshoot=0.02)
    change = np.asarray(result.images - inner_images)
    length = l2(change) if norm == "l2" else np.abs(change).max(axis=(1, 2, 3))
    plane = np.abs(margin(binary, inner_images)) / np.linalg.norm(binary.params[0], ord=order)
    np.testing.assert_allclose(length, 1.02 * (plane + 1e-4), rtol=1e-3)
    assert result.success.all()
    assert result.first_step.tolist() == [1] * 8


def test_lbfgs_finds_the_distance_of_a_point_from_a_plane(binary, inner_images) -> None:
    target = jnp.argmin(binary(inner_images), axis=1)
    result = lbfgs(binary, inner_images, target, searches=20)
    plane = np.abs(margin(binary, inner_images)) / np.linalg.norm(binary.params[0])
    assert result.success.all()
    np.testing.assert_allclose(l2(result.images - inner_images), plane, rtol=0.02, atol=1e-4)


def test_lbfgs_stays_in_the_box_where_the_plane_is_nearer_outside(binary) -> None:
    black = jnp.zeros((1, *BINARY_SHAPE))
    weights, bias = binary.params
    # Only the pixels of negative weight can help, and they can only grow.
    helpful = np.minimum(np.asarray(weights), 0)
    target = jnp.array([0 if bias > 0 else 1])
    result = lbfgs(binary, black, target, searches=20)
    assert result.success.all()
    expected = float(abs(bias)) / np.linalg.norm(helpful)
    np.testing.assert_allclose(l2(result.images), expected, rtol=0.03)


def test_ascent_adds_the_wanted_progress_while_the_confidence_is_linear(binary, inner_images) -> None:
    result = gradient_ascent(
        binary, inner_images, jnp.ones(8, int), steps=1, early_progress=0.01, late_progress=1.0
    )
    gained = result.trajectory[1, :, 1] - result.trajectory[0, :, 1]
    np.testing.assert_allclose(gained, 0.01, rtol=0.1)


def test_ascent_slows_down_to_a_share_of_what_is_missing(binary, inner_images) -> None:
    result = gradient_ascent(
        binary, inner_images, jnp.ones(8, int), steps=1, early_progress=1.0, late_progress=0.02
    )
    gained = result.trajectory[1, :, 1] - result.trajectory[0, :, 1]
    np.testing.assert_allclose(gained, 0.02 * (1 - result.trajectory[0, :, 1]), rtol=0.1)


def test_a_constant_rate_follows_the_gradient_of_the_confidence(binary, inner_images) -> None:
    result = gradient_ascent(binary, inner_images, jnp.ones(8, int), steps=1, learning_rate=0.01)
    p = jax.nn.sigmoid(jnp.asarray(margin(binary, inner_images)))
    expected = inner_images + (0.01 * p * (1 - p))[:, None, None, None] * binary.params[0].reshape(
        BINARY_SHAPE
    )
    np.testing.assert_allclose(result.images, expected, atol=1e-6)


@pytest.mark.parametrize("gain", [0.5, 3.0])
def test_ascent_gains_no_more_log_odds_than_it_may(binary, inner_images, gain) -> None:
    unlikely = Classifier((binary.params[0], jnp.float32(-15)), binary.logits_function, binary.spec)
    result = gradient_ascent(unlikely, inner_images, jnp.ones(8, int), steps=1, largest_odds_gain=gain)
    gained = margin(unlikely, result.images) - margin(unlikely, inner_images)
    np.testing.assert_allclose(gained, gain, rtol=1e-3)
    free = gradient_ascent(unlikely, inner_images, jnp.ones(8, int), steps=1, largest_odds_gain=None)
    assert jnp.mean((free.images == 0) | (free.images == 1)) > 0.4


@pytest.mark.parametrize("improvement", ["gradient", "deepfool"])
def test_a_universal_perturbation_pushes_one_side_of_a_plane_to_the_other(binary, improvement) -> None:
    images = jax.random.uniform(jax.random.key(5), (40, *BINARY_SHAPE), minval=0.3, maxval=0.7)
    labels = jnp.argmax(binary(images), axis=1)
    side = jnp.argmax(jnp.bincount(labels))
    result = universal_perturbation(
        binary, images[labels == side], epsilon=0.2, fooling_rate=1.0, improvement=improvement
    )
    assert result.attack.success.all()
    assert jnp.abs(result.perturbation).max() <= 0.2
    shift = jnp.sum(result.perturbation.ravel() * binary.params[0])
    assert (shift < 0) == (side == 1)


def test_a_universal_perturbation_fools_on_images_that_it_was_not_made_from(lenet) -> None:
    dataset = load_dataset("digits")
    made_from, held_out = from_uint8(dataset.train_images[:300]), from_uint8(dataset.test_images)

    def rate(images: jax.Array, perturbation: jax.Array) -> float:
        labels = jnp.argmax(lenet(images), axis=1)
        return float(add_perturbation(lenet, images, Untargeted(labels), perturbation).success.mean())

    result = universal_perturbation(lenet, made_from, epsilon=0.2, fooling_rate=1.0, passes=6)
    signs = 0.2 * jax.random.rademacher(jax.random.key(0), (28, 28, 1), jnp.float32)
    assert rate(held_out, result.perturbation) > 3 * rate(held_out, signs)
    # What is returned is the best of the passes, and its rate is told for the images that it was made from.
    best = float(jnp.nanmax(result.fooling_rates))
    assert float(result.attack.success.mean()) == pytest.approx(best)
    assert rate(made_from, result.perturbation) == pytest.approx(best)


def test_templates_are_the_weights(binary, inner_images) -> None:
    found = templates(binary)
    np.testing.assert_allclose(found[1].ravel(), binary.params[0], rtol=1e-5)
    np.testing.assert_array_equal(found[0], 0)
    result = add_template(binary, inner_images, jnp.ones(8, int), 0.1)
    weights = binary.params[0]
    gained = 0.1 * jnp.sum(jnp.square(weights)) / jnp.abs(weights).max()
    np.testing.assert_allclose(
        margin(binary, result.images) - margin(binary, inner_images), gained, rtol=1e-4
    )


# Gradients


UNTARGETED, TARGETED = Untargeted(jnp.array([0, 1])), Targeted(jnp.array([2, 2]))


@pytest.mark.parametrize(
    ("network", "size", "activation", "goal"),
    [
        *((network, 8, "softmax", UNTARGETED) for network in ("linear", "mlp", "maxout", "cnn")),
        *((network, 8, "sigmoid", TARGETED) for network in ("linear", "mlp", "maxout", "cnn")),
        ("lenet", 16, "softmax", UNTARGETED),
        ("lenet", 16, "sigmoid", TARGETED),
        ("squeezenet-1.0", 21, "softmax", TARGETED),
        ("mobilenet-v1-0.25", 32, "softmax", TARGETED),
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
    labels = jnp.argmax(certain(inner_images), axis=1)
    assert (certain(inner_images).max(axis=1) == 1).any()
    result = fast_gradient_sign(certain, inner_images, Untargeted(labels), 0.1)
    expected = fast_gradient_sign(binary, inner_images, Untargeted(labels), 0.1)
    np.testing.assert_array_equal(result.images, expected.images)


# The same by Foolbox


@pytest.fixture(scope="module")
def foolbox():
    return pytest.importorskip("foolbox")


def foolbox_model(foolbox, classifier):
    return foolbox.JAXModel(jax.jit(classifier.logits), bounds=(0, 1), data_format="channels_last")


def test_fast_gradient_sign_is_foolboxs_image_by_image(foolbox, lenet, digits, double_precision) -> None:
    # In float64, because Foolbox's gradient is rounding error where the softmax is certain in float32.
    classifier = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), lenet)
    images, labels = digits[0].astype(jnp.float64), digits[1]
    model = foolbox_model(foolbox, classifier)
    for epsilon in (0.05, 0.25):
        _, expected, success = foolbox.attacks.LinfFastGradientAttack()(
            model, images, labels, epsilons=epsilon
        )
        result = fast_gradient_sign(classifier, images, Untargeted(labels), epsilon)
        np.testing.assert_allclose(result.images, expected, atol=1e-12)
        np.testing.assert_array_equal(result.success, success)


def test_iterated_steps_in_a_ball_are_foolboxs(foolbox, lenet, digits, double_precision) -> None:
    classifier = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), lenet)
    images, labels = digits[0].astype(jnp.float64), digits[1]
    attack = foolbox.attacks.LinfBasicIterativeAttack(steps=5, abs_stepsize=0.05)
    _, expected, _ = attack(foolbox_model(foolbox, classifier), images, labels, epsilons=0.15)
    result = iterated_gradient_sign(
        classifier, images, Untargeted(labels), steps=5, step_size=0.05, epsilon=0.15
    )
    np.testing.assert_allclose(result.images, expected, atol=1e-12)


def test_projected_gradient_descent_succeeds_as_often_as_foolboxs(foolbox, lenet, digits) -> None:
    images, labels = digits
    attack = foolbox.attacks.LinfPGD(steps=20, abs_stepsize=0.01)
    _, _, success = attack(foolbox_model(foolbox, lenet), images, labels, epsilons=0.1)
    result = iterated_gradient_sign(
        lenet, images, Untargeted(labels), steps=20, step_size=0.01, epsilon=0.1, key=jax.random.key(0)
    )
    assert result.success.mean() >= float(success.mean()) - 0.04


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_deepfool_is_as_near_as_foolboxs(foolbox, lenet, digits, norm) -> None:
    images, labels = digits
    attack = {"l2": foolbox.attacks.L2DeepFoolAttack, "linf": foolbox.attacks.LinfDeepFoolAttack}[norm]()
    _, expected, success = attack(foolbox_model(foolbox, lenet), images, labels, epsilons=None)
    result = deepfool(lenet, images, labels, norm=norm)
    assert success.all()
    assert result.success.all()
    ours, theirs = l2(result.images - images).mean(), l2(expected - images).mean()
    assert ours <= 1.01 * theirs


def test_lbfgs_changes_less_than_carlini_and_wagner_by_foolbox(foolbox, lenet, digits) -> None:
    """Foolbox has no L-BFGS any more; its attack by Carlini and Wagner minimises the same norm."""
    images, labels = digits[0][:20], digits[1][:20]
    targets = random_targets(jax.random.key(0), labels, lenet)
    criterion = foolbox.criteria.TargetedMisclassification(targets)
    attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=3, steps=60, stepsize=0.05)
    _, expected, success = attack(foolbox_model(foolbox, lenet), images, criterion, epsilons=None)
    result = lbfgs(lenet, images, targets)
    assert result.success.all()
    assert result.success.mean() >= float(success.mean())
    both = np.asarray(success)
    assert l2(result.images - images)[both].mean() <= 1.01 * l2(expected - images)[both].mean()


# What every attack promises


def every_attack(classifier: Classifier, images: jax.Array, labels: jax.Array) -> dict[str, AttackResult]:
    targets = random_targets(jax.random.key(9), labels, classifier)
    return {
        "fgsm": fast_gradient_sign(classifier, images, Untargeted(labels), 0.1),
        "iterated": iterated_gradient_sign(classifier, images, Targeted(targets), steps=3, step_size=0.1),
        "ascent": gradient_ascent(classifier, images, targets, steps=3),
        "lbfgs": lbfgs(classifier, images, targets, searches=2, iterations=3),
        "deepfool": deepfool(classifier, images, labels, steps=3),
        "universal": universal_perturbation(classifier, images, epsilon=0.1, passes=1).attack,
    }


def test_every_result_says_what_the_classifier_makes_of_its_images(lenet, digits) -> None:
    images, labels = digits[0][:4], digits[1][:4]
    for name, result in every_attack(lenet, images, labels).items():
        assert result.images.shape == images.shape, name
        assert ((result.images >= 0) & (result.images <= 1)).all(), name
        np.testing.assert_allclose(result.confidences, lenet(result.images), atol=1e-5, err_msg=name)
        np.testing.assert_allclose(result.confidences_before, lenet(images), atol=1e-5, err_msg=name)
        rms = l2(result.images - images) / np.sqrt(images[0].size)
        np.testing.assert_allclose(result.distortion, rms, atol=1e-6, err_msg=name)


def test_attacks_can_be_part_of_a_compiled_function(lenet, digits) -> None:
    images, labels = digits[0][:4], digits[1][:4]

    @jax.jit
    def both(classifier: Classifier, images: jax.Array) -> jax.Array:
        return fast_gradient_sign(classifier, images, Untargeted(labels), 0.1).images

    alone = fast_gradient_sign(lenet, images, Untargeted(labels), 0.1).images
    np.testing.assert_allclose(both(lenet, images), alone, atol=1e-6)


def test_other_weights_compile_nothing_anew(binary, inner_images) -> None:
    traced = []

    def counting(params, images):
        traced.append(1)
        return binary_logits(params, images)

    goal = Untargeted(jnp.ones(8, int))
    first = Classifier(binary.params, counting, binary.spec)
    second = Classifier((-binary.params[0], binary.params[1]), counting, binary.spec)
    up = fast_gradient_sign(first, inner_images, goal, 0.1).images
    count = len(traced)
    down = fast_gradient_sign(second, inner_images, goal, 0.2).images
    assert len(traced) == count
    np.testing.assert_allclose(down - inner_images, -2 * (up - inner_images), atol=1e-6)


IMAGES = jax.random.uniform(jax.random.key(7), (6, *BINARY_SHAPE))


@settings(max_examples=30, deadline=None)
@given(epsilon=st.floats(0, 1.5), seed=st.integers(0, 2**31 - 1))
def test_a_sign_step_stays_in_its_ball_and_in_the_valid_range(binary, epsilon, seed) -> None:
    images = jax.random.uniform(jax.random.key(seed), (6, *BINARY_SHAPE))
    result = fast_gradient_sign(binary, images, Untargeted(jnp.zeros(6, int)), epsilon)
    assert ((result.images >= 0) & (result.images <= 1)).all()
    assert jnp.abs(result.images - images).max() <= epsilon + 1e-6


@settings(max_examples=30, deadline=None)
@given(
    epsilon=st.floats(0, 0.5),
    step_size=st.floats(0, 0.5),
    seed=st.integers(0, 2**31 - 1),
    random_start=st.booleans(),
)
def test_iterated_steps_stay_in_their_ball_and_in_the_valid_range(
    binary, epsilon, step_size, seed, random_start
) -> None:
    images = jax.random.uniform(jax.random.key(seed), (6, *BINARY_SHAPE))
    result = iterated_gradient_sign(
        binary,
        images,
        Untargeted(jnp.zeros(6, int)),
        steps=4,
        step_size=step_size,
        epsilon=epsilon,
        key=jax.random.key(seed) if random_start else None,
    )
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
    result = universal_perturbation(
        binary,
        IMAGES,
        epsilon=epsilon,
        norm=norm,
        improvement=improvement,
        passes=2,
        batch_size=4,
        fooling_rate=1.0,
        seed=seed,
    )
    size = jnp.abs(result.perturbation).max() if norm == "linf" else jnp.linalg.norm(result.perturbation)
    assert size <= epsilon + 1e-6
    assert ((result.attack.images >= 0) & (result.attack.images <= 1)).all()


def test_a_size_of_zero_changes_nothing(binary) -> None:
    goal = Untargeted(jnp.zeros(6, int))
    for result in (
        fast_gradient_sign(binary, IMAGES, goal, 0.0),
        iterated_gradient_sign(binary, IMAGES, goal, steps=3, step_size=0.0),
        iterated_gradient_sign(binary, IMAGES, goal, steps=3, step_size=0.1, epsilon=0.0),
        universal_perturbation(binary, IMAGES, epsilon=0.0, passes=1).attack,
        add_template(binary, IMAGES, jnp.ones(6, int), 0.0),
        add_perturbation(binary, IMAGES, goal, jnp.zeros(BINARY_SHAPE)),
    ):
        np.testing.assert_array_equal(result.images, IMAGES)
        np.testing.assert_array_equal(result.distortion, 0)


def test_an_image_that_has_left_its_label_is_left_alone_by_deepfool(binary, inner_images) -> None:
    wrong = jnp.argmin(binary(inner_images), axis=1)
    result = deepfool(binary, inner_images, wrong)
    np.testing.assert_array_equal(result.images, inner_images)
    assert result.first_step.tolist() == [0] * 8


def test_an_image_that_is_its_target_already_needs_no_change(binary, inner_images) -> None:
    result = lbfgs(binary, inner_images, jnp.argmax(binary(inner_images), axis=1))
    np.testing.assert_array_equal(result.images, inner_images)
    assert result.success.all()


def test_images_do_not_influence_each_other(lenet, digits) -> None:
    images, labels = digits[0][:6], digits[1][:6]
    targets = random_targets(jax.random.key(1), labels, lenet)
    together = lbfgs(lenet, images, targets, searches=6)
    alone = lbfgs(lenet, images[2:3], targets[2:3], searches=6)
    np.testing.assert_allclose(together.distortion[2], alone.distortion[0], rtol=0.02)


def test_random_targets_are_never_the_label(lenet) -> None:
    labels = jnp.arange(10_000) % 10
    targets = random_targets(jax.random.key(0), labels, lenet)
    assert (targets != labels).all()
    assert jnp.bincount(targets, length=10).min() > 900


def test_a_changed_image_is_assessed_as_what_it_is(binary, inner_images) -> None:
    rounded = jnp.round(inner_images * 255) / 255
    result = assess(binary, inner_images, rounded, Untargeted(jnp.argmax(binary(inner_images), axis=1)))
    np.testing.assert_array_equal(result.images, rounded)
    assert not result.success.all()
    assert 0 < result.distortion.max() < 1 / 255


# Gradient ascent and its regularisation


def test_all_digits_are_reached_at_once(lenet) -> None:
    start = noise_images(jax.random.key(0), 10, lenet)
    result = gradient_ascent(lenet, start, jnp.arange(10), steps=200, watch=jnp.arange(10)[:, None])
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
    result = gradient_ascent(
        lenet, start, jnp.array([3, 8]), steps=60, regularisation=Regularisation(decay=0.2)
    )
    of_target = jnp.stack([result.trajectory[:, 0, 3], result.trajectory[:, 1, 8]], axis=1)
    kept = jnp.array([result.confidences[0, 3], result.confidences[1, 8]])
    np.testing.assert_allclose(kept, of_target.max(axis=0), rtol=1e-5)


def test_decay_alone_leads_to_the_mean_image(binary, inner_images) -> None:
    # A mean image of the target class, so that the image half way to it is the better one and is kept.
    mean_image = (binary.params[0] > 0).astype(jnp.float32).reshape(BINARY_SHAPE)
    result = gradient_ascent(
        binary,
        inner_images,
        jnp.ones(8, int),
        steps=1,
        learning_rate=1e-12,
        mean_image=mean_image,
        regularisation=Regularisation(decay=0.5),
    )
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
    start, three = noise_images(jax.random.key(0), 1, lenet), jnp.array([3])
    # So long a step that three quarters of it raise the confidence, and the image is kept.
    options = {"steps": 1, "early_progress": 0.9, "late_progress": 0.9, "mean_image": 0.5}
    plain = gradient_ascent(lenet, start, three, **options)
    clipped = gradient_ascent(lenet, start, three, **options, regularisation=Regularisation(**{name: 25.0}))
    assert clipped.confidences[0, 3] > clipped.confidences_before[0, 3]
    gradient, _ = jax.jit(input_gradient)(lenet, start, Targeted(three))
    score = SCORES[name](np.asarray(plain.images - 0.5), np.asarray(gradient))
    # But for pixels on the threshold, where rounding decides.
    assert np.mean((clipped.images == 0.5) == (score < np.percentile(score, 25))) > 0.99
    assert jnp.mean(plain.images == 0.5) < 0.01


# What cannot be


def unmovable(binary: Classifier) -> Classifier:
    return Classifier((jnp.zeros(30), jnp.float32(0.2)), binary.logits_function, binary.spec)


def goals(classes: jax.Array) -> tuple[Goal, Goal]:
    return Untargeted(classes), Targeted(classes)


def test_a_zero_gradient_at_the_start_is_said_and_a_random_start_offered(binary, inner_images) -> None:
    flat, ones = unmovable(binary), jnp.ones(8, int)
    for attack in (
        lambda: fast_gradient_sign(flat, inner_images, Untargeted(ones), 0.1),
        lambda: iterated_gradient_sign(flat, inner_images, Untargeted(ones), steps=2, step_size=0.1),
        lambda: gradient_ascent(flat, inner_images, ones, steps=2),
        lambda: deepfool(flat, inner_images, ones),
        lambda: lbfgs(flat, inner_images, 0 * ones),
        lambda: universal_perturbation(flat, inner_images, epsilon=0.1),
        lambda: add_template(flat, inner_images, ones, 0.1),
    ):
        with pytest.raises(EvofoolError, match=r"gradient of binary is zero.*random start") as caught:
            attack()
        assert "\n" not in str(caught.value)


def test_a_random_start_leaves_a_point_without_gradient() -> None:
    def dead_at_black(params, images):
        level = jax.nn.relu(images.mean(axis=(1, 2, 3)) - 0.01) * params
        return jnp.stack([0.05 * params * jnp.ones_like(level), level], axis=1)

    classifier = Classifier(
        jnp.float32(50), dead_at_black, ClassifierSpec("dead", (4, 4, 1), ("dark", "light"))
    )
    black, goal = jnp.zeros((1, 4, 4, 1)), Targeted(jnp.array([1]))
    with pytest.raises(EvofoolError, match="zero at the start"):
        iterated_gradient_sign(classifier, black, goal, steps=5, step_size=0.05)
    result = iterated_gradient_sign(
        classifier, black, goal, steps=5, step_size=0.05, epsilon=0.3, key=jax.random.key(0)
    )
    assert result.success.all()


@pytest.mark.parametrize("wrong", [-0.1, float("nan")])
def test_a_size_below_zero_is_refused(binary, inner_images, wrong) -> None:
    goal = Untargeted(jnp.ones(8, int))
    with pytest.raises(UsageError, match="epsilon must be 0 or more"):
        fast_gradient_sign(binary, inner_images, goal, wrong)
    with pytest.raises(UsageError, match="epsilon must be 0 or more"):
        iterated_gradient_sign(binary, inner_images, goal, steps=1, step_size=0.1, epsilon=wrong)
    with pytest.raises(UsageError, match="step_size must be 0 or more"):
        iterated_gradient_sign(binary, inner_images, goal, steps=1, step_size=wrong)
    with pytest.raises(UsageError, match="epsilon must be 0 or more"):
        universal_perturbation(binary, inner_images, epsilon=wrong)
    with pytest.raises(UsageError, match="epsilon must be 0 or more"):
        add_template(binary, inner_images, jnp.ones(8, int), wrong)


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
    images, classes = jnp.asarray(images, jnp.float32), jnp.asarray(classes, jnp.int32)
    for goal in goals(classes):
        with pytest.raises(UsageError, match=message):
            fast_gradient_sign(binary, images, goal, 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be above zero"),
        ({"late_progress": 0.0}, "late_progress must be above zero"),
        ({"regularisation": Regularisation(decay=1.5)}, "decay must be between 0 and 1"),
        ({"regularisation": Regularisation(blur_radius=0.1)}, "at least 0.3"),
        ({"regularisation": Regularisation(small_norms=101.0)}, "small_norms is a percentage"),
        ({"regularisation": Regularisation(small_values=-1.0)}, "small_values must be 0 or more"),
        ({"regularisation": Regularisation(blur_every=0)}, "blur_every must be above zero"),
        ({"mean_image": 1.5}, "must be between 0 and 1, not 1.5"),
        ({"mean_image": jnp.full(BINARY_SHAPE, -0.5)}, "must be between 0 and 1, not -0.5"),
        ({"mean_image": float("nan")}, "must be between 0 and 1, not nan"),
    ],
)
def test_settings_of_ascent_that_cannot_be_are_refused(binary, inner_images, options, message) -> None:
    with pytest.raises(UsageError, match=message):
        gradient_ascent(binary, inner_images, jnp.ones(8, int), **options)


def test_other_settings_that_cannot_be_are_refused(lenet, binary, inner_images) -> None:
    ones = jnp.ones(8, int)
    key = jax.random.key(0)
    with pytest.raises(UsageError, match="must be between 0 and 1, not 2"):
        noise_images(key, 1, binary, mean_image=2.0)
    with pytest.raises(UsageError, match="level must be 0 or more"):
        noise_images(key, 1, binary, level=-1.0)
    with pytest.raises(UsageError, match="count must be above zero"):
        noise_images(key, 0, binary)
    with pytest.raises(UsageError, match="seed must be 0 to"):
        universal_perturbation(binary, inner_images, epsilon=0.1, seed=2**32)
    with pytest.raises(UsageError, match="needs a ball"):
        iterated_gradient_sign(binary, inner_images, Untargeted(ones), steps=1, step_size=0.1, key=key)
    with pytest.raises(UsageError, match="fooling_rate must be between 0 and 1"):
        universal_perturbation(binary, inner_images, epsilon=0.1, fooling_rate=1.2)
    with pytest.raises(UsageError, match="lenet-digits is not linear"):
        templates(lenet)
    one_class = Classifier(
        (), lambda _, images: images.sum(axis=(1, 2)), ClassifierSpec("o", (2, 2, 1), ("o",))
    )
    with pytest.raises(UsageError, match="one class only"):
        deepfool(one_class, jnp.zeros((1, 2, 2, 1)), jnp.zeros(1, int))
