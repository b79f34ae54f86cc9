"""What the commands of all methods share: the images, the goal, and that all is left behind."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Int
from rich.console import Console

from evofool.attacks import AttackResult, Goal, Targeted, Untargeted, assess
from evofool.classifiers import Classifier, load_classifier
from evofool.cli.attack import output
from evofool.cli.attack.batch import Batch, unique
from evofool.cli.console import make_console
from evofool.cli.directories import make_directory
from evofool.errors import EvofoolError, UsageError
from evofool.files import save_table
from evofool.images import from_uint8, load_photograph


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """What the commands of all methods share.

    Attributes:
        out: directory to leave the images, figures and tables in.
        classifier: what to fool: a name (see evofool list classifiers) or the path of a .safetensors file.
        images: photographs of any size and format; they are cropped and resized as the classifier wants.
        overwrite: replace the results of an attack that --out holds.
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
        console = make_console(quiet=self.quiet)
        classifier = load_classifier(self.classifier)
        batch = self._batch(classifier)
        make_directory(self.out, output.MARK, overwrite=self.overwrite)
        images = "1 image" if len(batch.images) == 1 else f"{len(batch.images)} images"
        title = f"{self.name} against {classifier.spec.name}"
        console.print(f"{title}: {images}", soft_wrap=True)
        result, more = self._attack_all(classifier, batch, console)
        try:
            output.remove_results(self.out)
            saved = output.save_images(self.out, classifier, batch, result)
            outcome = output.Outcome(title, classifier, batch, result, saved, more)
            rows = output.rows_of(outcome, self._steps_to_thresholds(result))
            save_table(self.out / "results.csv", rows)
            output.save_before_after(outcome, self.out / "before_after.png")
            self._save_more(outcome)
        except OSError as error:
            raise EvofoolError(f"cannot write to {self.out}: {error.strerror}") from error
        output.print_rows(console, rows, self.out)
        return 0

    @abstractmethod
    def _attack_all(self, classifier: Classifier, batch: Batch, console: Console) -> tuple[AttackResult, Any]:
        """Attack all images, and print what is not told of every method; the second is `Outcome.more`."""

    def _steps_to_thresholds(self, result: AttackResult) -> dict[str, Int[np.ndarray, " n"]]:
        return {}

    def _save_more(self, outcome: output.Outcome) -> None:
        """Save what only this method has: nothing, unless it says otherwise."""
        return

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        return Untargeted(jnp.asarray(predicted))

    def _batch(self, classifier: Classifier) -> Batch:
        if not self.images:
            raise UsageError("--images needs at least one file")
        levels = np.stack([load_photograph(path, classifier.spec.input_shape) for path in self.images])
        images = from_uint8(levels)
        names = unique([path.stem for path in self.images])
        anything = Batch(names, images, Untargeted(jnp.zeros(len(images), jnp.int32)))
        unchanged = anything.by_parts(lambda part: assess(classifier, part.images, part.images, part.goal))
        predicted = np.asarray(jnp.argmax(unchanged.confidences, axis=1))
        return Batch(names, images, self._goal(classifier, predicted))


@dataclass(frozen=True, kw_only=True)
class OfEachImage(Method):
    """A method to which it makes no difference which images are attacked together."""

    @abstractmethod
    def _attack(self, classifier: Classifier, batch: Batch) -> AttackResult:
        """Attack a few images."""

    def _attack_all(
        self, classifier: Classifier, batch: Batch, console: Console
    ) -> tuple[AttackResult, None]:
        return batch.by_parts(partial(self._attack, classifier)), None


@dataclass(frozen=True, kw_only=True)
class WithTarget(OfEachImage):
    """A method that is told the class that the images are to become.

    Attributes:
        target: the class that the images are to become, by name or index.
    """

    target: Annotated[str, tyro.conf.arg(metavar="CLASS")]

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        return towards(classifier, self.target, predicted, self.images)


@dataclass(frozen=True, kw_only=True)
class MaybeWithTarget(OfEachImage):
    """A method with or without a target.

    Attributes:
        target: the class that the images are to become, by name or index; by default any but the one that
            they are classified as.
    """

    target: Annotated[str | None, tyro.conf.arg(metavar="CLASS")] = None

    def _goal(self, classifier: Classifier, predicted: Int[np.ndarray, " n"]) -> Goal:
        if self.target is None:
            return Untargeted(jnp.asarray(predicted))
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
    return Targeted(jnp.full(len(predicted), index))
