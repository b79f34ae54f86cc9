"""Gradient methods beside Foolbox's, on the same network and the same digits."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.harness import (
    Effort,
    NotInstalledError,
    Row,
    Side,
    Table,
    compiled,
    interleaved,
    lenet,
    spread,
)
from benchmarks.peers import needs
from evofool import Classifier
from evofool.attacks import (
    DeepFoolOptions,
    FastGradientSignOptions,
    Goal,
    LBFGSOptions,
    PGDOptions,
    Targeted,
    Untargeted,
    deepfool,
    fast_gradient_sign,
    input_gradient,
    lbfgs,
    pgd,
    random_targets,
)
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError
from evofool.images import from_uint8

EPSILON = 0.25
STEP = 0.01 / 0.3 * EPSILON
"""Foolbox's default step size, relative to epsilon."""

_BARE = "forward and backward pass"
_OURS, _THEIRS = "evofool", "Foolbox"

Images = Any
Attack = Callable[[], Images]


class _Pair(NamedTuple):
    """An attack by evofool and, if it is installed, by Foolbox.

    Attributes:
        x: the images.
        goal: the goal of both.
        ours: evofool's attack.
        theirs: builds Foolbox's attack.
        passes: forward and backward passes of evofool's attack, if that number is fixed.
    """

    x: Images
    goal: Goal
    ours: Attack
    theirs: Callable[[], Attack]
    passes: int | None = None


def attacks(effort: Effort) -> Iterator[Table]:
    """Gradient methods on digits against a LeNet, beside Foolbox.

    Foolbox has no L-BFGS; the attack of Carlini and Wagner minimises the same norm for a target.
    """
    network, (x, y) = lenet(effort), _digits(effort)
    goal = Untargeted(y)
    steps, binary, tries = effort.size((40, 6, 100), (2, 1, 2))
    # The slowest pair runs on fewer images.
    some = x[: effort.size(50, 4)]
    targets = random_targets(jax.random.key(0), y[: len(some)], network)

    def ours(attack: Callable[..., Any], goal: Goal, options: Any, of: Images = x) -> Attack:
        return lambda: attack(network, of, goal, options).images

    @needs("foolbox")
    def theirs(
        name: str, target: Any = None, epsilon: float | None = None, of: Images = x, **options: Any
    ) -> Attack:
        import foolbox

        model = foolbox.JAXModel(jax.jit(network.logits), bounds=(0, 1), data_format="channels_last")
        criterion = y if target is None else foolbox.criteria.TargetedMisclassification(target)
        attack = getattr(foolbox.attacks, name)(**options)
        return lambda: attack(model, of, criterion, epsilons=epsilon)[1]

    random_start = PGDOptions(EPSILON, steps=steps, step_size=STEP)
    carlini_wagner = {"binary_search_steps": binary, "steps": tries, "stepsize": 0.05}
    pairs = {
        "fast gradient sign": _Pair(
            x,
            goal,
            ours(fast_gradient_sign, goal, FastGradientSignOptions(EPSILON)),
            lambda: theirs("LinfFastGradientAttack", epsilon=EPSILON),
            passes=1,
        ),
        f"iterated, {steps} steps from a random start": _Pair(
            x,
            goal,
            ours(pgd, goal, random_start),
            lambda: theirs("LinfPGD", epsilon=EPSILON, steps=steps),
            passes=steps,
        ),
        "DeepFool, L2": _Pair(
            x, goal, ours(deepfool, goal, DeepFoolOptions()), lambda: theirs("L2DeepFoolAttack")
        ),
        "DeepFool, L-infinity": _Pair(
            x, goal, ours(deepfool, goal, DeepFoolOptions("linf")), lambda: theirs("LinfDeepFoolAttack")
        ),
        f"L-BFGS, {len(some)} digits (Foolbox: Carlini & Wagner)": _Pair(
            some,
            Targeted(targets),
            ours(lbfgs, Targeted(targets), effort.size(LBFGSOptions(), LBFGSOptions(2, 2)), of=some),
            lambda: theirs("L2CarliniWagnerAttack", target=targets, of=some, **carlini_wagner),
        ),
    }
    gradient = compiled(lambda network, x: input_gradient(network, x, goal)[0], network, x)
    rows = [
        row for name, pair in pairs.items() for row in _rows(name, pair, network, gradient, effort.repeats(3))
    ]
    yield Table(f"Attacks on {len(x)} digits against {network.spec.name}", rows, bars="speedup_over_Foolbox")


def _rows(name: str, pair: _Pair, network: Classifier, gradient: Side, rounds: int) -> list[Row]:
    runs, absent = {_OURS: pair.ours}, []
    try:
        runs[_THEIRS] = pair.theirs()
    except NotInstalledError as error:
        absent = [{"attack": name, "by": _THEIRS, "note": str(error)}]
    images = {who: run() for who, run in runs.items()}
    sides = {_BARE: gradient, **{who: Side(run) for who, run in runs.items()}}
    seconds = interleaved(sides, rounds, settle=False)
    reached = {who: np.asarray(pair.goal.reached(network.logits(each))) for who, each in images.items()}
    both = np.all(list(reached.values()), axis=0)
    rows: dict[str, Row] = {
        who: {
            "attack": name,
            "by": who,
            "seconds": spread(seconds[who]),
            "success": float(reached[who].mean()),
            "mean_L2_where_all_succeed": _mean_l2(pair.x, images[who], both),
        }
        for who in runs
    }
    if pair.passes:
        rows[_OURS]["ratio_to_its_bare_gradients"] = spread(pair.passes * seconds[_BARE] / seconds[_OURS])
    if not absent:
        rows[_OURS]["speedup_over_Foolbox"] = spread(seconds[_THEIRS] / seconds[_OURS])
        if pair.passes == 1:
            rows[_OURS]["share_of_equal_images"] = _agreement(images)
    return [*rows.values(), *absent]


def _digits(effort: Effort) -> tuple[Images, Any]:
    try:
        data = load_dataset(effort.size("mnist", "digits"))
    except EvofoolError:
        data = load_dataset("digits")
    count = effort.size(200, 8)
    return from_uint8(data.test_images[:count]), jnp.asarray(data.test_labels[:count])


def _mean_l2(x: Images, attacked: Images, counted: np.ndarray) -> float | None:
    """The mean Euclidean norm of the counted perturbations."""
    lengths = np.sqrt(np.square(np.asarray(attacked - x)).sum(axis=(1, 2, 3)))
    return round(float(lengths[counted].mean()), 4) if counted.any() else None


def _agreement(images: dict[str, Images]) -> float:
    """The share of images that both attacks changed equally."""
    apart = np.abs(np.asarray(images[_OURS] - images[_THEIRS])).max(axis=(1, 2, 3))
    return float((apart < 1e-5).mean())
