"""`evofool study`."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from evofool.classifiers import Classifier, load_classifier
from evofool.cli.console import make_console
from evofool.cli.directories import make_directory
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError, UsageError, require_positive, require_seed
from evofool.files import save_table
from evofool.images import from_uint8, load_photograph, to_uint8
from evofool.report import contact_sheet, format_confidence
from evofool.studies import RubbishResult, certainty, noise_images_at, rubbish
from evofool.studies.rubbish import Noise

_TABLE = "rubbish.csv"
_SUREST = 8
_REPORTED = (
    ("maxout (Goodfellow et al. 2015)", "Gaussian noise", "98.35 %", "92.8 %", "", ""),
    ("a network of the Q&A thread", "noise", "", "high", "", "horse (about 70 %)"),
)


@dataclass(frozen=True, kw_only=True)
class Study:
    """Answer a question of the papers.

    Attributes:
        question: rubbish: how certain are classifiers about images of noise, which show nothing at all?
        out: directory to leave the table and the images in.
        classifiers: whose certainty is in question: names (see evofool list classifiers) or files.
        dataset: digits, mnist or a folder with a folder of images per class: test images to compare with.
        images: photographs to compare with, of any size and format.
        count: how many images of uniform noise, and of Gaussian noise.
        threshold: the confidence above which an image counts as recognised, in [0, 1].
        seed: of the noise.
        overwrite: replace the results of a study that --out holds.
        quiet: print nothing but errors.
    """

    question: Annotated[Literal["rubbish"], tyro.conf.Positional]
    out: Path
    classifiers: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE...")] = ("lenet-digits",)
    dataset: Annotated[str | None, tyro.conf.arg(metavar="NAME|FOLDER")] = None
    images: tuple[Path, ...] = ()
    count: int = 10_000
    threshold: float = 0.5
    seed: int = 0
    overwrite: bool = False
    quiet: bool = False

    def run(self) -> int:
        """Answer; returns the exit code."""
        require_positive(count=self.count)
        require_seed(self.seed)
        if not 0 <= self.threshold <= 1:
            raise UsageError(f"threshold must be between 0 and 1, not {self.threshold}")
        if not self.classifiers:
            raise UsageError("--classifiers needs at least one name or file")
        console = make_console(quiet=self.quiet)
        classifiers = [load_classifier(name) for name in self.classifiers]
        compared = [self._to_compare_with(classifier) for classifier in classifiers]
        make_directory(self.out, _TABLE, overwrite=self.overwrite)
        rows: list[dict[str, Any]] = []
        try:
            _remove_results(self.out)
            for number, (classifier, of_images) in enumerate(zip(classifiers, compared, strict=True)):
                of_noise = {
                    noise: rubbish(classifier, noise, count=self.count, seed=self.seed)
                    for noise in get_args(Noise)
                }
                named = {f"{noise} noise": result for noise, result in of_noise.items()} | of_images
                rows += [self._row(classifier, images, result) for images, result in named.items()]
                # The table is there before the sheets, because it tells which sheets are a study's.
                save_table(self.out / _TABLE, rows)
                sheet = self.out / f"{number}_{classifier.spec.name}.png"
                self._draw_surest(classifier, of_noise, sheet)
        except OSError as error:
            raise EvofoolError(f"cannot write to {self.out}: {error.strerror}") from error
        self._print(console, rows)
        return 0

    def _to_compare_with(self, classifier: Classifier) -> dict[str, RubbishResult]:
        results = {}
        shape = classifier.spec.input_shape
        if self.dataset is not None:
            images = load_dataset(self.dataset).test_images
            if images.shape[1:] != shape:
                raise UsageError(
                    f"{classifier.spec.name} takes images of {shape}, and those of {self.dataset} are of "
                    f"{images.shape[1:]}: give photographs by --images, which are resized"
                )
            results["test images"] = certainty(classifier, from_uint8(images))
        if self.images:
            levels = np.stack([load_photograph(path, shape) for path in self.images])
            results["photographs"] = certainty(classifier, from_uint8(levels))
        return results

    def _row(self, classifier: Classifier, images: str, result: RubbishResult) -> dict[str, Any]:
        shares = result.class_shares(len(classifier.spec.class_names))
        return {
            "classifier": classifier.spec.name,
            "images": images,
            "count": len(result.classes),
            "threshold": self.threshold,
            "share_above": result.share_above(self.threshold),
            "mean_confidence_above": result.mean_confidence_above(self.threshold),
            "share_above_99": result.share_above(0.99),
            "commonest_class": classifier.spec.class_names[int(shares.argmax())],
            "commonest_share": float(shares.max()),
        }

    def _draw_surest(self, classifier: Classifier, of_noise: dict[Noise, RubbishResult], path: Path) -> None:
        images, names, confidences = [], [], []
        for noise, result in of_noise.items():
            surest = np.argsort(-result.confidences, kind="stable")[:_SUREST].tolist()
            images.append(to_uint8(noise_images_at(classifier, noise, surest, seed=self.seed)))
            names += [classifier.spec.class_names[index] for index in result.classes[surest]]
            confidences.append(result.confidences[surest])
        contact_sheet(
            np.concatenate(images),
            names,
            np.concatenate(confidences),
            path,
            columns=min(_SUREST, self.count),
            title=f"The noise that {classifier.spec.name} is surest of",
            subtitle=f"uniform above, Gaussian below; of {self.count:,} images each",
        )

    def _print(self, console: Console, rows: list[dict[str, Any]]) -> None:
        above = f"above {100 * self.threshold:g} %"
        table = Table(
            "classifier", "images", above, "mean of these", "above 99 %", "commonest class", box=None
        )
        table.title = f"{self.count:,} images of noise each"
        for row in rows:
            table.add_row(
                str(row["classifier"]),
                f"{row['images']} ({row['count']})",
                f"{100 * row['share_above']:.2f} %",
                format_confidence(np.float32(row["mean_confidence_above"])),
                f"{100 * row['share_above_99']:.2f} %",
                f"{row['commonest_class']} ({100 * row['commonest_share']:.0f} %)",
            )
        for reported in _REPORTED:
            table.add_row(*reported, style="dim")
        console.print(table)
        console.print(f"\nTable   {self.out / _TABLE}\nImages  {self.out}", soft_wrap=True)


def _remove_results(out: Path) -> None:
    """Remove what a study leaves behind and nothing else."""
    table = out / _TABLE
    if not table.exists():
        return
    with table.open(newline="", encoding="utf-8", errors="replace") as file:
        names = {row.get("classifier") for row in csv.DictReader(file)}
    for sheet in list(out.glob("*.png")):
        number, _, name = sheet.stem.partition("_")
        if number.isdecimal() and name in names:
            sheet.unlink()
    table.unlink()
