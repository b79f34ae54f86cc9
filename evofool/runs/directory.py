"""The run directory: all that a run leaves behind, in files that any tool can read."""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evofool import registry
from evofool.classifiers import AnyClassifier, ClassifierSpec, weights_digest
from evofool.errors import EvofoolError, UsageError, shown
from evofool.files import replacing
from evofool.provenance import provenance
from evofool.results import Content, Kind, Results
from evofool.runs.checkpoints import CHECKPOINTS, DAMAGED, require_name_for_checkpoints
from evofool.runs.job import RunSettings
from evofool.runs.lineage import LINEAGE
from evofool.runs.lines import DAMAGED_LINES
from evofool.runs.metrics import METRICS, Record, read_metrics
from evofool.runs.several import RUNS_TABLE, SEEDS

CONFIG = "config.json"

RUN = Kind(
    "a run",
    {
        "elites.png": Content("All classes", "all classes on one sheet"),
        "pages/": Content(
            "In pages", "of more classes than fit a sheet: readable pages by confidence and by name"
        ),
        "histogram.png": Content(
            "Histogram", "of more classes than fit a sheet: the distribution of the confidences"
        ),
        "convergence.png": Content("Convergence", "how the confidences rose"),
        "rewards.png": Content("Rewards", "of an evolution strategy: the rewards of each class"),
        "drawings.png": Content(
            "Drawings", "of an evolution strategy: the first and the last drawing of each class, and the best"
        ),
        "elites/": Content("Each image", "one 8-bit PNG per class"),
        "elites.csv": Content(
            "Confidences",
            "the confidence, generation, replacements and parent of each image, and the queries of the "
            "run up to then; a remark where no confidence was a number or no image exceeds the first",
        ),
        RUNS_TABLE: Content("Runs", "of several seeds: median, lowest and highest confidence of each run"),
        SEEDS: Content("Each run", "of several seeds: `elites/` and `elites.csv` of each, by its seed"),
        LINEAGE: Content(
            "Lineage",
            "of one run of MAP-Elites: every genome that was ever an elite, with its parent: the ancestry of "
            "each image",
        ),
        METRICS: Content(
            "Metrics",
            "one object per generation, after the first 1,000 at intervals that double: confidences (median, "
            "quartiles, mean, lowest, highest; null where there is none), niches over 99% and 99.99%, "
            "replacements, evaluations, queries (answered, cached, failed, padded), seconds; of several "
            "seeds these statistics are of the runs' medians",
        ),
        CONFIG: Content(
            "Settings",
            "every setting that decides the result, the classifier's classes and SHA-256, versions, device",
        ),
        CHECKPOINTS: Content("Checkpoints", "the last few states, written in the background (Orbax)"),
        DAMAGED: Content(
            "Damaged", "only if a resumed run found any: checkpoints that cannot be read, moved aside"
        ),
        DAMAGED_LINES: Content(
            "Damaged",
            f"only if a resumed run found any: damaged lines of {METRICS} and {LINEAGE}",
        ),
    },
)
"""What a run directory holds, in the order in which it is listed when a run has ended."""


class RunDirectory:
    """The directory of a run; `RUN` says what is in it.

    Attributes:
        results: its files.
    """

    def __init__(self, results: Results) -> None:
        self.results = results

    @classmethod
    def create(
        cls, path: Path, settings: RunSettings, classifier: AnyClassifier, *, overwrite: bool = False
    ) -> "RunDirectory":
        """Make the directory of a new run. This process holds it until `evolve` has ended.

        Args:
            path: where; it may exist if it is empty.
            settings: of the run.
            classifier: what is fooled; its digest is recorded.
            overwrite: replace the run that the directory holds.

        Raises:
            UsageError: the directory holds a run and `overwrite` is not set, or other files, or it has a
                backslash in its path.
            EvofoolError: another process holds the directory, or it cannot be written.
        """
        require_name_for_checkpoints(path)
        run = cls(Results.create(path, RUN, overwrite=overwrite))
        run.results.clear()
        run.write_config(settings, classifier, weights_digest(classifier))
        return run

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The directory of a run that is there.

        Raises:
            UsageError: there is no run at `path`, or it has a backslash in it.
            EvofoolError: it cannot be read.
        """
        results = Results.open(path, RUN)
        require_name_for_checkpoints(path)
        return cls(results)

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.results.path

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no other process write to the directory during a block, and release it afterwards.

        Raises:
            EvofoolError: another process holds it, or it cannot be written to.
        """
        self.results.hold()
        try:
            yield
        finally:
            self.results.release()

    def write_config(self, settings: RunSettings, classifier: AnyClassifier, classifier_sha256: str) -> None:
        """Write config.json.

        Args:
            settings: of the run.
            classifier: what is fooled.
            classifier_sha256: the digest of its weights.

        Raises:
            EvofoolError: it cannot be written.
        """
        config = {
            "settings": settings.to_json(),
            "classifier": dataclasses.asdict(classifier.spec),
            "classifier_sha256": classifier_sha256,
            **provenance(),
        }
        path = self.results.add(CONFIG)
        with self.results.writing(CONFIG), replacing(path) as temporary:
            temporary.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    def read_settings(self) -> RunSettings:
        """The settings in config.json.

        Raises:
            EvofoolError: the file is damaged.
        """
        return RunSettings.from_json(self._read_config()["settings"])

    def require_same(self, settings: RunSettings, classifier: AnyClassifier) -> None:
        """Raise unless the run began with these settings and with this classifier.

        The number of generations may differ, and the name of the classifier.

        Raises:
            UsageError: a setting differs.
            EvofoolError: the weights or the classes of the classifier differ, or config.json is damaged.
        """
        if differences := settings.differences(self.read_settings()):
            raise UsageError(
                f"a resumed run keeps its settings, but {'; '.join(differences)} in {self.path}: leave it "
                "out, or start a new run"
            )
        config, spec = self._read_config(), classifier.spec
        recorded, found = config["classifier_sha256"], weights_digest(classifier)
        if recorded != found:
            raise EvofoolError(
                f"the weights of {spec.name} are not those that {self.path} began with "
                f"(SHA-256 {found[:12]}, not {recorded[:12]}): restore the old ones, or start a new run"
            )
        begun = registry.from_json(ClassifierSpec, config["classifier"])
        for name in ("input_shape", "class_names", "activation"):
            if getattr(begun, name) != getattr(spec, name):
                raise EvofoolError(
                    f"the {name} of {spec.name} are not those that {self.path} began with "
                    f"({shown(getattr(spec, name))}, not {shown(getattr(begun, name))})"
                )

    def read_metrics(self) -> list[Record]:
        """The records of metrics.jsonl, without those that are damaged.

        Raises:
            EvofoolError: the file cannot be read.
        """
        try:
            return read_metrics(self.path / METRICS)
        except OSError as error:
            raise EvofoolError(f"cannot read {self.path / METRICS}: {error.strerror}") from error

    def _read_config(self) -> dict[str, Any]:
        path = self.path / CONFIG
        try:
            config = json.loads(path.read_bytes())
            if missing := {"settings", "classifier", "classifier_sha256"} - config.keys():
                raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            raise EvofoolError(f"{path} is damaged: {error}") from error
        return config
