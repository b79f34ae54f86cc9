"""Functions from classifier to classifier, each beside NumPy and SciPy, and as named in expressions."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.special
import scipy.stats
from jax.test_util import check_grads
from jaxtyping import Array, Float, PyTree

from evofool import (
    Classifier,
    ClassifierSpec,
    UsageError,
    create_classifier,
    load_classifier,
    resized,
    save_classifier,
    ten_crop,
)
from evofool.classifiers import COMPOSITIONS, Activation
from evofool.classifiers.compositions import (
    blurred,
    eight_bit,
    ensemble,
    median_filtered,
    rejecting,
    smoothed,
    with_extra_class,
    with_precision,
)
from evofool.datasets import load_dataset
from evofool.training import TrainingOptions, train

SHAPE = (7, 6, 2)


def shown(params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    """The pixels as logits: what the classifier inside a composition sees."""
    return params * (images.reshape(len(images), -1) - 0.5)


def mirror(factor: float = 1.0, shape: tuple[int, int, int] = SHAPE) -> Classifier:
    names = tuple(map(str, range(int(np.prod(shape)))))
    return Classifier(jnp.float32(factor), shown, ClassifierSpec("mirror", shape, names, "sigmoid"))


def seen(classifier: Classifier, images: np.ndarray) -> np.ndarray:
    """The images that `mirror` gets inside a composition."""
    logits = jax.jit(Classifier.logits)(classifier, jnp.asarray(images))
    return np.asarray(logits).reshape(images.shape) + 0.5


@jax.jit
def _confidences(classifier: Classifier, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
    return classifier(images)


def confidences(classifier: Classifier, images: Float[Array | np.ndarray, "n h w c"]) -> np.ndarray:
    return np.asarray(_confidences(classifier, jnp.asarray(images)))


def linear(seed: int, activation: Activation = "softmax", classes: int = 4) -> Classifier:
    names = tuple("abcdefghij"[:classes])
    return create_classifier("linear", SHAPE, names, name=f"linear{seed}", seed=seed, activation=activation)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((5, *SHAPE), np.float32)


# What the classifier sees.


@pytest.mark.parametrize("size", [1, 3, 5])
def test_the_median_is_that_of_scipy(images: np.ndarray, size: int) -> None:
    coarse = np.round(images * 6) / 6  # with equal values
    for pictures in (images, coarse):
        expected = scipy.ndimage.median_filter(pictures, (1, size, size, 1), mode="nearest")
        np.testing.assert_allclose(seen(median_filtered(mirror(), size), pictures), expected, atol=1e-6)


def test_the_gradient_of_a_median_is_that_of_the_chosen_value() -> None:
    picture = np.random.default_rng(0).permutation(42).reshape(1, 7, 6, 1).astype(np.float32) / 42
    filtered = scipy.ndimage.median_filter(picture, (1, 3, 3, 1), mode="nearest")
    classifier = median_filtered(mirror(shape=(7, 6, 1)))
    gradient = jax.grad(lambda images: classifier.logits(images).sum())(jnp.asarray(picture))
    expected = [(filtered == value).sum() for value in picture.ravel()]
    np.testing.assert_allclose(np.ravel(gradient), expected)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 30.0])  # the last reaches far beyond the image
def test_the_blur_is_that_of_scipy(images: np.ndarray, sigma: float) -> None:
    expected = scipy.ndimage.gaussian_filter(images, (0, sigma, sigma, 0), mode="nearest", truncate=4.0)
    np.testing.assert_allclose(seen(blurred(mirror(), sigma), images), expected, atol=2e-6)


@pytest.mark.parametrize("levels", [2, 5, 256])
def test_levels_are_rounded_and_the_gradient_passes_through(images: np.ndarray, levels: int) -> None:
    classifier = eight_bit(mirror(), levels)
    np.testing.assert_allclose(
        seen(classifier, images), np.rint(images * (levels - 1)) / (levels - 1), atol=1e-6
    )
    gradient = jax.grad(lambda images: classifier.logits(images).sum())(jnp.asarray(images))
    np.testing.assert_array_equal(gradient, 1)


def test_resizing_is_that_of_the_library(images: np.ndarray) -> None:
    for height, width in ((4, 9), (12, 5)):
        expected = jax.image.resize(images, (5, height, width, 2), "linear")
        found = jax.jit(Classifier.logits)(resized(mirror(shape=(height, width, 2)), 7, 6), images) + 0.5
        np.testing.assert_allclose(np.asarray(found).reshape(expected.shape), expected, atol=1e-6)


# What the classifiers say.


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_an_ensemble_has_the_mean_confidence(images: np.ndarray, activation: Activation) -> None:
    members = [linear(seed, activation) for seed in range(3)]
    expected = np.mean([confidences(member, images) for member in members], axis=0)
    np.testing.assert_allclose(confidences(ensemble(*members), images), expected, rtol=1e-5)


def test_the_mean_keeps_digits_next_to_one() -> None:
    spec = ClassifierSpec("certain", (1, 1, 1), ("it",), "sigmoid")
    members = [
        Classifier(jnp.float32(level), lambda level, images: jnp.full((len(images), 1), level), spec)
        for level in (20.0, 30.0)
    ]
    found = ensemble(*members).logits(jnp.zeros((1, 1, 1, 1)))
    doubt = (scipy.special.expit(-20.0) + scipy.special.expit(-30.0)) / 2
    np.testing.assert_allclose(found, -np.log(doubt), rtol=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_a_majority_counts_votes_with_the_gradient_of_the_mean(
    images: np.ndarray, activation: Activation
) -> None:
    members = [linear(seed, activation) for seed in range(3)]
    votes = np.stack([confidences(member, images).argmax(axis=1) for member in members])
    expected = np.stack([(votes == index).mean(axis=0) for index in range(4)], axis=1)
    assert len(np.unique(expected)) > 2  # not always unanimous
    majority, mean = ensemble(*members, vote="majority"), ensemble(*members)
    np.testing.assert_allclose(confidences(majority, images), expected, atol=1e-6)

    def gradient(classifier: Classifier) -> Float[Array, "n h w c"]:
        return jax.grad(lambda images: classifier.logits(images)[:, 1].sum())(jnp.asarray(images))

    np.testing.assert_allclose(gradient(majority), gradient(mean), rtol=1e-5, atol=1e-7)


def test_a_vote_of_a_member_that_is_no_number_is_none() -> None:
    broken = dataclasses.replace(
        linear(0), params=jax.tree.map(lambda leaf: leaf * jnp.nan, linear(0).params)
    )
    assert np.isnan(ensemble(linear(1), broken, vote="majority")(jnp.ones((2, *SHAPE)))).all()


def test_members_of_other_sizes_see_resized_images(images: np.ndarray) -> None:
    small = create_classifier("linear", (4, 4, 2), tuple("abcd"), seed=1)
    shrunk = jax.image.resize(images, (5, 4, 4, 2), "linear")
    expected = (confidences(linear(0), images) + confidences(small, shrunk)) / 2
    made = ensemble(linear(0), small)
    assert made.spec.input_shape == SHAPE
    np.testing.assert_allclose(confidences(made, images), expected, rtol=1e-5)


def test_members_must_be_alike() -> None:
    other = create_classifier("linear", SHAPE, ("a", "b", "x", "d"), name="other")
    for member, words in (
        (other, "class 2 is 'c' of linear0 and 'x' of other"),
        (linear(1, classes=3), "linear0 has 4 and linear1 3"),
        (linear(1, "sigmoid"), "linear0 has softmax and linear1 sigmoid"),
        (create_classifier("linear", (7, 6, 1), tuple("abcd")), "linear0 have 2 channel"),
    ):
        with pytest.raises(UsageError, match=words):
            ensemble(linear(0), member)
    with pytest.raises(UsageError, match="at least one classifier"):
        ensemble()


def test_the_training_data_are_those_that_the_members_share() -> None:
    def trained(words: str) -> Classifier:
        return dataclasses.replace(linear(0), spec=dataclasses.replace(linear(0).spec, training_data=words))

    for first, second, expected in (
        ("mnist, 5 epochs", "mnist, 5 epochs", "mnist, 5 epochs"),
        ("mnist, 5 epochs", "mnist", "mnist"),
        ("mnist", "digits", ""),
    ):
        assert smoothed(ensemble(trained(first), trained(second))).spec.training_data == expected


def test_smoothing_a_step_gives_the_normal_distribution() -> None:
    """A step at one half, smoothed by noise of a deviation s, is the probability Phi((x - 1/2) / s)."""
    levels = np.linspace(0.3, 0.7, int(np.prod(SHAPE)), dtype=np.float32).reshape(1, *SHAPE)
    samples = 3000
    found = confidences(smoothed(mirror(1e6), 0.1, samples), levels)[0]
    expected = scipy.stats.norm.cdf((levels.ravel() - 0.5) / 0.1)
    assert np.abs(found - expected).max() < 4.5 * 0.5 / np.sqrt(samples)
    # Each pixel has noise of its own.
    assert np.corrcoef(found - expected, np.roll(found - expected, 1))[0, 1] < 0.7


def test_smoothing_is_the_mean_over_noise_that_all_images_share(images: np.ndarray) -> None:
    twice = jnp.asarray(np.stack([images[0], images[0]]))
    one, other = (confidences(smoothed(linear(0), 0.3, 2, seed), twice) for seed in (0, 1))
    np.testing.assert_array_equal(one[0], one[1])
    assert np.abs(one - other).max() > 1e-4
    # Nearly no noise changes nearly nothing.
    little = confidences(smoothed(linear(0), 1e-6, 2), twice)
    np.testing.assert_allclose(little, confidences(linear(0), twice), rtol=1e-4)


def odds(p: np.ndarray, t: float) -> np.ndarray:
    return t * (t / (1 - t)) * (1 - p) / p


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_rejection_follows_its_definition(threshold: float) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (200, 6)).astype(np.float32)
    inner = Classifier(
        jnp.float32(1),
        lambda params, images: images.reshape(len(images), -1) * 40 - 20,
        ClassifierSpec("any", (2, 3, 1), tuple("abcdef")),
    )
    images = (logits.reshape(-1, 2, 3, 1) + 20) / 40
    plain = confidences(inner, images).astype(np.float64)
    found = confidences(rejecting(inner, threshold), images).astype(np.float64)
    largest = plain.max(axis=1, keepdims=True)
    o = odds(largest, threshold)
    np.testing.assert_allclose(found[:, :-1], plain / (1 + o), rtol=2e-4)
    np.testing.assert_allclose(found[:, -1:], o / (1 + o), rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1) == 6, largest[:, 0] < threshold)
    np.testing.assert_array_equal(found[:, :-1].argsort(axis=1), plain.argsort(axis=1))


def test_the_rejection_of_sigmoids_mirrors_the_largest_score() -> None:
    classifier = rejecting(mirror(10.0, (1, 2, 1)), 0.8)
    images = jnp.array([[0.1, 0.55], [0.9, 0.3], [0.0, 0.0]]).reshape(3, 1, 2, 1)
    scores = np.asarray(mirror(10.0, (1, 2, 1))(images))
    found = np.asarray(classifier(images))
    np.testing.assert_allclose(found[:, :2], scores, rtol=1e-6)
    expected = scipy.special.expit(2 * np.log(4) - scipy.special.logit(scores.max(axis=1)))
    np.testing.assert_allclose(found[:, 2], expected, rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1) == 2, scores.max(axis=1) < 0.8)


@pytest.mark.slow
def test_another_class_is_added_trained_saved_and_loaded(tmp_path: Path) -> None:
    digits = load_dataset("digits")
    lenet = load_classifier("lenet-digits")
    wide = with_extra_class(lenet, "noise", seed=3)
    noise = np.random.default_rng(0).integers(256, size=(400, 28, 28, 1), dtype=np.uint8)
    images = jnp.asarray(noise[:4] / 255, jnp.float32)
    np.testing.assert_allclose(wide.logits(images)[:, :10], lenet.logits(images), rtol=1e-5, atol=1e-5)
    assert wide.spec.class_names == (*lenet.spec.class_names, "noise")
    dataset = digits._replace(
        train_images=np.concatenate([digits.train_images[:500], noise[:300]]),
        train_labels=np.concatenate([digits.train_labels[:500], np.full(300, 10, digits.train_labels.dtype)]),
        test_images=noise[300:],
        test_labels=np.full(100, 10, digits.test_labels.dtype),
        class_names=wide.spec.class_names,
    )
    result = train(wide, dataset, TrainingOptions(epochs=1, batch_size=32))
    assert result.test_accuracy > 0.9
    save_classifier(tmp_path / "it.safetensors", result.classifier, training_data="x", test_accuracy=1.0)
    again = load_classifier(tmp_path / "it.safetensors")
    np.testing.assert_array_equal(again.logits(images), result.classifier.logits(images))
    assert again.spec.class_names[-1] == "noise"


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        pytest.param("squeezenet-1.0", (32, 32, 3), marks=pytest.mark.slow),
        ("maxout", (4, 4, 1)),
    ],
)
def test_every_network_can_get_another_class(network: str, shape: tuple[int, int, int]) -> None:
    shapes = create_classifier(network, shape, ("this", "that"), seed=None)
    zeros = jax.tree.map(lambda leaf: jnp.asarray(np.zeros(leaf.shape, leaf.dtype)), shapes.params)
    classifier = dataclasses.replace(shapes, params=zeros)
    wide = with_extra_class(classifier, "neither")
    assert jax.eval_shape(Classifier.logits, wide, jnp.zeros((1, *shape))).shape == (1, 3)
    seeds = [jax.tree.leaves(with_extra_class(classifier, "neither", seed).params) for seed in (0, 0, 1)]
    same = [[bool((a == b).all()) for a, b in zip(seeds[0], other, strict=True)] for other in seeds[1:]]
    assert all(same[0])
    assert same[1].count(False) == 1  # the weights of the last layer


def test_only_a_network_can_get_another_class() -> None:
    with pytest.raises(UsageError, match=r"blurred\(linear0\) is not one of evofool's networks"):
        with_extra_class(blurred(linear(0)), "more")
    with pytest.raises(UsageError, match="linear0 has a class 'b' already"):
        with_extra_class(linear(0), "b")


# All of them.


def everything() -> dict[str, Classifier]:
    one, other = linear(0), linear(1)
    return {
        "ensemble": ensemble(one, create_classifier("linear", (5, 8, 2), tuple("abcd"), seed=5)),
        "majority": ensemble(one, other, linear(2), vote="majority"),
        "smoothed": smoothed(one, 0.1, 3),
        "ten_crop": ten_crop(one, 9, 8),
        "resized": resized(one, 9, 5),
        "median_filtered": median_filtered(one),
        "blurred": blurred(one),
        "eight_bit": eight_bit(one, 4),
        "rejecting": rejecting(one),
        "with_extra_class": with_extra_class(one, "e"),
        "with_precision": with_precision(one, "tensorfloat32"),
        "nested": rejecting(smoothed(ensemble(eight_bit(one), blurred(other)), 0.2, 2), 0.5),
    }


def test_everything_in_the_registry_is_tested() -> None:
    assert set(COMPOSITIONS) <= set(everything())


@jax.jit
def _all_confidences(
    classifiers: dict[str, Classifier], images: dict[str, Array]
) -> dict[str, Float[Array, "n k"]]:
    return {name: classifier(images[name]) for name, classifier in classifiers.items()}


@pytest.mark.exact
def test_an_image_gets_the_same_bits_in_any_batch() -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("needs a CPU")
    within_nested = {"ensemble", "smoothed", "blurred", "eight_bit", "rejecting"}
    classifiers = {name: each for name, each in everything().items() if name not in within_nested}
    images = {
        name: jax.random.uniform(jax.random.key(1), (9, *classifier.spec.input_shape))
        for name, classifier in classifiers.items()
    }
    together = _all_confidences(classifiers, images)
    alone = _all_confidences(classifiers, {name: each[:1] for name, each in images.items()})
    for name, confidences in alone.items():
        np.testing.assert_array_equal(confidences, together[name][:1], err_msg=name)


def test_equal_compositions_share_a_program_with_the_weights_as_arguments() -> None:
    first, second = everything(), everything()
    for name, classifier in first.items():
        assert classifier.logits_function == second[name].logits_function
        assert hash(classifier.logits_function) == hash(second[name].logits_function)
        assert classifier.spec == second[name].spec
    nested = jax.jit(lambda classifier, images: classifier(images))
    images = jnp.ones((2, *SHAPE)) / 3
    for scale in (1, 2):
        weights = jax.tree.map(lambda leaf, scale=scale: leaf * scale, first["nested"].params)
        nested(dataclasses.replace(first["nested"], params=weights), images)
    assert nested._cache_size() == 1


def test_compositions_are_mapped_over_weights(images: np.ndarray) -> None:
    def made(seed: int) -> Classifier:
        return rejecting(smoothed(ensemble(linear(seed), blurred(linear(seed + 1))), 0.2, 2))

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), made(0).params, made(5).params)
    one, logits = made(0), jax.jit(Classifier.logits)

    @jax.jit
    @jax.vmap
    def of_weights(params: PyTree) -> Float[Array, "n k"]:
        return dataclasses.replace(one, params=params).logits(jnp.asarray(images))

    for found, seed in zip(of_weights(stacked), (0, 5), strict=True):
        np.testing.assert_allclose(found, logits(made(seed), images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["ensemble", "smoothed", "blurred", "resized", "rejecting"])
def test_gradients_are_those_of_finite_differences(name: str) -> None:
    classifier = everything()[name]
    images = 0.3 + 0.4 * jax.random.uniform(jax.random.key(2), (1, *classifier.spec.input_shape))
    check_grads(jax.jit(classifier.logits), (images,), order=1, modes=["rev"], atol=2e-2, rtol=2e-2, eps=1e-2)


# As they are named.


def test_names_are_expressions_that_load_the_same_again() -> None:
    text = "rejecting(smoothed(ensemble(lenet-digits, blurred(lenet-digits, 0.5)), 0.1, samples=2))"
    classifier = load_classifier(text)
    expected = (
        "rejecting(smoothed(ensemble(lenet-digits, blurred(lenet-digits, sigma=0.5)), sigma=0.1, samples=2))"
    )
    assert classifier.spec.name == expected
    again = load_classifier(expected)
    lenet = load_classifier("lenet-digits")
    by_hand = rejecting(smoothed(ensemble(lenet, blurred(lenet, 0.5)), 0.1, 2))
    for other in (again, by_hand):
        assert other.spec == classifier.spec
        assert other.logits_function == classifier.logits_function


def test_a_text_that_is_a_file_is_this_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("blurred(lenet-digits)", "a, b.safetensors"):
        save_classifier(file, linear(0), training_data="none", test_accuracy=0.5)
        assert load_classifier(file).spec.name == "linear0"
    assert load_classifier("blurred('a, b.safetensors')").spec.name == "blurred(linear0)"
    assert load_classifier('blurred("blurred(lenet-digits)")').spec.name == "blurred(linear0)"


def test_the_activation_is_that_of_the_parts() -> None:
    scores = load_classifier("ensemble(lenet-digits, blurred(lenet-digits))", "sigmoid")
    lenet = load_classifier("lenet-digits", "sigmoid")
    images = jax.random.uniform(jax.random.key(0), (2, 28, 28, 1))
    expected = (confidences(lenet, images) + confidences(blurred(lenet), images)) / 2
    np.testing.assert_allclose(confidences(scores, images), expected, rtol=1e-4)
