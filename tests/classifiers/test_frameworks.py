"""Models of other frameworks as classifiers, against the frameworks themselves; mistakes."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

import evofool
from evofool import Classifier, ClassifierSpec, EvofoolError, Preprocessing, UsageError
from evofool.classifiers import weights_digest
from evofool.classifiers.classifier import as_input_shape

SHAPE = (8, 8, 3)
IMAGES = jax.random.uniform(jax.random.key(0), (7, *SHAPE))
WEIGHTS = jax.random.normal(jax.random.key(1), (192, 4))


def dense(params: jax.Array, images: jax.Array) -> jax.Array:
    return images.reshape(len(images), -1) @ params


class Residual(nnx.Module):
    """With batch normalisation and dropout, in training mode as it is made."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.second = nnx.Conv(8, 8, (3, 3), rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.last = nnx.Linear(8, 5, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        x = nnx.relu(self.norm(self.first(images)))
        return self.last(self.dropout((x + self.second(x)).mean(axis=(1, 2))))


class Transformer(linen.Module):
    """A small vision transformer whose mode is an argument."""

    widths: tuple[int, int] = (16, 32)

    @linen.compact
    def __call__(self, images: jax.Array, train: bool = True) -> jax.Array:
        x = linen.Conv(self.widths[0], (4, 4), (4, 4))(images).reshape(len(images), 4, -1)
        x = x + self.param("place", linen.initializers.normal(1), (4, self.widths[0]))
        attended = linen.MultiHeadDotProductAttention(2, dropout_rate=0.5, deterministic=not train)
        x = x + attended(linen.LayerNorm()(x))
        x = x + linen.Dense(self.widths[0])(linen.gelu(linen.Dense(self.widths[1])(linen.LayerNorm()(x))))
        return linen.softmax(linen.Dense(6)(linen.BatchNorm(use_running_average=not train)(x.mean(axis=1))))


def test_a_module_of_nnx_is_called_for_inference_and_left_as_it_is() -> None:
    model = Residual(nnx.Rngs(0))
    for _ in range(3):
        model(5 * IMAGES + 2)  # statistics that are not those of the beginning
    classifier = evofool.from_flax(model, input_shape=SHAPE)
    assert repr(classifier) == "Classifier('Residual', 8x8x3, 5 classes, softmax)"
    found = classifier.logits(IMAGES)
    assert not model.dropout.deterministic
    model.eval()
    np.testing.assert_allclose(found, model(IMAGES), atol=1e-5)
    other = evofool.from_flax(Residual(nnx.Rngs(1)), input_shape=SHAPE)
    assert other.logits_function == classifier.logits_function
    assert len({weights_digest(each) for each in (classifier, other)}) == 2
    other = evofool.from_flax(model, input_shape=SHAPE)
    assert weights_digest(other) == weights_digest(classifier)


def test_a_module_of_linen_is_called_for_inference() -> None:
    model = Transformer()
    variables = model.init(jax.random.key(0), IMAGES, train=False)
    classifier = evofool.from_flax(model, variables, input_shape=SHAPE, class_names=list("abcdef"))
    assert classifier.spec.class_names == tuple("abcdef")
    np.testing.assert_allclose(classifier(IMAGES), model.apply(variables, IMAGES, train=False), atol=1e-5)
    bound = evofool.from_flax(model.bind(variables), input_shape=SHAPE, name="bound")
    assert bound.logits_function == classifier.logits_function
    with pytest.raises(UsageError, match="pass its variables"):
        evofool.from_flax(model, input_shape=SHAPE)


def test_arrays_of_a_closure_are_weights() -> None:
    bias = jnp.arange(4.0)
    function = jax.jit(lambda images: jax.nn.relu(dense(WEIGHTS, images)) + bias)
    classifier = evofool.from_callable(function, input_shape=SHAPE)
    assert [leaf.shape for leaf in classifier.params] == [(192, 4), (4,)]
    np.testing.assert_array_equal(classifier.logits(IMAGES), function(IMAGES))
    assert classifier.logits_function == evofool.from_callable(function, input_shape=SHAPE).logits_function
    np.testing.assert_allclose(
        jax.tree.map(lambda leaf: 2 * leaf, classifier).logits(IMAGES), 2 * function(IMAGES), rtol=1e-6
    )


