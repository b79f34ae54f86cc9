"""`evofool train`."""

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from evofool.classifiers import (
    Activation,
    Classifier,
    create_classifier,
    load_classifier,
    network_of,
    save_classifier,
    with_extra_class,
)
from evofool.console import make_console
from evofool.datasets import Dataset, Half, StoredImages, half, load_dataset
from evofool.datasets import with_extra_class as with_extra_images
from evofool.errors import EvofoolError, UsageError
from evofool.images import image_files
from evofool.results import require_new_file
from evofool.training import TrainingOptions, TrainingResult, train

_EPSILON = 0.25
"""For MNIST, as in Goodfellow, Shlens & Szegedy (ICLR 2015, section 6)."""

_NETWORK = "lenet"


@dataclass(frozen=True)
class Train:
    """Train a classifier and write it to one file that `evofool evolve --classifier FILE` takes.

    Attributes:
        out: the file to write, ending in .safetensors.
        network: the network to train: a name (see evofool list networks); lenet unless --from is given.
        from_: go on from the weights of this classifier, a name or a file, with its network, activation and
            class names.
        dataset: digits, mnist, cifar10, or a folder with a folder of images per class.
        image_size: crop and resize the images of a folder to this height and width, in pixels; without it
            all must have one size.
        half: train on one of two disjoint halves of the training images, which are always the same.
        extra_class: add the images of a folder, cropped and resized, as one more class; with --from the
            network gets one more output if it lacks the class.
        activation: softmax: classes compete; sigmoid: each class has its own score; softmax unless --from is
            given.
        adversarial: fgsm: take half of the loss on images after a fast gradient sign step, of 0.25 unless
            --epsilon is given; none: train plainly.
        overwrite: replace the file if it exists.
        quiet: print nothing but errors.
    """

    out: Path
    network: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    from_: Annotated[str | None, tyro.conf.arg(name="from", metavar="NAME|FILE")] = None
    dataset: Annotated[str, tyro.conf.arg(metavar="NAME|FOLDER")] = "digits"
    image_size: int | None = None
    half: Half | None = None
    extra_class: Annotated[str | None, tyro.conf.arg(metavar="NAME=FOLDER")] = None
    activation: Activation | None = None
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
        start = self._start()
        dataset = self._dataset()
        classifier = self._classifier(start, dataset, options.seed)
        console.print(
            f"{network_of(classifier)} ({classifier.spec.activation}) on {dataset.name}: "
            f"{len(dataset.train_images):,} images to train on, {len(dataset.test_images):,} to test on",
            soft_wrap=True,
        )
        started = time.perf_counter()
        result = _train(classifier, dataset, options, console)
        seconds = time.perf_counter() - started
        try:
            save_classifier(
                self.out,
                result.classifier,
                training_data=self._training_data(dataset, options),
                test_accuracy=result.test_accuracy,
            )
        except OSError as error:
            raise EvofoolError(f"cannot write {self.out}: {error.strerror}") from error
        console.print(
            f"Test accuracy {100 * result.test_accuracy:.2f}% after {seconds:.0f} s\n"
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

    def _start(self) -> Classifier | None:
        """The classifier to go on from, if one is given."""
        if self.from_ is None:
            return None
        classifier = load_classifier(self.from_)
        own = {"network": network_of(classifier), "activation": classifier.spec.activation}
        for option, its in own.items():
            if (given := getattr(self, option)) not in (None, its):
                raise UsageError(f"--{option} {given} differs from that of {self.from_}, which is {its}")
        return classifier

    def _dataset(self) -> Dataset:
        dataset = load_dataset(self.dataset, image_size=self.image_size)
        if self.half is not None:
            dataset = half(dataset, self.half)
        if self.extra_class is None:
            return dataset
        name, _, folder = self.extra_class.partition("=")
        if not (name and folder):
            raise UsageError(f"--extra-class must be NAME=FOLDER, not {self.extra_class!r}")
        path = Path(folder).expanduser()
        if not os.path.isdir(path):  # not path.is_dir(), which raises where a name is too long
            raise UsageError(f"there is no folder {path} to take the images of {name!r} from")
        images = StoredImages(image_files([path]), dataset.train_images.shape[1:])
        return with_extra_images(dataset, name, images)

    def _classifier(self, start: Classifier | None, dataset: Dataset, seed: int) -> Classifier:
        """Where training starts: as `--from` says, or with random weights."""
        if start is None:
            return create_classifier(
                self.network or _NETWORK,
                dataset.train_images.shape[1:],
                dataset.class_names,
                activation=self.activation or "softmax",
                name=self.out.stem,
                seed=seed,
            )
        extra = dataset.class_names[-1]
        if self.extra_class is not None and extra not in start.spec.class_names:
            start = with_extra_class(start, extra, seed)
        return replace(start, spec=replace(start.spec, name=self.out.stem))

    def _training_data(self, dataset: Dataset, options: TrainingOptions) -> str:
        words = [dataset.name, f"{len(dataset.train_images)} images", f"{options.epochs} epochs"]
        if self.half is not None:
            words.insert(1, f"{self.half} half")
        if self.extra_class is not None:
            words.append(f"with the extra class {dataset.class_names[-1]}")
        if self.from_ is not None:
            words.append(f"going on from {Path(self.from_).name}")
        return ", ".join(words)


def _train(
    classifier: Classifier, dataset: Dataset, options: TrainingOptions, console: Console
) -> TrainingResult:
    """Train with a bar on a terminal, else with a line per epoch."""
    columns = (TextColumn("epoch"), MofNCompleteColumn(), BarColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("compiling", total=options.epochs)

        def on_epoch(epoch: int, loss: float) -> None:
            progress.update(task, completed=epoch, description=f"loss {loss:.4f}")
            if not console.is_terminal:
                console.print(f"epoch {epoch} of {options.epochs}: loss {loss:.4f}")

        return train(classifier, dataset, options, on_epoch=on_epoch)
