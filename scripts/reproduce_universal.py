"""One perturbation for most images (Moosavi-Dezfooli et al., CVPR 2017), on MNIST.

    python scripts/reproduce_universal.py --classifiers runs/mnist-classifiers --out runs/universal

Differences from the paper: MNIST and an L-infinity norm of 0.2 where it has ImageNet and 10/255; 1,000 images
to learn from where it has 10,000. It reports that computed on VGG-19, the perturbation fools every other
network on more than 53 %.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from mnist_classifiers import console, digits_for_testing, trained
from rich.table import Table

from evofool.attacks import Untargeted, add_perturbation, universal_perturbation
from evofool.classifiers import Classifier
from evofool.datasets import load_dataset
from evofool.pixels import from_uint8
from evofool.report import write_png
from evofool.report.attacks import amplified

EPSILON = 0.2
LEARNT_FROM = 1000
NETWORKS = ("lenet", "cnn", "mlp", "maxout", "linear")


def main(
    classifiers: Path = Path("runs/mnist-classifiers"), out: Path = Path("runs/universal"), passes: int = 10
) -> None:
    """Print the fooling rate of each network's perturbation on each network; save the perturbations."""
    networks = {name: trained(name, classifiers) for name in NETWORKS}
    training = from_uint8(load_dataset("mnist").train_images[:LEARNT_FROM])
    held_out, _ = digits_for_testing()
    table = Table("computed on", "passes", "its own images", *(f"held-out, {name}" for name in NETWORKS))
    table.title = f"Fooling rate of one perturbation of L-infinity norm {EPSILON}, on 10,000 held-out digits"
    table.add_row(
        "random signs", "", "", *(rate(networks[name], held_out, random_signs()) for name in NETWORKS)
    )
    out.mkdir(parents=True, exist_ok=True)
    for source in NETWORKS[:3]:
        result = universal_perturbation(networks[source], training, epsilon=EPSILON, passes=passes)
        write_png(out / f"{source}.png", amplified(np.asarray(result.perturbation)))
        rates = np.asarray(result.fooling_rates)
        made = rates[np.isfinite(rates)]
        table.add_row(
            source,
            str(len(made)),
            f"{made[-1]:.1%}",
            *(rate(networks[name], held_out, result.perturbation) for name in NETWORKS),
        )
    console.print(table)


def random_signs() -> Float[Array, "h w c"]:
    """A perturbation of the same size that knows nothing."""
    return jnp.asarray(EPSILON * np.random.default_rng(0).choice([-1.0, 1.0], (28, 28, 1)), jnp.float32)


def rate(classifier: Classifier, images: Float[Array, "n h w c"], perturbation: Float[Array, "h w c"]) -> str:
    """The share of images whose class the perturbation changes."""
    fooled = 0
    for start in range(0, len(images), 1000):
        part = images[start : start + 1000]
        labels = jnp.argmax(classifier(part), axis=1)
        fooled += int(add_perturbation(classifier, part, Untargeted(labels), perturbation).success.sum())
    return f"{fooled / len(images):.1%}"


if __name__ == "__main__":
    tyro.cli(main)