def test_images_are_preprocessed_as_numpy_does_it() -> None:
    seen: list[Any] = []

    def model(params: jax.Array, images: jax.Array) -> jax.Array:
        seen.append(images)
        return dense(params, images)

    options = Preprocessing(255, (1, 2, 3), 4, channels="bgr", layout="nchw")
    classifier = evofool.from_callable(model, WEIGHTS, input_shape=SHAPE, preprocessing=options)
    with jax.disable_jit():
        classifier.logits(IMAGES)
    expected = ((np.asarray(IMAGES)[..., ::-1] * 255 - [1, 2, 3]) / 4).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(seen[-1], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(UsageError, match="mean has 2 values"):
        evofool.from_callable(dense, WEIGHTS, input_shape=SHAPE, preprocessing=Preprocessing(mean=(1, 2)))
    for wrong in ({"scale": 0.0}, {"std": 0.0}, {"std": (1.0, -1.0)}, {"mean": float("nan")}):
        with pytest.raises(UsageError):
            Preprocessing(**wrong)


@pytest.mark.parametrize(("ending", "activation"), [(jax.nn.softmax, "softmax"), (jax.nn.sigmoid, "sigmoid")])
def test_probabilities_come_back_as_confidences(ending: Any, activation: str) -> None:
    def model(params: jax.Array, images: jax.Array) -> jax.Array:
        return ending(dense(params, images))

    found = evofool.from_callable(model, WEIGHTS, input_shape=SHAPE)
    assert (found.logits_function.output, found.spec.activation) == ("probabilities", activation)
    expected = model(WEIGHTS, IMAGES)
    np.testing.assert_allclose(found(IMAGES), expected, atol=1e-6)
    with pytest.raises(UsageError, match=r"ends in a s.*, so it gives probabilities"):
        evofool.from_callable(model, WEIGHTS, input_shape=SHAPE, output="logits")


def test_labels_are_certain() -> None:
    def model(params: jax.Array, images: jax.Array) -> jax.Array:
        return dense(params, images).argmax(axis=1)

    options = {"input_shape": SHAPE, "output": "labels"}
    classifier = evofool.from_callable(model, WEIGHTS, class_names=list("abcd"), **options)
    expected = np.eye(4)[np.asarray(IMAGES).reshape(7, -1).dot(WEIGHTS).argmax(axis=1)]
    np.testing.assert_array_equal(classifier(IMAGES), expected)
    with pytest.raises(UsageError, match="do not tell how many classes"):
        evofool.from_callable(model, WEIGHTS, **options)
    # A label without a name is no answer.
    assert np.isnan(evofool.from_callable(model, WEIGHTS, class_names=["a"], **options)(IMAGES)).any()


def test_a_function_of_one_image_is_found_and_mapped() -> None:
    def model(params: jax.Array, images: jax.Array) -> jax.Array:
        return images.reshape(1, 192) @ params

    classifier = evofool.from_callable(model, WEIGHTS, input_shape=SHAPE)
    np.testing.assert_allclose(classifier.logits(IMAGES), dense(WEIGHTS, IMAGES), rtol=1e-4, atol=1e-4)


MISTAKES: list[tuple[Callable[..., Any], dict[str, Any], str]] = [
    (lambda images: np.asarray(images).mean(axis=(1, 2)), {}, "hands its images to NumPy"),
    (lambda images: images.mean(axis=(1, 2, 3)), {}, "a vector, one number per image"),
    (lambda images: (images.mean(axis=(1, 2)), 1), {}, "returns a tuple, not an array"),
    (lambda images: images.mean(axis=(1, 2)).argmax(axis=1), {}, "int32, not logits.*output='labels'"),
    (lambda images: images[0] if images.sum() > 0 else images, {}, "asks for the value of a pixel"),
    (lambda images: images.reshape(3, -1)[:, :4], {}, "must have the shape"),
    (lambda images: images.reshape(4, 192) @ WEIGHTS, {}, "fails for 5 images.*told its batch_size"),
    (lambda images: 7 * images.mean(axis=(1, 2)), {"output": "probabilities"}, "which are no probabilities"),
    (lambda images: images.mean(axis=(1, 2)), {"output": "probabilities"}, r"sum to 1\.\d+, not 1"),
    (lambda images: images.mean(axis=(1, 2)), {"class_names": ["a"]}, r"shape \(5, 1\).*not \(5, 3\)"),
    (lambda images: images.mean(axis=(1, 2)), {"batch_size": 0}, "batch_size must be above zero"),
    (lambda images: images.mean(axis=(1, 2)), {"input_shape": (8, 8)}, "input_shape must be height, width"),
]


@pytest.mark.parametrize(("function", "options", "words"), MISTAKES)
def test_each_mistake_has_its_own_sentence(
    function: Callable[..., Any], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        evofool.from_callable(function, **({"input_shape": SHAPE} | options))
    assert "\n" not in str(caught.value)


class Unhashable:
    __hash__ = None  # type: ignore[assignment]

    def __call__(self, params: jax.Array, images: jax.Array) -> jax.Array:
        return dense(params, images)


def test_a_classifier_is_checked_when_it_is_made() -> None:
    spec = ClassifierSpec("mine", SHAPE, tuple("abcd"))
    assert as_input_shape([np.int64(8), 8, 3]) == SHAPE
    with pytest.raises(UsageError, match=r"params\['kernel'\]\['name'\] of mine is str 'fc', not an array"):
        Classifier({"kernel": {"name": "fc", "values": WEIGHTS}}, dense, spec)
    with pytest.raises(UsageError, match=r"ends in a softmax.*could exceed 47\.54%"):
        Classifier(WEIGHTS, lambda params, images: jax.nn.softmax(dense(params, images)), spec)
    with pytest.raises(UsageError, match="must be hashable"):
        Classifier(WEIGHTS, Unhashable(), spec)
    with pytest.raises(UsageError, match="TypeError"):
        Classifier(WEIGHTS, lambda images: images, spec)
    # What else ends in a quotient or a logarithm is no softmax.
    for whole in (jax.nn.log_softmax, lambda x: x / jnp.abs(x).sum(), lambda x: jnp.exp(x) / 3):
        Classifier(WEIGHTS, lambda params, images, whole=whole: whole(dense(params, images)), spec)


@pytest.mark.parametrize("package", ["onnx", "keras", "torch"])
def test_a_missing_package_ends_in_what_installs_it(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    load = {
        "onnx": lambda: evofool.from_onnx("net.onnx"),
        "keras": lambda: evofool.from_keras(object()),
        "torch": lambda: evofool.from_torch(object(), input_shape=SHAPE),
    }
    with pytest.raises(EvofoolError, match=rf"run `pip install 'evofool\[{package}\]'`"):
        load[package]()


def test_nothing_optional_is_imported_before_it_is_used() -> None:
    program = "import sys, evofool; print({'keras', 'onnx', 'onnxscript', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
