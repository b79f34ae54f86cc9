"""Gradient ascent from noise (Nguyen et al., CVPR 2015, section 3.9): all digits, and 100 ImageNet classes.

    python scripts/reproduce_gradient_ascent.py --out runs/ascent
    python scripts/reproduce_gradient_ascent.py --classifier squeezenet-1.0 --classes 10 --out runs/squeezenet

Differences from the paper: MobileNet v1 0.25 or SqueezeNet 1.0 where it has CaffeNet, and for the digits
their LeNet, which they fooled by evolution only. Settings are those of their released code: 500 steps from
the mean (here one grey) plus N(0, 1) noise, e 0.04 and l 0.2 (the largest that they used), no decay. The
rule is shown with our bound on what a step aims for, and without, as theirs is. The regularised images take
L2 decay of 0.01 and a blur by one pixel every four steps, and steps that aim for 5 in log-odds: smaller ones
gain less than decay and blur take. The paper reports 99.99 % without resemblance, and some recognisable parts
with regularisation. Changes are drawn amplified too, because they are of about one grey level.

To save time, with our bound all classes take rounds of 100 steps, each from the best image so far, and those
that are certain as saved with 8 bits take no further round. The other two take all steps in one.
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
# A round starts from the best image of the one before. Steps that overshoot would be taken again: the best
# image is then the one that the round started from.
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
    """Print how many classes are reached and when; save the images.

    Args:
        out: folder for the images.
        classifier: what to fool.
        classes: how many, spread evenly over all; at most those there are.
        first_class: the first of them, as an index.
        names: of the classes, in place of these.
        beside: to how many of these the source's rule and regularisation are applied, 0 for neither; all if
            not given.
        steps: of gradient ascent.
    """
    out.mkdir(parents=True, exist_ok=True)
    for name in classifier:
        network = load_classifier(name)
        everything = len(network.spec.class_names)
        mean = 0.13 if network.spec.input_shape[2] == 1 else 0.45
        table = Table("", "classes", "50 %", "99 %", "99.9 %", "99.99 %", "99.99 % as saved", "minutes")
        table.title = f"{name}: classes that got there in {steps} steps, and the median step of these"
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
            images, ways = ascend(network, targets, mean, steps, kind)
            minutes = (time.perf_counter() - started) / 60
            confidences = saved_confidences(network, targets, images)
            cells = [*map(partial(reached, ways), (0.5, 0.99, 0.999, CERTAIN))]
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
    """The best image of each class, and its confidence after each step (nan after it was left alone)."""
    images = np.array(noise_images(jax.random.key(0), len(targets), classifier, mean_image=mean))
    ways = np.full((steps + 1, len(targets)), np.nan, np.float32)
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
            ways[done : until + 1, part] = np.asarray(result.trajectory)[..., 0]
            taken = min(first + _AT_ONCE, len(unfinished))
            console.print(f"  steps {done} to {until}: {taken} of {len(unfinished)} classes", style="dim")
    return images, ways


def reached(ways: Float[np.ndarray, "t n"], confidence: float) -> str:
    """How many classes have had a confidence, and the median of the first steps with it."""
    steps = np.asarray(first_step_above(jnp.asarray(ways), confidence))
    there = steps[steps >= 0]
    return f"{len(there)}, step {np.median(there):.0f}" if len(there) else "0"


def saved_confidences(
    classifier: Classifier, targets: Int[np.ndarray, " n"], images: Float[np.ndarray, "n h w c"]
) -> Float[np.ndarray, " n"]:
    """The confidence in each target of its image with 8 bits."""
    rounded = from_uint8(to_uint8(images))
    parts = [classifier(rounded[i : i + _AT_ONCE]) for i in range(0, len(rounded), _AT_ONCE)]
    return np.concatenate(parts)[np.arange(len(targets)), targets]


if __name__ == "__main__":
    run(main)
