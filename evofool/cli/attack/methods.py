"""The methods of `evofool attack`."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float, Int, UInt8
from rich.console import Console
from rich.table import Table

from evofool.attacks import (
    AttackResult,
    Goal,
    Regularisation,
    Targeted,
    add_template,
    deepfool,
    fast_gradient_sign,
    first_step_above,
    gradient_ascent,
    iterated_gradient_sign,
    lbfgs,
    noise_images,
    universal_perturbation,
)
from evofool.attacks.deepfool import Norm
from evofool.attacks.universal import Improvement
from evofool.classifiers import Classifier, load_classifier
from evofool.cli.attack import output
from evofool.cli.attack.batch import AT_ONCE, Batch, unique
from evofool.cli.attack.method import MaybeWithTarget, Method, OfEachImage, WithTarget, towards
from evofool.errors import UsageError, require_not_negative, require_positive, require_seed
from evofool.files import file_name, save_table
from evofool.images import fit_photograph, from_uint8, load_photograph, to_uint8, write_png
from evofool.report.attacks import amplified

_PAPERS_EPSILON = 10 / 255
_THRESHOLDS = (0.99, 0.999, 0.9999)


@dataclass(frozen=True, kw_only=True)
class FastGradientSign(MaybeWithTarget):
    """One step of equal size in every pixel, up the slope of the loss (Goodfellow et al. 2015).

    Attributes:
        epsilon: the change of every pixel, in [0, 1]; by default the paper's: 0.25 for grey images, 0.007 for
            colour.
    """

    epsilon: float | None = None
    name: ClassVar[str] = "fgsm"

    def _attack(self, classifier: Classifier, batch: Batch) -> AttackResult:
        grey = classifier.spec.input_shape[2] == 1
        epsilon = (0.25 if grey else 0.007) if self.epsilon is None else self.epsilon
        return fast_gradient_sign(classifier, batch.images, batch.goal, epsilon)


@dataclass(frozen=True, kw_only=True)
class Iterated(MaybeWithTarget):
    """Many small steps of equal size in every pixel: from panda to vulture (Evans; BIM, PGD).

    Attributes:
        steps: how many.
        change: by how many grey levels (of 255) all steps together may change a pixel. Less than half a level
            in all is undone by saving; the source's is 0.9.
        epsilon: the most by which a pixel may differ from its original, in [0, 1]; no limit if not given.
        random_start: start at a random point of the ball that epsilon gives.
        seed: of the random start; 0 by default.
        watch: classes to draw in the plot of probabilities beside those that the images pass through.
    """

    steps: int = 100
    change: float = 2.0
    epsilon: float | None = None
    random_start: bool = False
    seed: int | None = None
    watch: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()
    name: ClassVar[str] = "iterated"

    def _attack(self, classifier: Classifier, batch: Batch) -> AttackResult:
        require_not_negative(change=self.change)
        require_positive(steps=self.steps)
        key = jax.random.fold_in(jax.random.key(self.seed or 0), batch.first)
        return iterated_gradient_sign(
            classifier,
            batch.images,
            batch.goal,
            steps=self.steps,
            step_size=self.change / 255 / self.steps,
            epsilon=self.epsilon,
            key=key if self.random_start else None,
        )

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        require_seed(self.seed or 0)
        if self.seed is not None and not self.random_start:
            raise UsageError("--seed is of the random start: give --random-start too, or leave it out")
        self._watched(classifier)
        return super()._goal(classifier, predicted)

    def _save_more(self, outcome: output.Outcome) -> None:
        wanted = np.unique(outcome.batch.classes).tolist()
        watched = [*wanted, *self._watched(outcome.classifier)]
        output.save_way(outcome, self.out / "trajectory.png", watched)

    def _watched(self, classifier: Classifier) -> list[int]:
        return [classifier.spec.class_index(name) for name in self.watch]


@dataclass(frozen=True, kw_only=True)
class Ascent(OfEachImage):
    """Up the slope of a class's confidence, from noise or from given images (Nguyen et al. 2015).

    Attributes:
        target: the classes to be reached, by name or index; all of them if not given. From noise there is one
            image for each; given images want exactly one.
        steps: how many.
        early_progress: the gain in confidence that a step aims for.
        late_progress: the share of the missing confidence that a step aims for at most.
        largest_odds_gain: the gain in the log-odds of the confidence that a step never aims to exceed; None
            for no such bound, as in the source, where classes of tiny confidence may be lost.
        mean_level: the grey, in [0, 1], that the noise is added to and regularisation leads to.
        uniform: start from uniform noise, and not from the mean grey plus noise of one level.
        regularisation: what keeps the image natural; nothing by default.
        seed: of the noise; 0 by default.
    """

    target: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()
    steps: int = 500
    early_progress: float = 0.03
    late_progress: float = 0.1
    largest_odds_gain: float | None = 10.0
    mean_level: float = 0.5
    uniform: bool = False
    regularisation: Annotated[Regularisation, tyro.conf.arg(name="")] = Regularisation()  # noqa: RUF009 (a tuple of numbers)
    seed: int | None = None
    name: ClassVar[str] = "ascent"

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        if self.uniform or self.seed is not None:
            raise UsageError("--uniform and --seed are of the noise that is started from without --images")
        if len(self.target) != 1:
            raise UsageError(f"--images are led to one class: give one --target, not {len(self.target)}")
        return towards(classifier, self.target[0], predicted, self.images)

    def _batch(self, classifier: Classifier) -> Batch:
        if self.images:
            return super()._batch(classifier)
        require_seed(self.seed or 0)
        spec = classifier.spec
        targets = [spec.class_index(name) for name in self.target] or list(range(len(spec.class_names)))
        key, options = jax.random.key(self.seed or 0), {"level": None} if self.uniform else {}
        images = noise_images(key, len(targets), classifier, mean_image=self.mean_level, **options)
        names = [f"{index:03}_{file_name(spec.class_names[index])}" for index in targets]
        return Batch(unique(names), images, Targeted(jnp.array(targets)))

    def _attack(self, classifier: Classifier, batch: Batch) -> AttackResult:
        return gradient_ascent(
            classifier,
            batch.images,
            batch.classes,
            steps=self.steps,
            early_progress=self.early_progress,
            late_progress=self.late_progress,
            largest_odds_gain=self.largest_odds_gain,
            mean_image=self.mean_level,
            regularisation=self.regularisation,
            watch=batch.classes[:, None],
        )

    def _steps_to_thresholds(self, result: AttackResult) -> dict[str, Int[np.ndarray, " n"]]:
        assert result.trajectory is not None
        of_target = result.trajectory[..., 0]
        return {
            f"step_over_{100 * threshold:g}": np.asarray(first_step_above(of_target, threshold))
            for threshold in _THRESHOLDS
        }

    def _save_more(self, outcome: output.Outcome) -> None:
        # There may be as many images as classes, and before the first step all of them look the same.
        output.save_sheet(outcome, self.out / "sheet.png")
        output.save_way_of_targets(outcome, self.out / "trajectory.png")


@dataclass(frozen=True, kw_only=True)
class Lbfgs(WithTarget):
    """The smallest change for a target: box-constrained L-BFGS (Szegedy et al. 2014).

    Attributes:
        searches: how many weights of the change are tried.
        iterations: the most iterations of L-BFGS for each.
    """

    searches: int = 12
    iterations: int = 30
    name: ClassVar[str] = "lbfgs"

    def _attack(self, classifier: Classifier, batch: Batch) -> AttackResult:
        return lbfgs(
            classifier, batch.images, batch.classes, searches=self.searches, iterations=self.iterations
        )


@dataclass(frozen=True, kw_only=True)
class DeepFool(OfEachImage):
    """The shortest way over the nearest decision boundary (Moosavi-Dezfooli et al. 2016).

    Attributes:
        norm: the size that is to be small: l2, the Euclidean length, or linf, the largest change of a pixel.
        steps: the most steps for an image.
        overshoot: how far to go beyond the boundary, as a share of the way.
        candidates: how many of the likeliest classes are looked at.
    """

    norm: Norm = "l2"
    steps: int = 50
    overshoot: float = 0.02
    candidates: int = 10
    name: ClassVar[str] = "deepfool"

    def _attack(self, classifier: Classifier, batch: Batch) -> AttackResult:
        return deepfool(
            classifier,
            batch.images,
            batch.classes,
            norm=self.norm,
            steps=self.steps,
            overshoot=self.overshoot,
            candidates=self.candidates,
        )


@dataclass(frozen=True, kw_only=True)
class Universal(Method):
    """One change for all images, and for others (Moosavi-Dezfooli et al. 2017).

    Attributes:
        held_out: images that the change is not made from, to see how many of them it fools.
        other: further classifiers that the same change is tried on, by name or file. Where they take another
            size, the images are resized with the change in them.
        epsilon: its size: the largest change of a pixel (linf, in [0, 1]; 10/255 by default, the paper's), or
            the Euclidean length of the whole change (l2; to be given).
        norm: linf or l2.
        improvement: gradient: of a batch of images; deepfool: of one after the other, as in the paper.
        fooling_rate: the share of the images at which to stop.
        passes: the most passes over the images.
        seed: of the order in which the images are visited.
    """

    held_out: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE...")] = ()
    other: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE...")] = ()
    epsilon: float | None = None
    norm: Norm = "linf"
    improvement: Improvement = "gradient"
    fooling_rate: float = 0.8
    passes: int = 20
    seed: int = 0
    name: ClassVar[str] = "universal"

    def _attack_all(self, classifier: Classifier, batch: Batch, console: Console) -> tuple[AttackResult, Any]:
        epsilon = self._epsilon(batch)
        others = [load_classifier(name) for name in self.other]
        held_out = [load_photograph(path, classifier.spec.input_shape) for path in self.held_out]
        result = universal_perturbation(
            classifier,
            batch.images,
            epsilon=epsilon,
            norm=self.norm,
            improvement=self.improvement,
            fooling_rate=self.fooling_rate,
            passes=self.passes,
            batch_size=AT_ONCE,
            seed=self.seed,
        )
        signs = jax.random.rademacher(jax.random.key(self.seed), result.perturbation.shape, jnp.float32)
        size = epsilon / (1 if self.norm == "linf" else np.sqrt(signs.size))
        rows = [
            {
                "classifier": network.spec.name,
                "images": f"{len(levels)} {whose}",
                "fooling_rate": f"{_fooling_rate(network, levels, result.perturbation):.4f}",
                "random_signs": f"{_fooling_rate(network, levels, size * signs):.4f}",
            }
            for network in (classifier, *others)
            for whose, levels in (("it is made from", to_uint8(batch.images)), ("held out", held_out))
            if len(levels)
        ]
        table = Table("classifier", "images", "class changed", "by random signs", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        console.print(table, "")
        return result.attack, (np.asarray(result.perturbation), rows)

    def _epsilon(self, batch: Batch) -> float:
        if self.epsilon is not None:
            return self.epsilon
        if self.norm == "l2":
            as_long = _PAPERS_EPSILON * np.sqrt(batch.images[0].size)
            raise UsageError(
                "--norm l2 needs --epsilon, the Euclidean length of the whole change: one of 10/255 in every "
                f"value of these images has {as_long:.2g}"
            )
        return _PAPERS_EPSILON

    def _save_more(self, outcome: output.Outcome) -> None:
        perturbation, fooling_rates = outcome.more
        write_png(self.out / "perturbation.png", amplified(perturbation))
        save_table(self.out / "fooling_rates.csv", fooling_rates)


def _fooling_rate(
    classifier: Classifier, images: Iterable[UInt8[np.ndarray, "h w c"]], perturbation: Float[Array, "h w c"]
) -> float:
    """The share of 8-bit images whose class a change alters, as saved with 8 bits and resized if need be."""
    images = list(images)
    changed = to_uint8(np.clip(from_uint8(np.stack(images)) + perturbation, 0, 1))

    def classes(levels: Iterable[UInt8[np.ndarray, "h w c"]]) -> Int[np.ndarray, " n"]:
        fitted = from_uint8(
            np.stack([fit_photograph(image, classifier.spec.input_shape) for image in levels])
        )
        parts = [classifier.logits(fitted[i : i + AT_ONCE]) for i in range(0, len(fitted), AT_ONCE)]
        return np.concatenate(parts).argmax(axis=1)

    return float((classes(images) != classes(changed)).mean())


@dataclass(frozen=True, kw_only=True)
class Template(WithTarget):
    """Add the weights of a class to the images: for linear classifiers (Karpathy 2015).

    Attributes:
        epsilon: the largest change of a pixel, in [0, 1].
    """

    epsilon: float = 0.25
    name: ClassVar[str] = "template"

    def _attack(self, classifier: Classifier, batch: Batch) -> AttackResult:
        return add_template(classifier, batch.images, batch.classes, self.epsilon)


METHODS = {
    method.name: method
    for method in (Ascent, FastGradientSign, Iterated, Lbfgs, DeepFool, Universal, Template)
}
"""The methods of `evofool attack`, by name."""

Attack = (
    Annotated[Ascent, tyro.conf.subcommand("ascent")]
    | Annotated[FastGradientSign, tyro.conf.subcommand("fgsm")]
    | Annotated[Iterated, tyro.conf.subcommand("iterated")]
    | Annotated[Lbfgs, tyro.conf.subcommand("lbfgs")]
    | Annotated[DeepFool, tyro.conf.subcommand("deepfool")]
    | Annotated[Universal, tyro.conf.subcommand("universal")]
    | Annotated[Template, tyro.conf.subcommand("template")]
)
