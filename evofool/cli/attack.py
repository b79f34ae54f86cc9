"""`evofool attack`."""

import csv
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.table import Table

from evofool.attacks import (
    AttackResult,
    Goal,
    Regularisation,
    Targeted,
    Untargeted,
    add_template,
    assess,
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
from evofool.classifiers import Classifier, load_classifier
from evofool.errors import EvofoolError, UsageError, require_not_negative, require_positive
from evofool.files import replacing
from evofool.photographs import load_photograph
from evofool.pixels import from_uint8, to_uint8
from evofool.report import contact_sheet, format_confidence, read_png, write_png
from evofool.report.attacks import AttackedImage, amplified, before_after_figure, trajectory_plot

# Activations of a network for 227x227 images and their gradients take about 150 MB for each image.
_AT_ONCE = 16
_SOURCE_FACTOR = 50
_THRESHOLDS = (0.99, 0.999, 0.9999)
_MOST_ROWS_IN_TABLE = 20


@dataclass(frozen=True)
class _Batch:
    """Some images, what they are called and what is wanted of them; the first is number `first` of all."""

    names: list[str]
    images: Float[Array, "n h w c"]
    goal: Goal
    first: int = 0

    @property
    def classes(self) -> Int[Array, " n"]:
        """The labels or the targets, whichever the goal has."""
        return self.goal[0]

    def parts(self) -> list["_Batch"]:
        """The same in parts of a few images, so that memory does not depend on how many there are."""
        starts = range(0, len(self.images), _AT_ONCE)
        slices = [slice(start, start + _AT_ONCE) for start in starts]
        return [
            _Batch(self.names[part], self.images[part], type(self.goal)(self.classes[part]), part.start)
            for part in slices
        ]


@dataclass(frozen=True, kw_only=True)
class _Method(ABC):
    """What the commands of all methods share.

    Attributes:
        out: directory to leave the images, figures and tables in.
        classifier: what to fool: a name (see evofool list classifiers) or the path of a .safetensors file.
        images: photographs of any size and format; they are cropped and resized as the classifier wants.
        overwrite: replace what --out holds.
        quiet: print nothing but errors.
    """

    out: Path
    classifier: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = "lenet-digits"
    images: tuple[Path, ...] = ()
    overwrite: bool = False
    quiet: bool = False

    name: ClassVar[str]

    def run(self) -> int:
        """Attack; returns the exit code."""
        console = Console(quiet=self.quiet, highlight=False)
        classifier = load_classifier(self.classifier)
        batch = self._batch(classifier)
        self._make_directory()
        images = "1 image" if len(batch.images) == 1 else f"{len(batch.images)} images"
        console.print(f"{self._title(classifier)}: {images}", soft_wrap=True)
        try:
            result = self._attack(classifier, batch)
            saved = self._save_images(classifier, batch, result)
            rows = self._rows(classifier, batch, result, saved)
            self._save_tables_and_figures(classifier, batch, result, saved, rows)
        except OSError as error:
            raise EvofoolError(f"cannot write to {self.out}: {error.strerror}") from error
        _print_rows(console, rows, self.out)
        return 0

    @abstractmethod
    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult: ...

    def _title(self, classifier: Classifier) -> str:
        return f"{self.name} against {classifier.spec.name}"

    def _save_images(self, classifier: Classifier, batch: _Batch, result: AttackResult) -> AttackResult:
        """Save every image and its change; returns what the classifier makes of the files."""
        changes = np.asarray(result.images - batch.images)
        for name, image, change in zip(batch.names, to_uint8(result.images), changes, strict=True):
            for folder, pixels in {
                "images": image,
                "changes": amplified(change),
                f"changes_x{_SOURCE_FACTOR}": amplified(change, _SOURCE_FACTOR),
            }.items():
                (self.out / folder).mkdir(exist_ok=True)
                write_png(self.out / folder / f"{name}.png", pixels)
        files = [self.out / "images" / f"{name}.png" for name in batch.names]
        read = from_uint8(np.stack([read_png(file) for file in files]))
        return _join(
            [
                assess(classifier, part.images, read[part.first : part.first + _AT_ONCE], part.goal)
                for part in batch.parts()
            ]
        )

    def _rows(
        self, classifier: Classifier, batch: _Batch, result: AttackResult, saved: AttackResult
    ) -> list[dict[str, Any]]:
        """One row of results.csv for each image; what ends in `_saved` is measured on the file."""
        names = classifier.spec.class_names
        before = np.asarray(result.confidences_before)
        rows = []
        for i, name in enumerate(batch.names):
            row: dict[str, Any] = {
                "image": name,
                "class_before": names[before[i].argmax()],
                "confidence_before": before[i].max(),
            }
            if isinstance(batch.goal, Targeted):
                target = int(batch.classes[i])
                row |= {"target": names[target], "target_confidence_before": before[i, target]}
            for suffix, outcome in {"": result, "_saved": saved}.items():
                after = np.asarray(outcome.confidences[i])
                row |= {f"class{suffix}": names[after.argmax()], f"confidence{suffix}": after.max()}
                if isinstance(batch.goal, Targeted):
                    row[f"target_confidence{suffix}"] = after[target]
                row |= {
                    f"success{suffix}": bool(outcome.success[i]),
                    f"distortion{suffix}": float(outcome.distortion[i]),
                    f"largest_change{suffix}": float(jnp.abs(outcome.images[i] - batch.images[i]).max()),
                }
            if result.first_step is not None:
                row["first_step"] = int(result.first_step[i])
            row |= {column: int(steps[i]) for column, steps in self._steps_to_thresholds(result).items()}
            rows.append(row)
        return rows

    def _steps_to_thresholds(self, result: AttackResult) -> dict[str, Int[np.ndarray, " n"]]:
        return {}

    def _save_tables_and_figures(
        self,
        classifier: Classifier,
        batch: _Batch,
        result: AttackResult,
        saved: AttackResult,
        rows: list[dict[str, Any]],
    ) -> None:
        with replacing(self.out / "results.csv") as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        targets = np.asarray(batch.classes) if isinstance(batch.goal, Targeted) else [None] * len(rows)
        attacked = [
            AttackedImage(*image)
            for image in zip(
                batch.names,
                to_uint8(batch.images),
                to_uint8(saved.images),
                np.asarray(saved.confidences_before),
                np.asarray(saved.confidences),
                targets,
                strict=True,
            )
        ]
        before_after_figure(
            attacked,
            classifier.spec.class_names,
            self.out / "before_after.png",
            title=self._title(classifier),
        )
        if result.trajectory is not None:
            self._plot(classifier, batch, result)

    def _plot(self, classifier: Classifier, batch: _Batch, result: AttackResult) -> None:
        assert result.trajectory is not None
        trajectory_plot(
            batch.names,
            np.asarray(result.trajectory),
            classifier.spec.class_names,
            self.out / "trajectory.png",
            watched=self._watched(classifier, batch),
            title=self._title(classifier),
        )

    def _watched(self, classifier: Classifier, batch: _Batch) -> list[int]:
        """The classes that the plot of the trajectory shows whatever becomes of them."""
        return sorted(set(np.asarray(batch.classes).tolist()))

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        return Untargeted(jnp.asarray(predicted))

    def _batch(self, classifier: Classifier) -> _Batch:
        if not self.images:
            raise UsageError("--images needs at least one file")
        levels = np.stack([load_photograph(path, classifier.spec.input_shape) for path in self.images])
        images = from_uint8(levels)
        names = _unique([path.stem for path in self.images])
        anything = _Batch(names, images, Untargeted(jnp.zeros(len(images), jnp.int32)))
        unchanged = _join(
            [assess(classifier, part.images, part.images, part.goal) for part in anything.parts()]
        )
        predicted = np.asarray(jnp.argmax(unchanged.confidences, axis=1))
        return _Batch(names, images, self._goal(classifier, predicted))

    def _make_directory(self) -> None:
        if self.out.exists() and not self.out.is_dir():
            raise UsageError(f"{self.out} is a file: choose another --out")
        if self.out.is_dir() and any(self.out.iterdir()) and not self.overwrite:
            raise UsageError(
                f"{self.out} is not empty: write into it by --overwrite, or choose another --out"
            )
        try:
            self.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvofoolError(f"cannot write to {self.out}: {error.strerror}") from error


@dataclass(frozen=True, kw_only=True)
class _Targeted(_Method):
    """A method that may be told the class that the images are to become.

    Attributes:
        target: the class that the images are to become, by name or index.
    """

    target: Annotated[str, tyro.conf.arg(metavar="CLASS")]

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        return _towards(classifier, self.target, predicted, self.images)


@dataclass(frozen=True, kw_only=True)
class _MaybeTargeted(_Method):
    """A method with or without a target.

    Attributes:
        target: the class that the images are to become, by name or index; by default any but the one that
            they are classified as.
    """

    target: Annotated[str | None, tyro.conf.arg(metavar="CLASS")] = None

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        if self.target is None:
            return Untargeted(jnp.asarray(predicted))
        return _towards(classifier, self.target, predicted, self.images)


@dataclass(frozen=True, kw_only=True)
class FastGradientSign(_MaybeTargeted):
    """One step of equal size in every pixel, up the slope of the loss (Goodfellow et al. 2015).

    Attributes:
        epsilon: the change of every pixel, in [0, 1]; by default the paper's: 0.25 for grey images, 0.007 for
            colour.
    """

    epsilon: float | None = None
    name: ClassVar[str] = "fgsm"

    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult:
        grey = classifier.spec.input_shape[2] == 1
        epsilon = (0.25 if grey else 0.007) if self.epsilon is None else self.epsilon
        return _join(
            [fast_gradient_sign(classifier, part.images, part.goal, epsilon) for part in batch.parts()]
        )


@dataclass(frozen=True, kw_only=True)
class Iterated(_MaybeTargeted):
    """Many small steps of equal size in every pixel: from panda to vulture (Evans; BIM, PGD).

    Attributes:
        steps: how many.
        change: by how many grey levels (of 255) all steps together may change a pixel. Less than half a level
            in all is undone by saving; the source's is 0.9.
        epsilon: the most by which a pixel may differ from its original, in [0, 1]; no limit if not given.
        random_start: start at a random point of the ball that epsilon gives.
        seed: of the random start.
        watch: classes to draw in the plot of probabilities beside those that the images pass through.
    """

    steps: int = 100
    change: float = 2.0
    epsilon: float | None = None
    random_start: bool = False
    seed: int = 0
    watch: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()
    name: ClassVar[str] = "iterated"

    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult:
        require_not_negative(change=self.change)
        require_positive(steps=self.steps)
        key = jax.random.key(self.seed)
        return _join(
            [
                iterated_gradient_sign(
                    classifier,
                    part.images,
                    part.goal,
                    steps=self.steps,
                    step_size=self.change / 255 / self.steps,
                    epsilon=self.epsilon,
                    key=jax.random.fold_in(key, part.first) if self.random_start else None,
                )
                for part in batch.parts()
            ]
        )

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        self._watched_classes(classifier)
        return super()._goal(classifier, predicted)

    def _watched(self, classifier: Classifier, batch: _Batch) -> list[int]:
        return [*super()._watched(classifier, batch), *self._watched_classes(classifier)]

    def _watched_classes(self, classifier: Classifier) -> list[int]:
        return [classifier.spec.class_index(name) for name in self.watch]


@dataclass(frozen=True, kw_only=True)
class Ascent(_Method):
    """Up the slope of a class's confidence, from noise or from given images (Nguyen et al. 2015).

    Attributes:
        target: the classes to be reached, by name or index; all of them if not given. From noise there is one
            image for each; given images want exactly one.
        steps: how many.
        early_progress: the gain in confidence that a step aims for.
        late_progress: the share of the missing confidence that a step aims for at most.
        mean_level: the grey, in [0, 1], that the noise is added to and regularisation leads to.
        uniform: start from uniform noise, and not from the mean grey plus noise of one level.
        regularisation: what keeps the image natural; nothing by default.
        seed: of the noise.
    """

    target: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()
    steps: int = 500
    early_progress: float = 0.03
    late_progress: float = 0.1
    mean_level: float = 0.5
    uniform: bool = False
    regularisation: Annotated[Regularisation, tyro.conf.arg(name="")] = Regularisation()  # noqa: RUF009 (a tuple of numbers)
    seed: int = 0
    name: ClassVar[str] = "ascent"

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        if len(self.target) != 1:
            raise UsageError(f"--images are led to one class: give one --target, not {len(self.target)}")
        return _towards(classifier, self.target[0], predicted, self.images)

    def _batch(self, classifier: Classifier) -> _Batch:
        if self.images:
            return super()._batch(classifier)
        if not 0 <= self.mean_level <= 1:
            raise UsageError(f"mean_level must be between 0 and 1, not {self.mean_level}")
        spec = classifier.spec
        targets = [spec.class_index(name) for name in self.target] or list(range(len(spec.class_names)))
        key, options = jax.random.key(self.seed), {"level": None} if self.uniform else {}
        images = noise_images(key, len(targets), classifier, mean_image=self.mean_level, **options)
        names = [f"{index:03}_{_file_name(spec.class_names[index])}" for index in targets]
        return _Batch(_unique(names), images, Targeted(jnp.array(targets)))

    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult:
        return _join(
            [
                gradient_ascent(
                    classifier,
                    part.images,
                    part.classes,
                    steps=self.steps,
                    early_progress=self.early_progress,
                    late_progress=self.late_progress,
                    mean_image=self.mean_level,
                    regularisation=self.regularisation,
                    watch=part.classes[:, None],
                )
                for part in batch.parts()
            ]
        )

    def _steps_to_thresholds(self, result: AttackResult) -> dict[str, Int[np.ndarray, " n"]]:
        assert result.trajectory is not None
        of_target = result.trajectory[..., 0]
        return {
            f"step_over_{100 * threshold:g}": np.asarray(first_step_above(of_target, threshold))
            for threshold in _THRESHOLDS
        }

    def _save_tables_and_figures(
        self,
        classifier: Classifier,
        batch: _Batch,
        result: AttackResult,
        saved: AttackResult,
        rows: list[dict[str, Any]],
    ) -> None:
        super()._save_tables_and_figures(classifier, batch, result, saved, rows)
        # There may be as many images as classes, and before the first step all of them look the same.
        contact_sheet(
            to_uint8(saved.images),
            [row["target"] for row in rows],
            np.array([row["target_confidence_saved"] for row in rows]),
            self.out / "sheet.png",
            title=self._title(classifier),
        )

    def _plot(self, classifier: Classifier, batch: _Batch, result: AttackResult) -> None:
        assert result.trajectory is not None
        names = [classifier.spec.class_names[index] for index in np.asarray(batch.classes)]
        ways = np.asarray(result.trajectory).swapaxes(1, 2)
        trajectory_plot(
            ["confidence in the target"],
            ways,
            names,
            self.out / "trajectory.png",
            title=self._title(classifier),
        )


@dataclass(frozen=True, kw_only=True)
class Lbfgs(_Targeted):
    """The smallest change for a target: box-constrained L-BFGS (Szegedy et al. 2014).

    Attributes:
        searches: how many weights of the change are tried.
        iterations: the most iterations of L-BFGS for each.
    """

    searches: int = 12
    iterations: int = 30
    name: ClassVar[str] = "lbfgs"

    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult:
        return _join(
            [
                lbfgs(
                    classifier, part.images, part.classes, searches=self.searches, iterations=self.iterations
                )
                for part in batch.parts()
            ]
        )


@dataclass(frozen=True, kw_only=True)
class DeepFool(_Method):
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

    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult:
        return _join(
            [
                deepfool(
                    classifier,
                    part.images,
                    part.classes,
                    norm=self.norm,
                    steps=self.steps,
                    overshoot=self.overshoot,
                    candidates=self.candidates,
                )
                for part in batch.parts()
            ]
        )


@dataclass(frozen=True, kw_only=True)
class Universal(_Method):
    """One change for all images (Moosavi-Dezfooli et al. 2017).

    Attributes:
        epsilon: its size: the largest change of a pixel (linf, in [0, 1]), or its Euclidean length (l2).
        norm: linf or l2.
        fooling_rate: the share of the images at which to stop.
        passes: the most passes over the images.
        seed: of the order in which the images are visited.
    """

    epsilon: float = 10 / 255
    norm: Norm = "linf"
    fooling_rate: float = 0.8
    passes: int = 10
    seed: int = 0
    name: ClassVar[str] = "universal"

    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult:
        result = universal_perturbation(
            classifier,
            batch.images,
            epsilon=self.epsilon,
            norm=self.norm,
            fooling_rate=self.fooling_rate,
            passes=self.passes,
            seed=self.seed,
        )
        write_png(self.out / "perturbation.png", amplified(np.asarray(result.perturbation)))
        return result.attack


@dataclass(frozen=True, kw_only=True)
class Template(_Targeted):
    """Add the weights of a class to the images: for linear classifiers (Karpathy 2015).

    Attributes:
        epsilon: the largest change of a pixel, in [0, 1].
    """

    epsilon: float = 0.25
    name: ClassVar[str] = "template"

    def _attack(self, classifier: Classifier, batch: _Batch) -> AttackResult:
        return _join(
            [add_template(classifier, part.images, part.classes, self.epsilon) for part in batch.parts()]
        )


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


def _towards(
    classifier: Classifier, target: str, predicted: Int[np.ndarray, " n"], paths: tuple[Path, ...]
) -> Targeted:
    index = classifier.spec.class_index(target)
    for path, label in zip(paths, predicted, strict=True):
        if label == index:
            raise UsageError(
                f"{path} is classified as {classifier.spec.class_names[index]!r} already: "
                "choose another --target"
            )
    return Targeted(jnp.full(len(predicted), index))


def _join(results: list[AttackResult]) -> AttackResult:
    """The results of the parts of a batch as one."""

    def join(name: str) -> Any:
        values = [getattr(result, name) for result in results]
        return None if values[0] is None else jnp.concatenate(values, axis=1 if name == "trajectory" else 0)

    return AttackResult(**{name: join(name) for name in AttackResult._fields})


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def _unique(names: list[str]) -> list[str]:
    """The names, with a number where one occurs again: two files of two folders may share a name."""
    seen: dict[str, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return unique


def _print_rows(console: Console, rows: list[dict[str, Any]], out: Path) -> None:
    stepped = "first_step" in rows[0]
    columns = ["image", "before", "after", "after, as saved", "step"][: 5 if stepped else 4]
    table = Table(*columns, "distortion", box=None, pad_edge=False)
    for row in rows[:_MOST_ROWS_IN_TABLE]:
        cells = [
            f"{row[f'class{suffix}']} {format_confidence(row[f'confidence{suffix}'])}"
            for suffix in ("_before", "", "_saved")
        ]
        if stepped:
            cells.append("never" if row["first_step"] < 0 else f"{row['first_step']}")
        table.add_row(row["image"], *cells, f"{row['distortion']:.4f}")
    console.print(table)
    succeeded, saved = (sum(row[f"success{suffix}"] for row in rows) for suffix in ("", "_saved"))
    console.print(
        f"\nSucceeded on {succeeded} of {len(rows)}, and on {saved} as saved with 8 bits", soft_wrap=True
    )
    for what, name in {
        "Figure": "before_after.png",
        "Sheet": "sheet.png",
        "Way": "trajectory.png",
        "Change": "perturbation.png",
        "Images": "images",
        "Changes": "changes",
        "Table": "results.csv",
    }.items():
        if (out / name).exists():
            console.print(f"{what:8} {out / name}", soft_wrap=True)
