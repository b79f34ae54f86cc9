"""Gradient ascent from noise (Nguyen et al., CVPR 2015, section 3.9): all digits, and 100 ImageNet classes.

    python scripts/reproduce_gradient_ascent.py --out runs/ascent

Differences from the paper: MobileNet v1 0.25 where it has CaffeNet, and for the digits their LeNet, which
they fooled by evolution only. Settings are those of their released code: 500 steps from the mean (here one
grey) plus N(0, 1) noise, e 0.03, l 0.1, no decay. The regularised images beside take L2 decay, blur and the
zeroing of pixels of small norm, as Yosinski et al. (2015) combine them. The paper reports 99.99 % without
resemblance, and some recognisable parts with regularisation.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Int
from rich.console import Console
from rich.table import Table

from evofool.attacks import AttackResult, Regularisation, first_step_above, gradient_ascent, noise_images
from evofool.classifiers import Classifier, load_classifier
from evofool.pixels import from_uint8, to_uint8
from evofool.report import contact_sheet

REGULARISED = Regularisation(decay=0.0001, blur_radius=0.5, blur_every=4, small_norms=50.0)
_AT_ONCE = 20

console = Console(highlight=False, width=140)


def main(out: Path = Path("runs/ascent"), classes: int = 100, steps: int = 500) -> None:
    """Print how many classes are reached and when; save the images."""
    out.mkdir(parents=True, exist_ok=True)
    table = Table("classifier", "", "classes", "majority", "99 %", "99.9 %", "99.99 %", "at 99.99 % as saved")
    table.title = f"Gradient ascent in {steps} steps: classes that got there, and the median step"
    for name, count, mean in (("lenet-nguyen2015", 10, 0.13), ("mobilenet-v1-0.25", classes, 0.45)):
        classifier = load_classifier(name)
        everything = len(classifier.spec.class_names)
        targets = jnp.arange(count) * (everything // count)
        for kind, regularisation in (("plain", Regularisation()), ("regularised", REGULARISED)):
            results = ascend(classifier, targets, mean, regularisation, steps)
            table.add_row(name, kind, str(count), *summary(classifier, targets, results))
            draw(classifier, targets, results, out / f"{name}_{kind}.png", kind)
    console.print(table)


def ascend(
    classifier: Classifier, targets: Int[Array, " n"], mean: float, regularisation: Regularisation, steps: int
) -> list[AttackResult]:
    """The ascent of every class, a few at a time."""
    start = noise_images(jax.random.key(0), len(targets), classifier, mean_image=mean)
    return [
        gradient_ascent(
            classifier,
            start[first : first + _AT_ONCE],
            targets[first : first + _AT_ONCE],
            steps=steps,
            mean_image=mean,
            regularisation=regularisation,
            watch=targets[first : first + _AT_ONCE, None],
        )
        for first in range(0, len(targets), _AT_ONCE)
    ]


def summary(classifier: Classifier, targets: Int[Array, " n"], results: list[AttackResult]) -> list[str]:
    """How many classes reached each threshold, with the median step of those."""
    ways = jnp.concatenate([result.trajectory[..., 0] for result in results], axis=1)
    reached = [jnp.concatenate([result.first_step for result in results])]
    reached += [first_step_above(ways, threshold) for threshold in (0.99, 0.999, 0.9999)]
    cells = []
    for steps in map(np.asarray, reached):
        there = steps[steps >= 0]
        cells.append(f"{len(there)}, step {np.median(there):.0f}" if len(there) else "0")
    confidences = saved_confidences(classifier, targets, results)
    return [*cells, str(int((confidences >= 0.9999).sum()))]


def saved_confidences(
    classifier: Classifier, targets: Int[Array, " n"], results: list[AttackResult]
) -> np.ndarray:
    """The confidence in each target of its image with 8 bits."""
    confidences = np.concatenate([classifier(from_uint8(to_uint8(result.images))) for result in results])
    return confidences[np.arange(len(targets)), np.asarray(targets)]


def draw(
    classifier: Classifier, targets: Int[Array, " n"], results: list[AttackResult], path: Path, kind: str
) -> None:
    """All images on one sheet."""
    images = np.concatenate([to_uint8(result.images) for result in results])
    names = [classifier.spec.class_names[int(target)] for target in targets]
    confidences = saved_confidences(classifier, targets, results)
    contact_sheet(
        images, names, confidences, path, title=f"Gradient ascent on {classifier.spec.name}, {kind}"
    )


if __name__ == "__main__":
    tyro.cli(main)
