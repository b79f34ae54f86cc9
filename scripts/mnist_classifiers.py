"""The MNIST classifiers that the reproductions attack, trained once and cached."""

from pathlib import Path

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from rich.console import Console

from evofool.classifiers import Classifier, create_classifier, load_classifier, save_classifier
from evofool.datasets import load_dataset
from evofool.images import from_uint8
from evofool.training import TrainingOptions, train

EPOCHS = {"linear": 5, "mlp": 5, "maxout": 5, "lenet": 5, "cnn": 3}  # as for the figures in docs/
ADVERSARIAL_EPSILON = 0.25
PLAIN = tuple(EPOCHS)
ADVERSARIAL = ("maxout", "lenet")

console = Console(highlight=False, width=140)


def trained(network: str, folder: Path, *, adversarial: bool = False) -> Classifier:
    """A network trained on MNIST with the settings of `evofool train`, cached in the folder."""
    path = folder / f"{network}{'-adversarial' if adversarial else ''}.safetensors"
    if not path.is_file():
        console.print(f"training {path.stem}")
        mnist = load_dataset("mnist")
        start = create_classifier(network, (28, 28, 1), mnist.class_names, name=path.stem)
        epsilon = ADVERSARIAL_EPSILON if adversarial else None
        result = train(start, mnist, TrainingOptions(epochs=EPOCHS[network], epsilon=epsilon))
        folder.mkdir(parents=True, exist_ok=True)
        save_classifier(path, result.classifier, training_data="mnist", test_accuracy=result.test_accuracy)
    return load_classifier(path)


def digits_for_testing(count: int = 10_000) -> tuple[Float[Array, "n h w c"], Int[Array, " n"]]:
    """The first images of MNIST's test set, in [0, 1], and their labels."""
    mnist = load_dataset("mnist")
    return from_uint8(mnist.test_images[:count]), jnp.asarray(mnist.test_labels[:count])
