"""`evofool train`."""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evofool.classifiers import Activation, create_classifier, save_classifier
from evofool.cli.console import make_console
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError, UsageError, require_not_negative, require_seed
from evofool.training import train


@dataclass(frozen=True)
class Train:
    """Train a classifier and write it to one file that `evofool evolve --classifier FILE` takes.

    Attributes:
        out: the file to write, ending in .safetensors.
        network: lenet, cnn, mlp, maxout or linear.
        dataset: digits, mnist, or a folder with a folder of images per class.
        activation: softmax: classes compete; sigmoid: each class has its own score.
        epochs: passes over the training images.
        batch_size: images per step.
        learning_rate: the first learning rate of Adam; it falls to zero along a cosine.
        seed: seeds the weights and the order of the images.
        adversarial: fgsm: take half of the loss on images after a fast gradient sign step; none: do not.
        epsilon: the change of every pixel in adversarial training, in [0, 1]; 0.25 by default, the paper's.
        overwrite: replace the file if it is there.
        quiet: print nothing but errors.
    """

    out: Path
    network: Annotated[str, tyro.conf.arg(metavar="NAME")] = "lenet"
    dataset: Annotated[str, tyro.conf.arg(metavar="NAME|FOLDER")] = "digits"
    activation: Activation = "softmax"
    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 2e-3
    seed: int = 0
    adversarial: Literal["none", "fgsm"] = "none"
    epsilon: float | None = None
    overwrite: bool = False
    quiet: bool = False

    def run(self) -> int:
        """Train; returns the exit code."""
        epsilon = self._epsilon()
        self._require_writable()
        console = make_console(quiet=self.quiet)
        dataset = load_dataset(self.dataset)
        classifier = create_classifier(
            self.network,
            dataset.train_images.shape[1:],
            dataset.class_names,
            activation=self.activation,
            name=self.out.stem,
            seed=self.seed,
        )
        console.print(
            f"{self.network} ({self.activation}) on {dataset.name}: {len(dataset.train_images):,} images to "
            f"learn from, {len(dataset.test_images):,} to test on",
            soft_wrap=True,
        )
        started = time.perf_counter()
        columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
        with Progress(
            *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
        ) as progress:
            task = progress.add_task("compiling", total=self.epochs)

            def on_epoch(epoch: int, loss: float) -> None:
                progress.update(task, completed=epoch, description=f"loss {loss:.4f}")
                if not console.is_terminal:
                    console.print(f"epoch {epoch} of {self.epochs}: loss {loss:.4f}")

            result = train(
                classifier,
                dataset,
                epochs=self.epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                seed=self.seed,
                adversarial_epsilon=epsilon,
                on_epoch=on_epoch,
            )
        try:
            save_classifier(
                self.out,
                result.classifier,
                training_data=f"{dataset.name}, {len(dataset.train_images)} images, {self.epochs} epochs",
                test_accuracy=result.test_accuracy,
            )
        except OSError as error:
            raise EvofoolError(f"cannot write {self.out}: {error.strerror}") from error
        console.print(
            f"Test accuracy {100 * result.test_accuracy:.2f} % after {time.perf_counter() - started:.0f} s\n"
            f"Fool it with: evofool evolve --classifier {self.out}",
            soft_wrap=True,
        )
        return 0

    def _epsilon(self) -> float | None:
        if self.adversarial == "none":
            if self.epsilon is not None:
                raise UsageError("--epsilon is of adversarial training: give --adversarial fgsm too")
            return None
        epsilon = 0.25 if self.epsilon is None else self.epsilon
        require_not_negative(epsilon=epsilon)
        return epsilon

    def _require_writable(self) -> None:
        """Find out before an hour of training that its result cannot be kept."""
        if self.out.suffix != ".safetensors":
            raise UsageError(f"--out must end in .safetensors, not {self.out.name!r}")
        require_seed(self.seed)
        try:
            if self.out.is_dir():
                raise UsageError(f"{self.out} is a directory: choose another --out")
            if self.out.exists() and not self.overwrite:
                raise UsageError(
                    f"{self.out} is there already: replace it by --overwrite, or choose another --out"
                )
            self.out.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.out.parent):
                pass
        except OSError as error:
            raise EvofoolError(f"cannot write to {self.out}: {error.strerror}") from error
