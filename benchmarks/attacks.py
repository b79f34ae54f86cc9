"""The attacks beside Foolbox's, on the same network and the same digits, interleaved in one process.

    python -m benchmarks.attacks

What can be compared between two machines is the ratio within a row. Foolbox has no L-BFGS; the attack of
Carlini and Wagner, with its default settings but fewer steps, minimises the same norm for a target.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import foolbox
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from rich.console import Console
from rich.table import Table

from evofool.attacks import (
    Untargeted,
    deepfool,
    fast_gradient_sign,
    iterated_gradient_sign,
    lbfgs,
    random_targets,
)
from evofool.classifiers import load_classifier
from evofool.datasets import load_dataset
from evofool.pixels import from_uint8

EPSILON = 0.25
STEPS = 40


def main(
    classifier: str = "lenet-digits", dataset: str = "digits", images: int = 200, repeats: int = 3
) -> None:
    """Print success, mean L2 distance and time of each attack, ours and Foolbox's."""
    network = load_classifier(classifier)
    data = load_dataset(dataset)
    x, y = from_uint8(data.test_images[:images]), jnp.asarray(data.test_labels[:images])
    targets = random_targets(jax.random.key(0), y, network)
    model = foolbox.JAXModel(jax.jit(network.logits), bounds=(0, 1), data_format="channels_last")
    step_size = 0.01 / 0.3 * EPSILON  # Foolbox's default
    wanted = foolbox.criteria.TargetedMisclassification(targets)

    def ours(attack: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[[], Array]:
        return lambda: attack(network, x, *arguments, **options).images

    def theirs(attack: Any, criterion: Any = y, epsilons: float | None = EPSILON) -> Callable[[], Array]:
        return lambda: attack(model, x, criterion, epsilons=epsilons)[1]

    attacks = foolbox.attacks
    away = Untargeted(y)
    cases = {
        "fast gradient sign": (
            ours(fast_gradient_sign, away, EPSILON),
            theirs(attacks.LinfFastGradientAttack()),
        ),
        "iterated (PGD)": (
            ours(
                iterated_gradient_sign,
                away,
                steps=STEPS,
                step_size=step_size,
                epsilon=EPSILON,
                key=jax.random.key(0),
            ),
            theirs(attacks.LinfPGD(steps=STEPS)),
        ),
        "deepfool, L2": (ours(deepfool, y), theirs(attacks.L2DeepFoolAttack(), epsilons=None)),
        "deepfool, L-infinity": (
            ours(deepfool, y, norm="linf"),
            theirs(attacks.LinfDeepFoolAttack(), epsilons=None),
        ),
        "L-BFGS (Foolbox: Carlini & Wagner)": (
            ours(lbfgs, targets),
            theirs(
                attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=200, stepsize=0.05),
                wanted,
                epsilons=None,
            ),
        ),
    }
    table = Table("attack", "success", "Foolbox", "mean L2", "Foolbox", "seconds", "Foolbox", "times as fast")
    table.title = f"{images} images, {classifier}, {jax.devices()[0].device_kind}, median of {repeats}"
    for name, (ours_of_case, theirs_of_case) in cases.items():
        # Once each for the compiler, then in turn, so that both see the same load of the machine.
        results = [ours_of_case(), theirs_of_case()]
        seconds: list[list[float]] = [[], []]
        for _ in range(repeats):
            for kept, run in zip(seconds, (ours_of_case, theirs_of_case), strict=True):
                started = time.perf_counter()
                jax.block_until_ready(run())
                kept.append(time.perf_counter() - started)
        reached = [network(result).argmax(axis=1) for result in results]
        goal = targets if "L-BFGS" in name else None
        success = [classes == goal if goal is not None else classes != y for classes in reached]
        medians = [statistics.median(kept) for kept in seconds]
        table.add_row(
            name,
            *(f"{float(share.mean()):.1%}" for share in success),
            *(f"{distance(x, result, good):.3f}" for result, good in zip(results, success, strict=True)),
            *(f"{median:.3f}" for median in medians),
            f"{medians[1] / medians[0]:.1f}",
        )
    Console(width=140).print(table)


def distance(x: Float[Array, "n h w c"], attacked: Float[Array, "n h w c"], counted: Array) -> float:
    """The mean Euclidean length of the changes that succeeded."""
    lengths = np.sqrt(np.square(np.asarray(attacked - x)).sum(axis=(1, 2, 3)))
    return float(lengths[np.asarray(counted)].mean())


if __name__ == "__main__":
    tyro.cli(main)
