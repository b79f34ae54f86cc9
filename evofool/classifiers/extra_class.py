"""One more class for a trained network."""

from dataclasses import replace

import jax
from jaxtyping import Array, Float

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.networks import create_classifier, network_of
from evofool.errors import UsageError


def with_extra_class(classifier: Classifier, name: str, seed: int = 0) -> Classifier:
    """The same network with one more output, whose weights are random; the other logits keep their values.

    Nguyen, Yosinski & Clune (CVPR 2015, section 3.5) go on training such a network with images that fool it
    as the class.

    Args:
        classifier: one of evofool's networks.
        name: of the class, which comes after the others.
        seed: seeds the weights of the output.

    Raises:
        UsageError: the classifier is not one of evofool's networks, or has the class already.

    Example:
        >>> from evofool import load_classifier
        >>> with_extra_class(load_classifier("lenet-digits"), "noise").spec.class_names[-2:]
        ('nine', 'noise')
    """
    spec = classifier.spec
    if name in spec.class_names:
        raise UsageError(f"{spec.name} has a class {name!r} already")
    names = (*spec.class_names, name)
    wider = create_classifier(network_of(classifier), spec.input_shape, names, name=spec.name, seed=seed)
    classes = len(spec.class_names)

    def widened(old: Float[Array, "*shape"], new: Float[Array, "*wider"]) -> Float[Array, "*wider"]:
        return old if old.shape == new.shape else new.at[..., :classes].set(old)

    params = jax.tree.map(widened, classifier.params, wider.params)
    return replace(wider, params=params, spec=replace(spec, class_names=names))
