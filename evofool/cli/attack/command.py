"""What the commands of all attacks share: the images, the goal, and the results."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Int
from rich.console import Console

from evofool.attacks import AttackOptions, AttackResult, Goal, Targeted, Untargeted, predicted_classes
from evofool.classifiers import Classifier, load_classifier
from evofool.cli.attack import output
from evofool.cli.attack.output import Subject
from evofool.cli.console import make_console
from evofool.cli.results import default_path, print_present
from evofool.errors import EvofoolError, UsageError
from evofool.files import save_table, unique
from evofool.images import from_uint8, load_photograph
from evofool.registry import Entry
from evofool.results import Results


@dataclass(frozen=True, kw_only=True)
class AttackCommand:
    """An attack away from the predicted class.

    Attributes:
        out: directory for the images, figures and tables; by default a new one under ./runs.
        classifier: the classifier to fool: a name (see evofool list classifiers) or a .safetensors file.
        images: photographs of any size and format; they are cropped and resized to the classifier's size.
        overwrite: replace the results of an attack in --out.
        quiet: print nothing but errors.
    """

    out: Path | None = None
    classifier: Annotated[str, tyro.conf.arg(metavar="NAME|FILE")] = "lenet-digits"
    images: tuple[Path, ...] = ()
    overwrite: bool = False
    quiet: bool = False

    name: ClassVar[str]
    entry: ClassVar[Entry]
    if TYPE_CHECKING:
        options: AttackOptions  # a field of the commands that are made for the entries

    def run(self) -> int:
        """Attack; returns the exit code."""
        console = make_console(quiet=self.quiet)
        classifier = load_classifier(self.classifier)
        subject = self._subject(classifier)
        path = self.out or default_path("attack", self.name, self.classifier)
        results = Results.create(path, output.KIND, overwrite=self.overwrite)
        count = len(subject.images)
        title = f"{self.name} against {classifier.spec.name}"
        console.print(f"{title}: {count} image{'s' * (count > 1)}", soft_wrap=True)
        result = self._attack(classifier, subject)
        without = _without_gradient(classifier, result)
        results.clear()
        with results.writing():
            saved = output.save_images(results, classifier, subject, result)
            outcome = output.Outcome(title, classifier, subject, result, saved)
            rows = output.rows_of(outcome, self._steps_to_thresholds(result))
            save_table(results.add("results.csv"), rows)
            output.save_before_after(outcome, results)
            self._save_more(outcome, results, console)
        output.print_rows(console, rows)
        if without:
            console.print(f"Note: the gradient is zero at the start of {without} of {count} images", "")
        print_present(console, results)
        return 0

    def _subject(self, classifier: Classifier) -> Subject:
        """The images, with what is wanted of them."""
        if not self.images:
            raise UsageError("--images needs at least one file")
        levels = np.stack([load_photograph(path, classifier.spec.input_shape) for path in self.images])
        images = from_uint8(levels)
        predicted = np.asarray(predicted_classes(classifier, images))
        names = unique([path.stem for path in self.images])
        return Subject(names, images, self._goal(classifier, predicted))

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        return Untargeted(predicted)

    def _attack(self, classifier: Classifier, subject: Subject) -> AttackResult:
        return self.entry.build(classifier, subject.images, subject.goal, self.options)

    def _steps_to_thresholds(self, result: AttackResult) -> dict[str, Int[np.ndarray, " n"]]:
        """Further columns of the table: numbers of steps."""
        return {}

    def _save_more(self, outcome: output.Outcome, results: Results, console: Console) -> None:
        """Save, and print, what only this attack has."""
        if outcome.result.trajectory is not None:
            output.save_trajectory(outcome, results, np.unique(outcome.subject.goal.classes).tolist())


@dataclass(frozen=True, kw_only=True)
class WithTarget(AttackCommand):
    """An attack towards a class.

    Attributes:
        target: the class that the images are to become, by name or index.
    """

    target: Annotated[str, tyro.conf.arg(metavar="CLASS")]

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        return towards(classifier, self.target, predicted, self.images)


@dataclass(frozen=True, kw_only=True)
class MaybeWithTarget(AttackCommand):
    """An attack towards a class, or away from the predicted one.

    Attributes:
        target: the class that the images are to become, by name or index; by default any but the predicted
            one.
    """

    target: Annotated[str | None, tyro.conf.arg(metavar="CLASS")] = None

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        if self.target is None:
            return Untargeted(predicted)
        return towards(classifier, self.target, predicted, self.images)


def towards(
    classifier: Classifier, target: str, predicted: Int[np.ndarray, " n"], paths: tuple[Path, ...]
) -> Targeted:
    """The goal that all images become one class, which none of them may be already."""
    index = classifier.spec.class_index(target)
    for path, label in zip(paths, predicted, strict=True):
        if label == index:
            raise UsageError(
                f"{path} is classified as {classifier.spec.class_names[index]!r} already: "
                "choose another --target"
            )
    return Targeted([index] * len(predicted))


def _without_gradient(classifier: Classifier, result: AttackResult) -> int:
    """How many images had no gradient to follow.

    Raises:
        EvofoolError: none of them had one.
    """
    had_gradient = jnp.ones(1, bool) if result.had_gradient is None else result.had_gradient
    if not had_gradient.any():
        raise EvofoolError(
            f"the gradient of {classifier.spec.name} is zero at the start, so no direction leads anywhere: "
            "take iterated steps from a random start (evofool attack iterated --random-start --epsilon 0.1)"
        )
    return int((~had_gradient).sum())
