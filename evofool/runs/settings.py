"""What decides the result of a run, and the parts that it names."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from evofool.classifiers import Activation, Classifier, load_classifier
from evofool.encodings import CPPNOptions, DirectOptions, Encoding, cppn, direct
from evofool.errors import EvofoolError, UsageError, require_positive, unknown_name
from evofool.search import Search, map_elites

ALGORITHMS = {"map-elites": "one elite per class; an image bred for one class may conquer another"}
"""The algorithms by name, each with a line about it."""

ENCODINGS = {
    "direct": "one gene per pixel and channel",
    "cppn": "a network from the place of a pixel to its colour, evolved as a graph",
}
"""The encodings by name, each with a line about it."""


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the result of a run: the same settings give the same elites.

    Attributes:
        classifier: what to fool: a name that `evofool list` shows, or a .safetensors file.
        algorithm: how to search: map-elites.
        encoding: how a genome becomes an image: direct, cppn.
        generations: how many generations to make in all, the first of them random.
        batch_size: offspring per generation.
        targets: names or indices of the classes to evolve images for; all if none is given.
        activation: read the logits as softmax or as sigmoid scores; by default as the classifier was trained.
        seed: seeds every random number.
        direct: rates of the direct encoding.
        cppn: budgets, coordinates and rates of the CPPN encoding.
    """

    classifier: str = "lenet-digits"
    algorithm: str = "map-elites"
    encoding: str = "direct"
    generations: int = 200
    batch_size: int = 200
    targets: tuple[str, ...] = ()
    activation: Activation | None = None
    seed: int = 0
    direct: DirectOptions = field(default_factory=DirectOptions)
    cppn: CPPNOptions = field(default_factory=CPPNOptions)

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
            options = {"direct": DirectOptions(**values["direct"]), "cppn": CPPNOptions(**values["cppn"])}
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


def prepare(settings: RunSettings, mesh: Mesh | None = None) -> Job:
    """Load and build what the settings name.

    Args:
        settings: what to run.
        mesh: devices to split each generation over.

    Raises:
        UsageError: an unknown classifier or class, or options out of range.
        EvofoolError: the classifier's weights are missing or damaged.

    Example:
        >>> prepare(RunSettings(targets=("three", "7"))).targets
        (3, 7)
    """
    classifier = load_classifier(settings.classifier, settings.activation)
    spec = classifier.spec
    named = tuple(spec.class_index(target) for target in settings.targets)
    encoding = (
        cppn(spec.input_shape, settings.cppn)
        if settings.encoding == "cppn"
        else direct(spec.input_shape, settings.direct)
    )
    search = map_elites(encoding, settings.batch_size, targets=named or None, mesh=mesh)
    return Job(classifier, encoding, search, named or tuple(range(len(spec.class_names))))
