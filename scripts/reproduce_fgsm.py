"""The error rates of Goodfellow, Shlens & Szegedy (ICLR 2015) by fast gradient sign on MNIST.

    python scripts/reproduce_fgsm.py --classifiers runs/mnist-classifiers

Differences from the paper: networks are trained for 5 epochs (the cnn for 3) with Adam, without dropout or
early stopping. The maxout network has 240 units per layer, also when trained adversarially, where the paper
has 1,600. The paper's rubbish class images are a study: `evofool study rubbish`.
"""

from pathlib import Path

import numpy as np
from mnist_classifiers import ADVERSARIAL, PLAIN, console, digits_for_testing, trained
from rich.table import Table
from run import run

from evofool.attacks import FastGradientSignOptions, Untargeted, fast_gradient_sign
from evofool.classifiers import Classifier
from evofool.report import format_confidence

EPSILON = 0.25

# Error and mean confidence on errors at epsilon 0.25 (Goodfellow et al. 2015, sections 4 and 6).
PAPER = {
    "linear": "99.9% at 79.3%",
    "maxout": "89.4% at 97.6%, clean 0.94%",
    "maxout-adversarial": "17.9%, clean 0.84%",
}


def main(classifiers: Path = Path("runs/mnist-classifiers")) -> None:
    """Print the table."""
    networks = [trained(name, classifiers) for name in PLAIN]
    networks += [trained(name, classifiers, adversarial=True) for name in ADVERSARIAL]
    attacked = Table("classifier", "clean error", "error", "mean confidence on errors", "paper")
    attacked.title = f"Fast gradient sign at epsilon {EPSILON} on 10,000 test digits"
    for classifier in networks:
        name = classifier.spec.name
        clean, error, confidence = attacked_error(classifier)
        attacked.add_row(name, *map(format_confidence, (clean, error, confidence)), PAPER.get(name, ""))
    console.print(attacked)


def attacked_error(classifier: Classifier) -> tuple[float, float, float]:
    """Error on the test digits before and after the attack, and the mean confidence on the errors after."""
    images, labels = digits_for_testing()
    result = fast_gradient_sign(classifier, images, Untargeted(labels), FastGradientSignOptions(EPSILON))
    clean = np.asarray(result.confidences_before.argmax(axis=1) != labels)
    errors, confidences = np.asarray(result.success), np.asarray(result.confidences.max(axis=1))
    return float(clean.mean()), float(errors.mean()), float(confidences[errors].mean())


if __name__ == "__main__":
    run(main)
