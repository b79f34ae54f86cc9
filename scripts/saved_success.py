"""How many attacked images still succeed as saved with 8 bits, and what it costs to search for such images.

    python scripts/saved_success.py --page docs/gradient-attacks.md

The photographs and the released weights are in $EVOFOOL_DATA. DeepFool leads away from the predicted class,
on photographs towards one of three others; L-BFGS leads to a random target.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from run import run
from tables import markdown, renewed

from evofool.attacks import (
    AttackResult,
    DeepFoolOptions,
    LBFGSOptions,
    Targeted,
    Untargeted,
    deepfool,
    lbfgs,
    predicted_classes,
    random_targets,
)
from evofool.classifiers import Classifier, load_classifier
from evofool.datasets import load_dataset
from evofool.datasets.downloads import data_path
from evofool.images import from_uint8, load_photograph

PHOTOGRAPHS = ("giant_panda.jpg", "cat.png", "samoyed.jpg", "espresso.jpg")
TABLE = "success that survives saving"


def main(
    page: Path | None = None, digits: int = 100, searches: int = 8, iterations: int = 15, photographs: int = 4
) -> None:
    """Print the table, and put it into a page.

    Args:
        page: the Markdown file.
        digits: how many digits of MNIST.
        searches: of L-BFGS.
        iterations: of L-BFGS in each search.
        photographs: how many photographs.
    """
    lenet, squeezenet = load_classifier("lenet-nguyen2015"), load_classifier("squeezenet-1.0")
    subjects = [
        ("MNIST, LeNet", lenet, from_uint8(load_dataset("mnist").test_images[:digits])),
        ("photographs, SqueezeNet 1.0", squeezenet, photographs_for(squeezenet, photographs)),
    ]
    rows = []
    for title, classifier, images in subjects:
        for name in ("DeepFool", "L-BFGS"):
            for eight_bit in (False, True):
                result = attack(name, classifier, images, eight_bit, searches, iterations)
                rows.append((title, name, "8 bits" if eight_bit else "any", *measured(result)))
                print(" | ".join(rows[-1]), flush=True)
    heading = ("images", "attack", "searched among", "success", "as saved", "mean L2 as saved")
    table = markdown(heading, rows)
    print(table)
    if page is not None:
        text = renewed(page.read_text(encoding="utf-8"), {TABLE: lambda: table}, others=True)
        page.write_text(text, encoding="utf-8")


def photographs_for(classifier: Classifier, count: int) -> Float[Array, "n h w c"]:
    """The first photographs, in the size of the classifier."""
    paths = [data_path("photos", name) for name in PHOTOGRAPHS[:count]]
    return from_uint8(np.stack([load_photograph(path, classifier.spec.input_shape) for path in paths]))


def attack(
    name: str,
    classifier: Classifier,
    images: Float[Array, "n h w c"],
    eight_bit: bool,
    searches: int,
    iterations: int,
) -> AttackResult:
    """One attack on all images."""
    classes = predicted_classes(classifier, images)
    if name == "DeepFool":
        candidates = 10 if len(classifier.spec.class_names) == 10 else 3
        options = DeepFoolOptions(candidates=candidates, eight_bit=eight_bit)
        return deepfool(classifier, images, Untargeted(classes), options)
    targets = random_targets(jax.random.key(0), classes, classifier)
    limits = LBFGSOptions(searches, iterations, eight_bit=eight_bit)
    return lbfgs(classifier, images, Targeted(targets), limits)


def measured(result: AttackResult) -> tuple[str, str, str]:
    """Successes in memory and as saved, and the mean change of those that survive."""
    saved, count = result.quantised, len(result.images)
    survived = np.asarray(saved.success)
    mean = f"{float(jnp.asarray(saved.l2)[survived].mean()):.3f}" if survived.any() else ""
    return f"{int(result.success.sum())} of {count}", f"{int(survived.sum())} of {count}", mean


if __name__ == "__main__":
    run(main)
