"""What the commands of all attacks share: the images, the goal, and the results."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Int
from rich.console import Console

from evofool.attacks import AttackOptions, AttackResult, Targeted, Untargeted
from evofool.attacks.auto import MEMBERS
from evofool.attacks.saving import ATTACK, rows_of, save_config, save_images, save_rows
from evofool.classifiers import AnyClassifier, is_service, load_classifier, service
from evofool.cli.attack import output
from evofool.cli.attack.given import Given, given_dataset, given_files
from evofool.cli.attack.output import Saving, Subject, Tally
from evofool.cli.results import ResultsCommand, print_present
from evofool.console import make_console
from evofool.errors import EvofoolError, UsageError


@dataclass(frozen=True, kw_only=True)
class AttackCommand(ResultsCommand):
    """An attack away from the label, or from the predicted class of an image that has none.

    Attributes:
        classifier: the classifier to fool: a name (see evofool list classifiers), the file of a model or
            package.module:function, which is imported and run (see evofool list models), or a composition of
            them (see evofool list compositions).
        images: photographs of any size and format, or folders of them; they are cropped and resized to the
            classifier's size.
        dataset: attack images of a dataset instead: a name (see evofool list datasets), or a folder with a
            folder of images per class.
        count: how many images of --dataset, taken at equal intervals; 10 by default.
        split: which part of --dataset; the test set by default.
    """

    classifier: Annotated[str, tyro.conf.arg(metavar="NAME|FILE|COMPOSITION")] = "lenet-digits"
    images: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE|FOLDER...")] = ()
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME|FOLDER")] = None
    count: int | None = None
    split: Literal["test", "train"] | None = None

    if TYPE_CHECKING:  # of the commands that are made for the entries
        options: AttackOptions
        variants: list[AttackOptions]

    def run(self) -> int:
        """Attack; returns the exit code."""
        console = make_console(quiet=self.quiet)
        classifier = _loaded(self.classifier)
        subject = self._subject(classifier)
        results = self.create_results(ATTACK, "attack", self.name, self.classifier)
        count = len(subject.names)
        title = f"{self.name} against {classifier.spec.name}"
        console.print(f"{title}: {count} image{'s' * (count > 1)}", soft_wrap=True)
        tallies: list[Tally] = []
        for options in self.variants:
            result = self._attack(classifier, subject, options)
            without = _without_gradient(classifier, result)
            if not tallies:
                results.clear()
            with results.writing():
                tallies.append(
                    self._save(Saving(results, title, console, len(self.variants) > 1), subject, result)
                )
            if without:
                subject.notes.append(f"the gradient is zero at the start of {without} of {count} images")
        if len(tallies) > 1:
            with results.writing():
                output.save_curve(results, title, tallies)
            output.print_curve(console, tallies)
        for note in dict.fromkeys(subject.notes):
            console.print(f"Note: {note}", soft_wrap=True)
        print_present(console, results)
        return 0

    def _save(self, saving: Saving, subject: Subject, result: AttackResult) -> Tally:
        """Save what one attack made, print it if it is the only one, and count what it fooled."""
        results, folder = saving.results, saving.folder_of(result)
        saved = save_images(results, subject.names, result, folder)
        outcome = output.Outcome(saving.title, subject, result, saved, results, folder)
        tally = Tally.of(outcome)
        more: dict[str, Any] = self._steps_to_thresholds(result)
        if result.fooled_by is not None:
            more["fooled_by"] = [
                "" if place < 0 else MEMBERS[place] for place in np.asarray(result.fooled_by)
            ]
        if tally.right is not None:
            more["correct_before"] = tally.right
        if any(subject.altered):
            more["altered"] = subject.altered
        rows = rows_of(subject.names, result, saved, subject.labels, more)
        save_rows(results, rows, folder)
        save_config(results, result, folder, {"images": self._given()})
        output.save_before_after(outcome)
        if not saving.several:
            output.print_rows(saving.console, rows)
        self._save_more(outcome, saving.console)
        if not saving.several:
            saving.console.print(f"\n{tally.sentence}", soft_wrap=True)
        return tally

    def _given(self) -> dict[str, Any]:
        """What was attacked, for the config."""
        if self.dataset is None:
            return {"files": [str(path) for path in self.images]}
        return {"dataset": self.dataset, "split": self.split or "test", "count": self._count}

    @property
    def _count(self) -> int:
        return 10 if self.count is None else self.count

    def _subject(self, classifier: AnyClassifier) -> Subject:
        """The images, with what is wanted of them."""
        if self.dataset is not None:
            if self.images:
                raise UsageError("--images and --dataset both say what to attack: leave one out")
            given = given_dataset(classifier, self.dataset, self.split or "test", self._count)
            return self._aimed(classifier, given)
        if self.count is not None or self.split is not None:
            raise UsageError("--count and --split choose images of a --dataset: name one")
        if not self.images:
            raise UsageError(
                "nothing to attack: name files or folders with --images, or a dataset, as in "
                f"`evofool attack {self.name} --dataset digits`"
            )
        return self._aimed(classifier, given_files(classifier, self.images))

    def _aimed(self, classifier: AnyClassifier, given: Given) -> Subject:
        """The images with the goal of the attack."""
        return Subject.of(given, Untargeted(given.classes))

    def _attack(self, classifier: AnyClassifier, subject: Subject, options: AttackOptions) -> AttackResult:
        return self.entry.build(classifier, subject.images, subject.goal, options)

    def _steps_to_thresholds(self, result: AttackResult) -> dict[str, Int[np.ndarray, " n"]]:
        """Further columns of the table: numbers of steps."""
        return {}

    def _save_more(self, outcome: output.Outcome, console: Console) -> None:
        """Save, and print, what only this attack has."""
        if outcome.result.trajectory is not None:
            output.save_trajectory(outcome, np.unique(outcome.subject.goal.classes).tolist())


@dataclass(frozen=True, kw_only=True)
class WithTarget(AttackCommand):
    """An attack towards a class.

    Attributes:
        target: the class that the images are to become, by name or index.
    """

    target: Annotated[str, tyro.conf.arg(metavar="CLASS")]

    def _aimed(self, classifier: AnyClassifier, given: Given) -> Subject:
        return towards(classifier, self.target, given)


@dataclass(frozen=True, kw_only=True)
class MaybeWithTarget(AttackCommand):
    """An attack towards a class, or away from the label or the predicted class.

    Attributes:
        target: the class that the images are to become, by name or index; by default any but their label, or
            but the predicted class of an image without a label.
    """

    target: Annotated[str | None, tyro.conf.arg(metavar="CLASS")] = None

    def _aimed(self, classifier: AnyClassifier, given: Given) -> Subject:
        if self.target is None:
            return super()._aimed(classifier, given)
        return towards(classifier, self.target, given)


def towards(classifier: AnyClassifier, target: str, given: Given) -> Subject:
    """The goal that all images become one class; those that are of this class already are left out.

    Raises:
        UsageError: there is no such class, or all images are of it.
    """
    index = classifier.spec.class_index(target)
    name = classifier.spec.class_names[index]
    already = (given.predicted == index) | (given.classes == index)
    if already.all():
        what = f"{given.names[0]} is" if len(already) == 1 else "all images are"
        raise UsageError(f"{what} classified as {name!r} already: choose another --target")
    if already.any():
        note = f"{already.sum()} of {len(already)} images are left out, which are of {name!r} already"
        given = given.only(~already, note)
    return Subject.of(given, Targeted([index] * len(given.names)))


def _without_gradient(classifier: AnyClassifier, result: AttackResult) -> int:
    """How many images had no gradient to follow.

    Raises:
        EvofoolError: none of them had one.
    """
    had_gradient = jnp.ones(1, bool) if result.had_gradient is None else result.had_gradient
    if not had_gradient.any():
        raise EvofoolError(
            f"the gradient of {classifier.spec.name} is zero or not a number, so no direction leads "
            "anywhere: start at random points around the images (evofool attack pgd)"
        )
    return int((~had_gradient).sum())


def _loaded(name: str) -> AnyClassifier:
    """The classifier of a name, or a service that can only be asked."""
    return service(name) if is_service(name) else load_classifier(name)
