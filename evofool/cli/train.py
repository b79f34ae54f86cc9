"""`evofool train`."""

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evofool.classifiers import Activation, create_classifier, save_classifier
from evofool.console import make_console
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError, UsageError
from evofool.results import require_new_file
from evofool.training import TrainingOptions, train

_EPSILON = 0.25
"""For MNIST, as in Goodfellow, Shlens & Szegedy (ICLR 2015, section 6)."""


@dataclass(frozen=True)
class Train:
    """Train a classifier and write it to one file that `evofool evolve --classifier FILE` takes.

    Attributes:
        out: the file to write, ending in .safetensors.
        network: the network to train: a name (see evofool list networks).
        dataset: digits, mnist, or a folder with a folder of images per class.
        activation: softmax: classes compete; sigmoid: each class has its own score.
        adversarial: fgsm: take half of the loss on images after a fast gradient sign step, of 0.25 unless
            --epsilon is given; none: train plainly.
        overwrite: replace the file if it exists.
        quiet: print nothing but errors.
    """

    out: Path
    network: Annotated[str, tyro.conf.arg(metavar="NAME")] = "lenet"
    dataset: Annotated[str, tyro.conf.arg(metavar="NAME|FOLDER")] = "digits"
    activation: Activation = "softmax"
    options: Annotated[TrainingOptions, tyro.conf.arg(name="")] = field(default_factory=TrainingOptions)
    adversarial: Literal["none", "fgsm"] = "none"
    overwrite: bool = False
    quiet: bool = False

    def run(self) -> int:
        """Train; returns the exit code."""
        options = self._options()
        if self.out.suffix != ".safetensors":
            raise UsageError(f"--out must end in .safetensors, not {self.out.name!r}")
        require_new_file(self.out, overwrite=self.overwrite)
        console = make_console(quiet=self.quiet)
        dataset = load_dataset(self.dataset)
        classifier = create_classifier(
            self.network,
            dataset.train_images.shape[1:],
            dataset.class_names,
            activation=self.activation,
            name=self.out.stem,
            seed=options.seed,
        )
        console.print(
            f"{self.network} ({self.activation}) on {dataset.name}: {len(dataset.train_images):,} images to "
            f"train on, {len(dataset.test_images):,} to test on",
            soft_wrap=True,
        )
        started = time.perf_counter()
        columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
        with Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task("compiling", total=options.epochs)

            def on_epoch(epoch: int, loss: float) -> None:
                progress.update(task, completed=epoch, description=f"loss {loss:.4f}")
                if not console.is_terminal:
                    console.print(f"epoch {epoch} of {options.epochs}: loss {loss:.4f}")

            result = train(classifier, dataset, options, on_epoch=on_epoch)
        try:
            save_classifier(
                self.out,
                result.classifier,
                training_data=f"{dataset.name}, {len(dataset.train_images)} images, {options.epochs} epochs",
                test_accuracy=result.test_accuracy,
            )
        except OSError as error:
            raise EvofoolError(f"cannot write {self.out}: {error.strerror}") from error
        console.print(
            f"Test accuracy {100 * result.test_accuracy:.2f}% after {time.perf_counter() - started:.0f} s\n"
            f"Fool it with: evofool evolve --classifier {self.out}",
            soft_wrap=True,
        )
        return 0

    def _options(self) -> TrainingOptions:
        if self.adversarial == "fgsm" and self.options.epsilon is None:
            return replace(self.options, epsilon=_EPSILON)
        if self.adversarial == "none" and self.options.epsilon is not None:
            raise UsageError("--epsilon requires --adversarial fgsm")
        return self.options
