"""AutoAttack beside torchattacks', stage by stage, on the same weights and the same images."""

from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.harness import Effort, NotInstalledError, Row, Table, say
from benchmarks.peers import needs
from benchmarks.subjects import Subject, ball_name, subjects
from benchmarks.torch_networks import as_torch, from_torch, to_torch, torch_labels
from evofool import Classifier
from evofool.attacks import AutoAttackOptions, Untargeted, autoattack, predicted_classes

_STAGES = ("APGD-CE", "APGD-T", "FAB-T", "Square")
_ROUNDING = 1e-4

_COLOUR = (("linf", 8 / 255, 40), ("linf", 2 / 255, 40), ("l2", 0.5, 40), ("l2", 0.25, 16))
_GREY = (("linf", 0.15, 40), ("l2", 2.0, 40))
"""Norms and sizes of balls, and how many images; an image that is left to the end costs the most."""


Left = list[np.ndarray]
"""Which images are still classified correctly after each stage."""


def auto(effort: Effort) -> Iterator[Table]:
    """The images that AutoAttack leaves after each of its stages, beside torchattacks 3.5.1.

    Both attack the same images, all of them classified correctly, with the same weights: APGD with 100 steps
    from one start, targeted APGD and FAB with 100 steps towards each of nine classes, square with 5,000
    queries. Random numbers differ. torchattacks' own AutoAttack makes 10 steps where the paper makes 100, so
    its stages are called one by one. An image counts as fooled if the network is wrong about it and its
    change is within the ball. The rows "left by one alone" name images by their number in the test set.
    """
    found = subjects(effort, effort.size(40, 3))[0]
    title = f"AutoAttack on {found.name} that {found.classifier.spec.name} classifies correctly"
    balls = _GREY if found.images.shape[3] == 1 else _COLOUR
    rows: list[Row] = []
    for norm, epsilon, count in effort.size(balls, balls[-2:]):
        some = found.first(count)
        rows += [{"ball": ball_name(norm, epsilon), **row} for row in _rows(effort, some, norm, epsilon)]
        yield Table(title, list(rows))


def _rows(effort: Effort, found: Subject, norm: Any, epsilon: float) -> Iterator[Row]:
    classes = len(found.classifier.spec.class_names)
    options = AutoAttackOptions(
        epsilon,
        norm,
        steps=effort.size(100, 5),
        targets=classes - 1,
        square_queries=effort.size(5000, 20),
    )
    sides = {"evofool": lambda: _ours(found, options), "torchattacks": lambda: _theirs(found, options)}
    lefts: dict[str, Left] = {}
    for by, attack in sides.items():
        try:
            lefts[by] = attack()
        except NotInstalledError as error:
            yield {"by": by, "note": str(error)}
            continue
        counts = {stage: int(left.sum()) for stage, left in zip(_STAGES, lefts[by], strict=True)}
        say(f"    {ball_name(norm, epsilon)}, {by}: {counts}")
        yield {
            "by": by,
            "right_at_first": len(found.images),
            **{f"left_after_{stage}": count for stage, count in counts.items()},
        }
    for by, left in lefts.items():
        for other in lefts.keys() - {by}:
            alone = [np.flatnonzero(a & ~b) for a, b in zip(left, lefts[other], strict=True)]
            named = [", ".join(map(str, found.numbers[rows])) or "none" for rows in alone]
            yield {
                "by": f"left by {by} alone",
                **{f"left_after_{stage}": text for stage, text in zip(_STAGES, named, strict=True)},
            }


def _ours(found: Subject, options: AutoAttackOptions) -> Left:
    goal = Untargeted(found.labels)
    result = autoattack(found.classifier, jnp.asarray(found.images), goal, options)
    assert result.fooled_by is not None
    by = np.asarray(result.fooled_by)
    fooled = _fooled(found.classifier, found, np.asarray(result.images), options)
    if (fooled != (by >= 0)).any():
        raise RuntimeError("AutoAttack names images as fooled that are not, or the other way round")
    return [(by < 0) | (by > stage) for stage in range(len(_STAGES))]


@needs("torchattacks (pip install torch && pip install --no-deps torchattacks==3.5.1)")
def _theirs(found: Subject, options: AutoAttackOptions) -> Left:
    import torchattacks

    network = as_torch(found.classifier, found.images)
    limits = {
        "norm": {"linf": "Linf", "l2": "L2"}[options.norm],
        "eps": options.epsilon,
        "seed": options.seed,
    }
    targets = {"n_classes": options.targets + 1}
    stages: dict[str, Callable[[], Any]] = {
        "APGD-CE": lambda: torchattacks.APGD(network, steps=options.steps, loss="ce", **limits),
        "APGD-T": lambda: torchattacks.APGDT(network, steps=options.steps, **targets, **limits),
        "FAB-T": lambda: torchattacks.FAB(
            network, steps=options.steps, multi_targeted=True, **targets, **limits
        ),
        "Square": lambda: torchattacks.Square(network, n_queries=options.square_queries, **limits),
    }
    made, after = np.array(found.images), []
    left = np.ones(len(made), bool)
    for stage in _STAGES:
        if left.any():
            x, y = to_torch(found.images[left]), torch_labels(found.labels[left])
            made[left] = from_torch(stages[stage]()(x, y))
            left &= ~_fooled(found.classifier, found, made, options)
        after.append(left.copy())
    return after


def _fooled(
    classifier: Classifier, found: Subject, made: np.ndarray, options: AutoAttackOptions
) -> np.ndarray:
    """Which images the network is wrong about, within the ball."""
    wrong = np.asarray(predicted_classes(classifier, jnp.asarray(made))) != found.labels
    change = (made - found.images).reshape(len(made), -1)
    size = np.abs(change).max(axis=1) if options.norm == "linf" else np.linalg.norm(change, axis=1)
    assert options.epsilon is not None
    return wrong & (size <= options.epsilon * (1 + _ROUNDING))
