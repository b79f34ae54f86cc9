"""Gradient ascent from noise (Nguyen et al., CVPR 2015, section 3.9): all digits, and 100 ImageNet classes.

    python scripts/reproduce_gradient_ascent.py --out runs/ascent
    python scripts/reproduce_gradient_ascent.py --classifier squeezenet-1.0 --classes 10 --out runs/squeezenet

Differences from the paper: MobileNet v1 0.25 or SqueezeNet 1.0 instead of CaffeNet, and for the digits the
paper's LeNet, which it fools by evolution only. The settings are those of the released code: 500 steps from
the mean (here one grey) plus N(0, 1) noise, e = 0.04 and l = 0.2 (the largest values it uses), no decay. The
step rule runs with evofool's bound on the gain per step and without it, as in the source. Regularised images
have an L2 decay of 0.01, a blur by one pixel every four steps, and steps that aim for 5 in log-odds; smaller
steps gain less than decay and blur cost. The paper reports 99.99% without resemblance, and some recognisable
parts with regularisation. Changes are also drawn amplified, because they are about one grey level.

To save time, bounded runs take rounds of 100 steps from the best image so far, and a class that is certain as
saved in 8 bits takes no further round. The other kinds take all steps in one round.
"""

import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table
from run import run

from evofool.attacks import (
    GradientAscentOptions,
    Targeted,
    first_step_above,
    gradient_ascent,
    noise_images,
)
from evofool.classifiers import Classifier, load_classifier
from evofool.images import from_uint8, to_uint8
from evofool.numerics.batches import in_batches
from evofool.report import contact_sheet
from evofool.report.attacks import amplified

BOUNDED, OF_THE_SOURCE, REGULARISED = "bounded", "as the source", "regularised"
KINDS: dict[str, dict[str, Any]] = {
    BOUNDED: {},
    OF_THE_SOURCE: {"largest_odds_gain": None},
    REGULARISED: {
        "decay": 0.01,
        "blur_radius": 1.0,
        "blur_every": 4,
        "early_progress": 5.0,
        "late_progress": 5.0,
    },
}
CERTAIN = 0.9999
# A round starts from the best image so far. Unbounded steps overshoot, so the best image would remain the
# starting one, and the next round would repeat the same steps.
_ROUND = {BOUNDED: 100}
_AT_ONCE = 10

console = Console(highlight=False, width=140)


def main(
    out: Path = Path("runs/ascent"),
    classifier: tuple[str, ...] = ("lenet-nguyen2015", "mobilenet-v1-0.25"),
    classes: int = 100,
    first_class: int = 0,
    names: tuple[str, ...] = (),
    beside: int | None = None,
    steps: int = 500,
) -> None:
    """Print how many classes reach each confidence, and when; save the images.

    Args:
        out: folder for the images.
        classifier: the classifiers to fool.
        classes: number of classes, spread evenly over all.
        first_class: index of the first class.
        names: names of the classes, instead of evenly spread ones.
        beside: number of classes for the source's rule and for regularisation, 0 for neither; all by default.
        steps: steps of gradient ascent.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in classifier:
        network = load_classifier(name)
        everything = len(network.spec.class_names)
        mean = 0.13 if network.spec.input_shape[2] == 1 else 0.45
        table = Table("", "classes", "50%", "99%", "99.9%", "99.99%", "99.99% as saved", "minutes")
        table.title = f"{name}: classes that reach a confidence within {steps} steps, and their median step"
        for kind in KINDS:
            count = min(classes, everything)
            chosen = [network.spec.class_index(target) for target in names]
            targets = first_class + np.arange(count) * (everything // count)
            targets = np.array(chosen) if chosen else targets
            if kind != BOUNDED and beside is not None:
                targets = targets[:: max(1, count // max(1, beside))][:beside]
            if not len(targets):
                continue
            started = time.perf_counter()
            images, trajectories = ascend(network, targets, mean, steps, kind)
            minutes = (time.perf_counter() - started) / 60
            confidences = saved_confidences(network, targets, images)
            cells = [*map(partial(reached, trajectories), (0.5, 0.99, 0.999, CERTAIN))]
            cells.append(str(int((confidences >= CERTAIN).sum())))
            table.add_row(kind, str(len(targets)), *cells, f"{minutes:.1f}")
            console.print(f"{name}, {kind}: {'; '.join(cells)}")
            changes = np.stack([amplified(image - mean) for image in images])
            for drawn, suffix in ((to_uint8(images), ""), (changes, "_amplified")):
                contact_sheet(
                    drawn,
                    [network.spec.class_names[target] for target in targets],
                    confidences,
                    out / f"{name}_{kind.split()[-1]}{suffix}.png",
                    title=f"Gradient ascent on {name}, {kind}",
                    subtitle="difference from the mean, amplified" if suffix else None,
                )
        console.print(table)


def ascend(
    classifier: Classifier, targets: Int[np.ndarray, " n"], mean: float, steps: int, kind: str
) -> tuple[Float[np.ndarray, "n h w c"], Float[np.ndarray, "t n"]]:
    """The best image of each class, and its trajectory of confidences (nan after its last round)."""
    images = np.array(noise_images(jax.random.key(0), len(targets), classifier, mean_image=mean))
    trajectories = np.full((steps + 1, len(targets)), np.nan, np.float32)
    steps_of_round = _ROUND.get(kind, steps)
    for done in range(0, steps, steps_of_round):
        unfinished = np.flatnonzero(saved_confidences(classifier, targets, images) < CERTAIN)
        until = min(done + steps_of_round, steps)
        for first in range(0, len(unfinished), _AT_ONCE):
            part = np.resize(unfinished[first : first + _AT_ONCE], _AT_ONCE)
            progress = {"early_progress": 0.04, "late_progress": 0.2}
            result = gradient_ascent(
                classifier,
                jnp.asarray(images[part]),
                Targeted(targets[part]),
                GradientAscentOptions(steps=until - done, **progress | KINDS[kind]),
                mean_image=mean,
                watch=jnp.asarray(targets[part, None]),
            )
            images[part] = result.images
            trajectories[done : until + 1, part] = np.asarray(result.trajectory)[..., 0]
            taken = min(first + _AT_ONCE, len(unfinished))
            console.print(f"  steps {done} to {until}: {taken} of {len(unfinished)} classes", style="dim")
    return images, trajectories


def reached(trajectories: Float[np.ndarray, "t n"], confidence: float) -> str:
    """How many classes reach a confidence, and the median of the first steps at which they do."""
    steps = np.asarray(first_step_above(jnp.asarray(trajectories), confidence))
    there = steps[steps >= 0]
    return f"{len(there)}, step {np.median(there):.0f}" if len(there) else "0"


def saved_confidences(
    classifier: Classifier, targets: Int[np.ndarray, " n"], images: Float[np.ndarray, "n h w c"]
) -> Float[np.ndarray, " n"]:
    """The confidence of each image in its target after rounding to 8 bits."""
    rounded = from_uint8(to_uint8(images))
    return np.asarray(in_batches(classifier, rounded, _AT_ONCE))[np.arange(len(targets)), targets]


if __name__ == "__main__":
    run(main)
