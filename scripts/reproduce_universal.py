"""Universal perturbations (Moosavi-Dezfooli et al., CVPR 2017) on MNIST.

    python scripts/reproduce_universal.py --classifiers runs/mnist-classifiers --out runs/universal

Differences from the paper: MNIST with an L-infinity norm of 0.2 instead of ImageNet with 10/255; 1,000
training images instead of 10,000; and besides DeepFool the gradient over batches (Shafahi et al., AAAI 2020),
which is far more effective on ten classes. The paper's perturbation for VGG-19 fools every other network on
more than 53% of the images.
"""

import time
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from mnist_classifiers import console, digits_for_testing, trained
from rich.table import Table
from run import run

from evofool.attacks import (
    UniversalOptions,
    Untargeted,
    add_perturbation,
    predicted_classes,
    universal_perturbation,
)
from evofool.attacks.universal import Improvement
from evofool.classifiers import Classifier
from evofool.datasets import load_dataset
from evofool.images import from_uint8, write_png
from evofool.report import contact_sheet
from evofool.report.attacks import amplified

EPSILON = 0.2
LEARNT_FROM = 1000
NETWORKS = ("lenet", "cnn", "mlp", "maxout", "linear")


def main(
    classifiers: Path = Path("runs/mnist-classifiers"),
    out: Path = Path("runs/universal"),
    passes: int = 20,
    deepfool_passes: int = 3,
) -> None:
    """Print the fooling rate of each network's perturbation on each network; save the perturbations.

    universal.png shows the perturbations computed by gradient.

    Args:
        classifiers: folder of the trained networks; missing ones are trained.
        out: folder for the pictures.
        passes: passes over the images by gradient.
        deepfool_passes: passes by DeepFool, which is many times slower.
    """
    networks = {name: trained(name, classifiers) for name in NETWORKS}
    training = from_uint8(load_dataset("mnist").train_images[:LEARNT_FROM])
    held_out, _ = digits_for_testing()
    table = Table("computed on", "by", "passes", "seconds", "training images", *NETWORKS)
    table.title = f"Classes changed by one perturbation of L-infinity norm {EPSILON}: 10,000 held-out digits"
    control = [[rate(networks[name], held_out, random_signs(seed)) for name in NETWORKS] for seed in range(5)]
    table.add_row("random signs, mean of 5", "", "", "", "", *(f"{p:.1%}" for p in np.mean(control, axis=0)))
    out.mkdir(parents=True, exist_ok=True)
    runs: tuple[tuple[str, Improvement], ...] = (
        *((source, "gradient") for source in NETWORKS),
        *((source, "deepfool") for source in ("lenet", "mlp", "linear")),
    )
    pictures: dict[str, UInt8[np.ndarray, "h w c"]] = {}
    own_rates = []
    for source, improvement in runs:
        started = time.perf_counter()
        options = UniversalOptions(
            epsilon=EPSILON,
            improvement=improvement,
            fooling_rate=1.0,
            passes=passes if improvement == "gradient" else deepfool_passes,
        )
        goal = Untargeted(predicted_classes(networks[source], training))
        result = universal_perturbation(networks[source], training, goal, options)
        assert result.perturbation is not None
        assert result.fooling_rates is not None
        seconds = time.perf_counter() - started
        picture = amplified(np.asarray(result.perturbation))
        write_png(out / f"{source}_{improvement}.png", picture)
        rates = {name: rate(networks[name], held_out, result.perturbation) for name in NETWORKS}
        if improvement == "gradient":
            pictures[source] = picture
            own_rates.append(rates[source])
        cells = [f"{share:.1%}" for share in rates.values()]
        passed = len(result.fooling_rates)
        own = f"{np.nanmax(result.fooling_rates):.1%}"
        table.add_row(source, improvement, str(passed), f"{seconds:.0f}", own, *cells)
        console.print(source, improvement, np.round(result.fooling_rates, 3), *cells)
    console.print(table)
    contact_sheet(
        np.stack(list(pictures.values())),
        list(pictures),
        np.array(own_rates),
        out / "universal.png",
        columns=len(pictures),
        title=f"Universal perturbations of at most {EPSILON} per pixel",
        subtitle="amplified; below each: the share of held-out digits whose class it changes",
    )


def random_signs(seed: int) -> Float[Array, "h w c"]:
    """A random perturbation of the same size, as a control."""
    return jnp.asarray(EPSILON * np.random.default_rng(seed).choice([-1.0, 1.0], (28, 28, 1)), jnp.float32)


def rate(
    classifier: Classifier, images: Float[Array, "n h w c"], perturbation: Float[Array, "h w c"]
) -> float:
    """The share of images whose class the perturbation changes."""
    goal = Untargeted(predicted_classes(classifier, images))
    return float(add_perturbation(classifier, images, goal, perturbation).success.mean())


if __name__ == "__main__":
    run(main)
