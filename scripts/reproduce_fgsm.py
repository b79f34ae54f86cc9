"""The error rates of Goodfellow, Shlens & Szegedy (ICLR 2015) by fast gradient sign on MNIST, and by noise.

    python scripts/reproduce_fgsm.py --classifiers runs/mnist-classifiers

Differences from the paper: networks are trained for 5 epochs with Adam and without dropout or early stopping,
the maxout network has 240 units a layer also where the paper's adversarially trained one has 1,600, and its
rubbish is N(0, 1) where ours is clipped to valid pixels. An error on noise is a class above one half.
"""

from pathlib import Path

import numpy as np
import tyro
from mnist_classifiers import ADVERSARIAL, PLAIN, console, digits_for_testing, trained
from rich.table import Table

from evofool.attacks import Untargeted, fast_gradient_sign
from evofool.classifiers import Classifier
from evofool.studies import certainty, rubbish

EPSILON = 0.25
_AT_ONCE = 1000

# Error and mean confidence on errors at epsilon 0.25, as reported in sections 4 and 6.
PAPER = {
    "linear": "99.9 % at 79.3 %",
    "maxout": "89.4 % at 97.6 %, clean 0.94 %",
    "maxout-adversarial": "17.9 %, clean 0.84 %",
}
PAPER_RUBBISH = {"maxout": "98.35 % at 92.8 % (Gaussian)"}


def main(classifiers: Path = Path("runs/mnist-classifiers")) -> None:
    """Print both tables."""
    networks = [trained(name, classifiers) for name in PLAIN]
    networks += [trained(name, classifiers, adversarial=True) for name in ADVERSARIAL]
    attacked = Table("classifier", "clean error", "error", "mean confidence on errors", "paper")
    attacked.title = f"Fast gradient sign at epsilon {EPSILON} on 10,000 test digits"
    noise = Table(
        "classifier",
        "images",
        "above 50 %",
        "mean confidence on these",
        "above 99 %",
        "commonest class",
        "paper",
    )
    noise.title = "10,000 images of noise, and the test digits"
    images, _ = digits_for_testing()
    for classifier in networks:
        name = classifier.spec.name
        clean, error, confidence = attacked_error(classifier)
        attacked.add_row(name, f"{clean:.2%}", f"{error:.2%}", f"{confidence:.1%}", PAPER.get(name, ""))
        for kind, result in {
            "uniform": rubbish(classifier, "uniform"),
            "gaussian": rubbish(classifier, "gaussian"),
            "test digits": certainty(classifier, images),
        }.items():
            shares = result.class_shares(10)
            noise.add_row(
                name,
                kind,
                f"{result.share_above(0.5):.2%}",
                f"{result.mean_confidence_above(0.5):.1%}",
                f"{result.share_above(0.99):.1%}",
                f"{classifier.spec.class_names[int(shares.argmax())]} ({shares.max():.0%})",
                PAPER_RUBBISH.get(name, "") if kind == "gaussian" else "",
            )
    console.print(attacked)
    console.print(noise)


def attacked_error(classifier: Classifier) -> tuple[float, float, float]:
    """Error on the test digits before and after, and the mean confidence on the errors after."""
    images, labels = digits_for_testing()
    clean, wrong, confidences = [], [], []
    for start in range(0, len(images), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        result = fast_gradient_sign(classifier, images[part], Untargeted(labels[part]), EPSILON)
        clean.append(np.asarray(result.confidences_before.argmax(axis=1) != labels[part]))
        wrong.append(np.asarray(result.success))
        confidences.append(np.asarray(result.confidences.max(axis=1)))
    errors = np.concatenate(wrong)
    return (
        float(np.concatenate(clean).mean()),
        float(errors.mean()),
        float(np.concatenate(confidences)[errors].mean()),
    )


if __name__ == "__main__":
    tyro.cli(main)
