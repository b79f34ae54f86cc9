"""The smallest targeted changes of Szegedy et al. (ICLR 2014, table 1), and noise of the same size.

    python scripts/reproduce_lbfgs.py --classifiers runs/mnist-classifiers

Differences from the paper: 200 test digits with random targets; networks trained for 5 epochs with Adam and
without weight decay; a LeNet in place of features of an autoencoder; and c |r|^2 in the objective, where the
paper writes c |r|.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from mnist_classifiers import console, digits_for_testing, trained
from rich.table import Table
from run import run

from evofool.attacks import Targeted, lbfgs, random_targets

PAPER = "0.06 to 0.14"


def main(classifiers: Path = Path("runs/mnist-classifiers"), digits: int = 200) -> None:
    """Print the table."""
    images, labels = digits_for_testing(digits)
    table = Table(
        "classifier",
        "success",
        "as saved in 8 bits",
        "mean distortion",
        "paper",
        "noise of equal size: wrong class",
        "noise: target class",
    )
    table.title = f"Box-constrained L-BFGS on {digits} test digits with random targets"
    for network in ("linear", "mlp", "lenet"):
        classifier = trained(network, classifiers)
        targets = random_targets(jax.random.key(0), labels, classifier)
        result = lbfgs(classifier, images, Targeted(targets))
        noise = jax.random.normal(jax.random.key(1), images.shape) * result.distortion[:, None, None, None]
        noisy = jnp.argmax(classifier(jnp.clip(images + noise, 0, 1)), axis=1)
        right = np.asarray(jnp.argmax(result.confidences_before, axis=1) == labels)
        table.add_row(
            network,
            f"{float(result.success.mean()):.1%}",
            f"{float(result.quantised.success.mean()):.1%}",
            f"{float(result.distortion.mean()):.3f}",
            PAPER,
            f"{float((noisy != labels)[right].mean()):.1%}",
            f"{float((noisy == targets).mean()):.1%}",
        )
    console.print(table)


if __name__ == "__main__":
    run(main)
