"""The run directory: settings, metrics, checkpoints, elites and pictures, in files that any tool can read."""

import csv
import json
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from evofool.classifiers import Classifier, weights_digest
from evofool.errors import EvofoolError, UsageError
from evofool.files import file_name, replacing
from evofool.images import write_png
from evofool.report import (
    ReportedMedian,
    confidence_histogram,
    contact_pages,
    contact_sheet,
    convergence_plot,
    reward_plot,
)
from evofool.report.pages import IMAGES_PER_PAGE
from evofool.runs.job import RunSettings
from evofool.search import Archive

PICTURES = ("elites.png", "convergence.png", "histogram.png", "rewards.png", "drawings.png")
"""The pictures that a run may leave."""

MOST_CLASSES_DRAWN = 20
"""Up to this many classes a run of an evolution strategy is drawn class by class."""

_BREAK_CHECKPOINTS = "[\\"
"""Orbax takes these for a pattern in the names of the folders above, and does not finish a checkpoint."""

CSV_COLUMNS = (
    *("class", "name", "confidence", "generation", "parent", "replacements", "file"),
    *("id", "parent_id", "parent_generation"),
)


class RunDirectory:
    """All that a run leaves behind, at `path`.

    - config.json: the settings, the classifier's SHA-256, versions and device
    - metrics.jsonl: one object per logged generation
    - checkpoints/: the last few states (Orbax)
    - elites/ and elites.csv: an 8-bit PNG per class, and its confidence
    - lineage.csv: of MAP-Elites, every genome that was ever an elite, and its parent
    - elites.png, convergence.png: all classes on one sheet, and how their confidence rose
    - pages/, histogram.png: of more classes than fit a page, readable pages and the spread of the confidence
    - rewards.png, drawings.png: of an evolution strategy, each class's rewards, first and last drawing
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(
        cls, path: Path, settings: RunSettings, classifier: Classifier, *, overwrite: bool = False
    ) -> "RunDirectory":
        """Make the directory of a new run.

        Args:
            path: where; it may exist if it is empty.
            settings: of the run.
            classifier: what is fooled; its digest is recorded.
            overwrite: replace the run that the directory holds.

        Raises:
            UsageError: the directory holds a run and `overwrite` is not set, or other files, or checkpoints
                cannot be written under its name.
            EvofoolError: it cannot be written.
        """
        run = cls(path)
        try:
            run._require_name_for_checkpoints()
            if run._holds_a_run():
                if not overwrite:
                    raise UsageError(
                        f"{path} already holds a run: go on with it by --resume {path}, replace it by "
                        "--overwrite, or choose another --out"
                    )
                run._clear()
            elif path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UsageError(f"{path} exists and is no run of evofool: choose another --out")
            path.mkdir(parents=True, exist_ok=True)
            run.write_config(settings, classifier)
        except OSError as error:
            raise EvofoolError(f"cannot write to {path}: {error.strerror}") from error
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The directory of a run that is there.

        Raises:
            UsageError: there is no run at `path`, or checkpoints cannot be written under its name.
            EvofoolError: it cannot be read.
        """
        run = cls(path)
        try:
            if not run._config.is_file():
                raise UsageError(f"{path} holds no run: there is no {run._config}")
            run._require_name_for_checkpoints()
        except OSError as error:
            raise EvofoolError(f"cannot read {path}: {error.strerror}") from error
        return run

    @property
    def lineage(self) -> Path:
        """The file of who descends from whom."""
        return self.path / "lineage.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def write_config(self, settings: RunSettings, classifier: Classifier) -> None:
        """Write config.json."""
        device = jax.devices()[0]
        config = {
            "settings": settings.to_json(),
            "classifier_sha256": weights_digest(classifier),
            "versions": {"python": platform.python_version()}
            | {name: version(name) for name in ("evofool", "jax", "jaxlib", "flax", "numpy")},
            "device": f"{device.device_kind} ({device.platform})",
        }
        with replacing(self._config) as temporary:
            temporary.write_text(json.dumps(config, indent=2) + "\n")

    def read_settings(self) -> RunSettings:
        """The settings in config.json.

        Raises:
            EvofoolError: the file is damaged.
        """
        return RunSettings.from_json(self._read_config()["settings"])

    def require_same_weights(self, classifier: Classifier) -> None:
        """Raise `EvofoolError` unless the classifier has the weights that the run began with."""
        recorded, found = self._read_config()["classifier_sha256"], weights_digest(classifier)
        if recorded != found:
            raise EvofoolError(
                f"the weights of {classifier.spec.name} are not those that {self.path} began with "
                f"(SHA-256 {found[:12]}, not {recorded[:12]}): bring the old ones back, or start a new run"
            )

    def append_metrics(self, records: Sequence[dict[str, Any]]) -> None:
        """Add lines to metrics.jsonl.

        Raises:
            EvofoolError: they cannot be written.
        """
        with self.room_for("metrics.jsonl"), self._metrics.open("a") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)

    def read_metrics(self, up_to: int | None = None) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, up to a generation; a line that is cut short or damaged ends them."""
        records: list[dict[str, Any]] = []
        if self._metrics.exists():
            for line in self._metrics.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    record = json.loads(line)
                    generation, _ = int(record["generation"]), float(record["seconds"])
                except (ValueError, KeyError, TypeError):
                    break
                if up_to is not None and generation > up_to:
                    break
                records.append(record)
        return records

    def rewind_metrics(self, generation: int) -> list[dict[str, Any]]:
        """Drop the lines after a generation, which will be made again; returns those that stay."""
        records = self.read_metrics(up_to=generation)
        with replacing(self._metrics) as temporary:
            temporary.write_text("".join(json.dumps(record) + "\n" for record in records))
        return records

    def write_elites(
        self,
        archive: Archive,
        images: UInt8[np.ndarray, "k h w c"],
        targets: Sequence[int],
        class_names: Sequence[str],
        *,
        evaluations: int,
        title: str,
        subtitle: str,
    ) -> None:
        """Write an image per class, elites.csv, and the sheet of all of them.

        Args:
            archive: the elites, one niche per target.
            images: their images, 0..255.
            targets: the class of each niche.
            class_names: the names of all classes.
            evaluations: how many genomes a generation makes, which tells that of a parent from its number.
            title: a line above the sheet.
            subtitle: a smaller line under it.

        Raises:
            EvofoolError: something cannot be written.
        """
        names = [class_names[target] for target in targets]
        confidences = np.asarray(archive.confidences)
        width = max(3, len(str(len(class_names) - 1)))
        folder = self.path / "elites"
        rows: list[tuple[Any, ...]] = []
        with self.room_for("the elites"):
            folder.mkdir(exist_ok=True)
            for niche, (target, name) in enumerate(zip(targets, names, strict=True)):
                if not np.isfinite(confidences[niche]):
                    rows.append((target, name, "", "", "", 0, "", "", "", ""))
                    continue
                file = f"elites/{target:0{width}d}_{file_name(name)}.png"
                write_png(self.path / file, images[niche])
                parent, parent_id = int(archive.parents[niche]), int(archive.parent_ids[niche])
                rows.append(
                    (
                        target,
                        name,
                        str(confidences[niche]),
                        int(archive.generations[niche]),
                        names[parent] if parent >= 0 else "",
                        int(archive.replacements[niche]),
                        file,
                        int(archive.ids[niche]),
                        parent_id if parent >= 0 else "",
                        (parent_id - 1) // evaluations + 1 if parent >= 0 else "",
                    )
                )
            with (
                replacing(self.path / "elites.csv") as temporary,
                temporary.open("w", newline="", encoding="utf-8") as file_out,
            ):
                csv.writer(file_out).writerows([CSV_COLUMNS, *rows])
            contact_sheet(
                images, names, confidences, self.path / "elites.png", title=title, subtitle=subtitle
            )
            if len(names) > IMAGES_PER_PAGE:
                contact_pages(images, names, confidences, self.path / "pages", title=title)
                if np.isfinite(confidences).any():
                    confidence_histogram(confidences, self.path / "histogram.png", title=title)

    def write_plots(self, names: Sequence[str], title: str, reported: ReportedMedian | None = None) -> None:
        """Write convergence.png and, where rewards were logged for not too many classes, rewards.png.

        Args:
            names: of the target classes.
            title: a line above the plots.
            reported: the median confidence that is reported of such a run.

        Raises:
            EvofoolError: something cannot be written.
        """
        records = self.read_metrics()
        if records:
            with self.room_for("the plots"):
                convergence_plot(records, self.path / "convergence.png", title=title, reported=reported)
                if "mean_rewards" in records[0] and len(names) <= MOST_CLASSES_DRAWN:
                    reward_plot(records, names, self.path / "rewards.png", title=title)

    def write_drawings(
        self,
        images: UInt8[np.ndarray, "n h w c"],
        labels: Sequence[str],
        confidences: Float[np.ndarray, " n"],
        columns: int,
        title: str,
        subtitle: str,
    ) -> None:
        """Write drawings.png: how each class's individual began and ended, stage under stage.

        Raises:
            EvofoolError: it cannot be written.
        """
        with self.room_for("the drawings"):
            contact_sheet(
                images,
                labels,
                confidences,
                self.path / "drawings.png",
                columns=columns,
                title=title,
                subtitle=subtitle,
            )

    @contextmanager
    def room_for(self, what: str) -> Iterator[None]:
        """Turn the `OSError` of a block that writes into an `EvofoolError` that says how to go on."""
        try:
            yield
        except OSError as error:
            raise EvofoolError(
                f"cannot write {what} to {self.path}: {error.strerror}. The checkpoints are whole: make room "
                f"and go on with --resume {self.path}"
            ) from error

    @property
    def _config(self) -> Path:
        return self.path / "config.json"

    @property
    def _metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    def _read_config(self) -> dict[str, Any]:
        try:
            config = json.loads(self._config.read_text())
            if not {"settings", "classifier_sha256"} <= config.keys():
                raise ValueError("it lacks settings or classifier_sha256")
        except (OSError, ValueError, AttributeError) as error:
            raise EvofoolError(f"{self._config} is damaged: {error}") from error
        return config

    def _holds_a_run(self) -> bool:
        """Whether config.json is that of a run, and not of something else that has a file of this name."""
        try:
            self._read_config()
        except EvofoolError:
            return False
        return True

    def _require_name_for_checkpoints(self) -> None:
        whole = self.path.resolve().as_posix()
        for character in _BREAK_CHECKPOINTS:
            if character in whole:
                raise UsageError(
                    f"{whole} has a {character} in its name, and checkpoints cannot be written under such a "
                    "name: choose another one"
                )

    def _clear(self) -> None:
        """Remove what a run leaves behind and nothing else; config.json, which marks a run, goes last."""
        for folder in ("checkpoints", "damaged-checkpoints", "elites", "pages"):
            shutil.rmtree(self.path / folder, ignore_errors=True)
        for unfinished in self.path.glob(".*.part"):
            unfinished.unlink()
        tables = ("metrics.jsonl", "lineage.csv", "elites.csv")
        for file in (*tables, *PICTURES, "config.json"):
            (self.path / file).unlink(missing_ok=True)


def default_path(settings: RunSettings) -> Path:
    """A new directory under ./runs, named after the time and what is run.

    Example:
        >>> default_path(RunSettings()).parts[0]
        'runs'
    """
    stamp = time.strftime("%Y%m%d-%H%M%S")
    classifier = Path(settings.classifier).name.removesuffix(".safetensors")
    what = f"{settings.algorithm}-{settings.encoding_name}-{classifier}-seed{settings.seed}"
    return Path("runs", f"{stamp}-{what}")
