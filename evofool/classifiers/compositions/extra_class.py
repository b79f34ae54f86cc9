"""Another output of a network."""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.compositions.composition import composition
from evofool.classifiers.networks import NetworkLogits, create_classifier
from evofool.errors import UsageError, require_seed

_DEVIATION = 0.01
"""Of new weights: a ReLU behind them has a gradient, and they hardly matter before training."""


@composition
def with_extra_class(classifier: Classifier, name: str, seed: int = 0) -> Classifier:
    """A network with one more class, to be trained: its last layer gets another output.

    The logits of the other classes stay. The new weights are normal with a standard deviation of 0.01, the
    new bias is zero. The result is a network like any other, for `evofool.training.train` and
    `save_classifier`: Nguyen et al. (CVPR 2015, section 3.5) add a class for fooling images this way.

    Args:
        classifier: one of evofool's networks (`create_classifier`), not a composition.
        name: of the new class.
        seed: of the new weights.

    Raises:
        UsageError: a composition, a class of this name is there already, or a seed of more than 32 bits.

    Example:
        >>> from evofool import load_classifier
        >>> with_extra_class(load_classifier("lenet-digits"), "fooling").params["fc2"]["kernel"].shape
        (500, 11)
    """
    require_seed(seed)
    spec, network = classifier.spec, classifier.logits_function
    if not isinstance(network, NetworkLogits):
        raise UsageError(
            f"{spec.name} is not one of evofool's networks, so it cannot get another class: add the class to "
            "the network inside it"
        )
    if name in spec.class_names:
        raise UsageError(f"{spec.name} has a class {name!r} already")
    wide = create_classifier(
        network.network,
        spec.input_shape,
        (*spec.class_names, name),
        activation=spec.activation,
        name=spec.name,
        seed=None,
    )
    keys = _keys(seed)
    params = jax.tree.map(
        lambda old, shape: old if old.shape == shape.shape else _widened(old, next(keys)),
        classifier.params,
        wide.params,
    )
    return replace(wide, params=params, spec=replace(wide.spec, training_data=spec.training_data))


def _keys(seed: int) -> Iterator[Array]:
    key = jax.random.key(seed)
    while True:
        key, own = jax.random.split(key)
        yield own


def _widened(array: Float[Array, "*i k"], key: Array) -> Float[Array, "*i k_plus_1"]:
    """The weights or the biases of the last layer, with those of another output."""
    new = jnp.zeros((*array.shape[:-1], 1), array.dtype)
    if array.ndim > 1:
        new += _DEVIATION * jax.random.normal(key, new.shape, array.dtype)
    return jnp.concatenate([array, new], axis=-1)
