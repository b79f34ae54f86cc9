"""Dropout: which units are dropped, and that nothing else changes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import evofool
from evofool.classifiers import subtract_mean, with_dropout
from evofool.errors import UsageError

NAMES = ("a", "b", "c")
ROWS, RATE = 2000, 0.2


def assert_logits_of(dropped: jax.Array, units: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> None:
    """Logits of many rows have the mean and the variance of sums of units that are dropped.

    A unit x is 0 or x / (1 - rate), so its variance is x^2 rate / (1 - rate).
    """
    variance = (units**2 * RATE / (1 - RATE)) @ kernel**2
    error = np.sqrt(variance / ROWS)
    assert (np.abs(dropped.mean(axis=0) - (units @ kernel + bias)) < 5 * error).all()
    np.testing.assert_allclose(dropped.var(axis=0), variance, rtol=0.15)


def test_logits_keep_their_mean_and_vary_as_independent_units_do() -> None:
    """The units of the second hidden layer are constants here, so dropping those of the first is nothing."""
    mlp = evofool.create_classifier("mlp", (4, 4, 1), NAMES, seed=2)
    params = jax.tree.map(lambda leaf: leaf, mlp.params)
    units = np.random.default_rng(0).uniform(0.5, 2, 100).astype(np.float32)
    params["fc2"]["kernel"].set_value(jnp.zeros((100, 100)))
    params["fc2"]["bias"].set_value(jnp.asarray(units))
    constant = evofool.Classifier(params, mlp.logits_function, mlp.spec)
    dropped = with_dropout(constant, RATE, jax.random.key(1)).logits(jnp.zeros((ROWS, 4, 4, 1)))
    assert_logits_of(dropped, units, *(np.asarray(params["fc3"][name][...]) for name in ("kernel", "bias")))


@pytest.mark.slow
def test_logits_of_a_convolutional_network_keep_their_mean_too() -> None:
    resnet = evofool.create_classifier("resnet", (8, 8, 1), NAMES, seed=2)
    image = jax.random.uniform(jax.random.key(0), (1, 8, 8, 1))
    logits = jax.jit(lambda classifier, images: classifier.logits(images))
    dropped = logits(with_dropout(resnet, RATE, jax.random.key(1)), jnp.tile(image, (ROWS, 1, 1, 1)))

    network = nnx.merge(resnet.logits_function.graphdef, resnet.params)
    kernel, bias = np.asarray(network.fc.kernel[...]), np.asarray(network.fc.bias[...])
    units = []
    network.fc = lambda x: units.append(x) or x
    network(image)
    assert_logits_of(dropped, np.asarray(units[0])[0], kernel, bias)


def test_layers_drop_units_of_their_own() -> None:
    """Two hidden layers of equal width: the same units of both would make logits vary otherwise."""
    mlp = evofool.create_classifier("mlp", (4, 4, 1), NAMES)
    ones = jax.tree.map(jnp.zeros_like, mlp.params)
    ones["fc1"]["bias"].set_value(jnp.ones(100))
    ones["fc2"]["kernel"].set_value(jnp.eye(100))
    ones["fc3"]["kernel"].set_value(jnp.ones((100, 3)))
    passing = evofool.Classifier(ones, mlp.logits_function, mlp.spec)
    counts = with_dropout(passing, 0.5, jax.random.key(0)).logits(jnp.zeros((400, 4, 4, 1)))[:, 0] / 4
    # A unit passes both layers with a probability of a quarter; through equal masks it would be a half.
    assert float(counts.mean()) == pytest.approx(25, abs=5 * np.sqrt(100 * 3 / 16 / 400))


def test_no_units_are_dropped_elsewhere() -> None:
    for network in ("lenet", "cnn", "mlp", "maxout", "linear", "resnet", "squeezenet-1.0"):
        shapes = evofool.create_classifier(network, (32, 32, 3), NAMES, seed=None)
        module = nnx.merge(shapes.logits_function.graphdef, shapes.params)
        layers = [layer for _, layer in nnx.iter_modules(module) if isinstance(layer, nnx.Dropout)]
        assert bool(layers) == (network != "linear")
        assert all(layer.deterministic and layer.rngs is None for layer in layers)


def test_what_has_no_hidden_units_is_refused() -> None:
    key = jax.random.key(0)
    linear = evofool.create_classifier("linear", (4, 4, 1), NAMES)
    with pytest.raises(UsageError, match="linear has no hidden units"):
        with_dropout(linear, 0.5, key)
    mlp = evofool.create_classifier("mlp", (4, 4, 1), NAMES)
    with pytest.raises(UsageError, match="not one of evofool's networks"):
        with_dropout(subtract_mean(mlp, jnp.zeros((4, 4, 1))), 0.5, key)
    for rate in (-0.1, 1.0, float("nan")):
        with pytest.raises(UsageError, match="dropout must be at least 0 and below 1"):
            with_dropout(mlp, rate, key)
