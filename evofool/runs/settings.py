"""What decides the result of a run, and the parts that it names."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from jax.sharding import Mesh

from evofool.classifiers import Activation, Classifier, load_classifier
from evofool.encodings import DirectOptions, Encoding, StudentOptions, direct, student
from evofool.errors import EvofoolError, UsageError, require_positive, unknown_name
from evofool.search import Search, StrategyOptions, evolution_strategy, map_elites, target_classes
from evofool.search.evolution_strategy import OPTIMIZERS

ALGORITHMS = {
    "map-elites": "one elite per class; an image bred for one class may conquer another",
    "es": "a Gaussian evolution strategy for each class",
}
"""The algorithms by name, each with a line about it."""

ENCODINGS = {
    "direct": "one gene per pixel and channel",
    "student": "a two-layer network that draws in black and white on a blank page",
}
"""The encodings by name, each with a line about it."""


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the result of a run: the same settings give the same elites.

    Attributes:
        classifier: what to fool: a name that `evofool list` shows, or a .safetensors file.
        algorithm: how to search: map-elites or es.
        encoding: how a genome becomes an image: direct or student.
        generations: how many generations to make in all.
        batch_size: offspring per generation of MAP-Elites.
        targets: names or indices of the classes to evolve images for; all if none is given.
        activation: read the logits as softmax or as sigmoid scores; by default as the classifier was trained.
        seed: seeds every random number.
        es: settings of the evolution strategy.
        direct: rates of the direct encoding.
        student: settings of the student encoding.
    """

    classifier: str = "lenet-digits"
    algorithm: str = "map-elites"
    encoding: str = "direct"
    generations: int = 200
    batch_size: int = 200
    targets: tuple[str, ...] = ()
    activation: Activation | None = None
    seed: int = 0
    es: Annotated[StrategyOptions, tyro.conf.arg(name="")] = field(default_factory=StrategyOptions)
    direct: DirectOptions = field(default_factory=DirectOptions)
    student: StudentOptions = field(default_factory=StudentOptions)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown_name("algorithm", self.algorithm, ALGORITHMS)
        if self.encoding not in ENCODINGS:
            raise unknown_name("encoding", self.encoding, ENCODINGS)
        require_positive(generations=self.generations, batch_size=self.batch_size)

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values; a classifier that is a file by its absolute path."""
        values = dataclasses.asdict(self)
        if os.path.isfile(self.classifier):
            values["classifier"] = str(Path(self.classifier).resolve())
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunSettings":
        """The settings of `to_json`.

        Raises:
            EvofoolError: a value is missing, unknown or out of range.

        Example:
            >>> RunSettings.from_json(RunSettings(seed=3).to_json()).seed
            3
        """
        try:
            groups = {"es": StrategyOptions, "direct": DirectOptions, "student": StudentOptions}
            options = {name: group(**values[name]) for name, group in groups.items()}
            return cls(**{**values, "targets": tuple(values["targets"]), **options})
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise EvofoolError(f"the settings of the run are damaged: {error}") from error

    def differences(self, other: "RunSettings") -> list[str]:
        """Each setting that differs, but for the number of generations, as "name: ours, not theirs"."""
        ours, theirs = self.to_json(), other.to_json()
        return [
            f"{name} is {ours[name]!r}, not {theirs[name]!r}"
            for name in ours
            if name != "generations" and ours[name] != theirs[name]
        ]


class Job(NamedTuple):
    """The parts that settings name, ready to run.

    Attributes:
        classifier: what to fool.
        encoding: how a genome becomes an image.
        search: the algorithm.
        targets: the class of each niche, as indices.
    """

    classifier: Classifier
    encoding: Encoding
    search: Search
    targets: tuple[int, ...]


def prepare(settings: RunSettings, mesh: Mesh | None = None, microbatch: int | None = None) -> Job:
    """Load and build what the settings name.

    Args:
        settings: what to run.
        mesh: devices to split each generation over.
        microbatch: policies of an evolution strategy that are scored at once.

    Raises:
        UsageError: an unknown classifier or class, options out of range or that do not go together.
        EvofoolError: the classifier's weights are missing or damaged.

    Example:
        >>> prepare(RunSettings(targets=("three", "7"))).targets
        (3, 7)
    """
    classifier = load_classifier(settings.classifier, settings.activation)
    spec = classifier.spec
    named = tuple(spec.class_index(target) for target in settings.targets)
    encodings = {
        "direct": lambda: direct(spec.input_shape, settings.direct),
        "student": lambda: student(spec.input_shape, settings.student),
    }
    encoding = encodings[settings.encoding]()
    if settings.algorithm == "map-elites":
        search = map_elites(encoding, settings.batch_size, targets=named or None, mesh=mesh)
    else:
        if mesh is not None:
            raise UsageError("es runs on one device: leave out --devices")
        es = settings.es
        search = evolution_strategy(
            encoding,
            es.policies,
            es.sigma,
            OPTIMIZERS[es.optimizer](es.learning_rate),
            advantage=es.advantage,
            antithetic=es.antithetic,
            estimator=es.estimator,
            targets=named or None,
            microbatch=microbatch,
        )
    return Job(classifier, encoding, search, target_classes(classifier, named or None))
