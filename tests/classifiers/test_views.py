"""Functions from classifier to classifier: ten crops, resized images, half precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evofool import UsageError, create_classifier, load_classifier, resized, ten_crop, with_precision
from evofool.classifiers import Activation, Classifier, ClassifierSpec
from evofool.numerics.platform import assumed


@pytest.fixture(scope="module")
def digits() -> Classifier:
    return load_classifier("lenet-digits")


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(0).random((3, 33, 30, 1), np.float32)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_ten_crops_give_the_mean_of_their_confidences(
    digits: Classifier, images: np.ndarray, activation: Activation
) -> None:
    classifier = digits.with_activation(activation)
    crops = [
        images[:, top : top + 28, left : left + 28] for top, left in ((0, 0), (0, 2), (5, 0), (5, 2), (2, 1))
    ]
    views = [*crops, *(crop[:, :, ::-1] for crop in crops)]
    expected = np.mean([np.asarray(classifier(jnp.asarray(view))) for view in views], axis=0)
    found = ten_crop(classifier, 33, 30)(jnp.asarray(images))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-5, atol=1e-9)


def test_ten_crops_of_one_size_are_an_image_and_its_mirror(digits: Classifier, images: np.ndarray) -> None:
    own = images[:, :28, :28]
    expected = (np.asarray(digits(jnp.asarray(own))) + np.asarray(digits(jnp.asarray(own[:, :, ::-1])))) / 2
    found = ten_crop(digits, 28, 28)(jnp.asarray(own))
    np.testing.assert_allclose(np.asarray(found), expected, rtol=2e-5)


@pytest.mark.exact
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.slow
def test_ten_crops_do_not_depend_on_the_batch(activation: Activation) -> None:
    """Bit by bit on CPU, as the logits of a crop: so microbatches are exact."""
    names = tuple(map(str, range(1000)))
    classifier = ten_crop(create_classifier("linear", (8, 8, 3), names, activation=activation), 11, 9)
    images = jax.random.uniform(jax.random.key(0), (48, 11, 9, 3))
    logits = jax.jit(lambda classifier, images: classifier.logits(images))
    together = np.asarray(logits(classifier, images))
    for count in (8, 11):
        np.testing.assert_array_equal(np.asarray(logits(classifier, images[:count])), together[:count])


def test_a_confidence_next_to_one_keeps_its_digits() -> None:
    """The mean of ten confidences of 1 - 1e-9 is not 1 - 0: its logit tells how far it is."""
    spec = ClassifierSpec("certain", (1, 1, 1), ("it",), "sigmoid")
    certain = Classifier((), lambda params, images: jnp.full((len(images), 1), 20.0), spec)
    np.testing.assert_allclose(ten_crop(certain, 2, 2).logits(jnp.zeros((1, 2, 2, 1))), 20.0, rtol=1e-6)


def test_ten_crops_need_images_as_large_as_a_crop(digits: Classifier) -> None:
    with pytest.raises(UsageError, match=r"ten crops of 28x28, the size of lenet-digits.*not 40x27"):
        ten_crop(digits, 40, 27)


def test_resized_images_are_classified_alike(digits: Classifier) -> None:
    image = np.zeros((1, 28, 28, 1), np.float32)
    image[:, 6:22, 12:16] = 1
    enlarged = image.repeat(3, axis=1).repeat(3, axis=2)
    found = resized(digits, 84, 84).logits(jnp.asarray(enlarged))
    np.testing.assert_allclose(found, digits.logits(jnp.asarray(image)), atol=2)
    assert found.argmax() == digits.logits(jnp.asarray(image)).argmax()


def test_the_own_size_is_not_resized(digits: Classifier) -> None:
    assert resized(digits, 28, 28) is digits
    with pytest.raises(UsageError, match="width must be above zero"):
        resized(digits, 28, 0)


def test_compositions_compose_and_compile_once(digits: Classifier, images: np.ndarray) -> None:
    confidences = jax.jit(lambda classifier, images: classifier(images))
    for _ in range(2):
        wrapped = ten_crop(resized(digits, 30, 30), 33, 30)
        np.testing.assert_allclose(confidences(wrapped, images).sum(axis=1), 1, rtol=1e-5)
    assert confidences._cache_size() == 1


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        ("lenet", (20, 20, 1)),
        ("cnn", (10, 10, 3)),
        ("mlp", (8, 8, 1)),
        ("linear", (8, 8, 1)),
        ("squeezenet-1.0", (32, 32, 3)),
        ("mobilenet-v1-0.25", (32, 32, 3)),
        ("alexnet", (80, 63, 3)),
        ("caffenet", (39, 50, 3)),
        ("googlenet", (32, 32, 3)),
        ("vgg16", (32, 40, 3)),
    ],
)
def test_half_precision_computes_in_half_precision(network: str, shape: tuple[int, int, int]) -> None:
    classifier = create_classifier(network, shape, ("this", "that"), seed=None)
    half = jax.eval_shape(lambda classifier: with_precision(classifier, "bfloat16"), classifier)
    assert {leaf.dtype for leaf in jax.tree.leaves(half.params)} == {jnp.dtype("bfloat16")}
    program = jax.make_jaxpr(lambda half, images: half.logits(images))(half, jnp.zeros((2, *shape)))
    assert program.out_avals[0].dtype == jnp.float32

    def operands(jaxpr: jax.extend.core.Jaxpr) -> set[str]:
        found = set()
        for equation in jaxpr.eqns:
            if equation.primitive.name in ("dot_general", "conv_general_dilated"):
                found |= {str(variable.aval.dtype) for variable in equation.invars}
            for inner in jax.extend.core.jaxprs_in_params(equation.params):
                found |= operands(inner)
        return found

    assert operands(program.jaxpr) == {"bfloat16"}


def test_tensorfloat32_reaches_every_product_also_inside_other_views(digits: Classifier) -> None:
    def precisions(classifier: Classifier) -> set[object]:
        images = jnp.zeros((2, *classifier.spec.input_shape))
        program = jax.make_jaxpr(lambda images: classifier.logits(images))(images)
        found = set()

        def visit(jaxpr: jax.extend.core.Jaxpr) -> None:
            for equation in jaxpr.eqns:
                if equation.primitive.name in ("dot_general", "conv_general_dilated"):
                    found.add(equation.params["precision"])
                for inner in jax.extend.core.jaxprs_in_params(equation.params):
                    visit(inner)

        visit(program.jaxpr)
        return found

    highest, high = ((each, each) for each in (jax.lax.Precision.HIGHEST, jax.lax.Precision.HIGH))
    cropped = ten_crop(digits, 32, 32)
    assert precisions(digits) == precisions(cropped) == {highest}
    assert precisions(with_precision(digits, "tensorfloat32")) == {high}
    assert precisions(with_precision(cropped, "tensorfloat32")) == {high}
    with jax.default_matmul_precision("bfloat16"):
        assert highest not in precisions(digits)
    with assumed("gpu"):
        # "high" is not TensorFloat32 in all of XLA's kernels there.
        assert precisions(with_precision(digits, "tensorfloat32")) == {(jax.lax.Precision.DEFAULT,) * 2}
        assert precisions(digits) == {highest}


def test_on_a_cpu_tensorfloat32_is_float32(digits: Classifier) -> None:
    if jax.default_backend() != "cpu":
        pytest.skip("needs a CPU")
    images = jnp.asarray(np.random.default_rng(1).random((20, 28, 28, 1), np.float32))
    np.testing.assert_array_equal(
        with_precision(digits, "tensorfloat32").logits(images), digits.logits(images)
    )


def test_half_precision_is_near_to_single(digits: Classifier) -> None:
    images = jnp.asarray(np.random.default_rng(1).random((20, 28, 28, 1), np.float32))
    exact, half = digits.logits(images), with_precision(digits, "bfloat16").logits(images)
    assert float(jnp.abs(half - exact).max()) < 0.03 * float(jnp.abs(exact).max())
    assert len(np.unique(np.asarray(half))) > 190
    assert with_precision(digits, "float32") is digits
