"""What decides the result of a run, and the parts that it names."""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh

from evofool.classifiers import (
    Activation,
    Classifier,
    Precision,
    load_classifier,
    resized,
    ten_crop,
    with_precision,
)
from evofool.classifiers.views import CROPPED_SIZE
from evofool.encodings import CPPNOptions, DirectOptions, Encoding, cppn, direct
from evofool.errors import EvofoolError, UsageError, require_positive, unknown_name
from evofool.search import Search, map_elites, require_memory

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
        image_size: height and width of the images; by default the classifier's own, or 256 with ten crops.
            Images of another size than the classifier's are resized, or cropped, before it sees them.
        ten_crop: score the mean over ten crops (four corners, centre and their mirrors), as the source does.
        precision: of the classifier in the search; the confidences that are saved are always of float32.
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
    image_size: int | None = None
    ten_crop: bool = False
    precision: Precision = "float32"
    seed: int = 0
    direct: DirectOptions = field(default_factory=DirectOptions)
    cppn: CPPNOptions = field(default_factory=CPPNOptions)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown_name("algorithm", self.algorithm, ALGORITHMS)
        if self.encoding not in ENCODINGS:
            raise unknown_name("encoding", self.encoding, ENCODINGS)
        image_size = 1 if self.image_size is None else self.image_size
        require_positive(generations=self.generations, batch_size=self.batch_size, image_size=image_size)

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
        scorer: the same in the precision that the search asks for.
        encoding: how a genome becomes an image.
        search: the algorithm.
        targets: the class of each niche, as indices.
    """

    classifier: Classifier
    scorer: Classifier
    encoding: Encoding
    search: Search
    targets: tuple[int, ...]


def prepare(settings: RunSettings, mesh: Mesh | None = None, microbatch: int | None = None) -> Job:
    """Load and build what the settings name.

    Args:
        settings: what to run.
        mesh: devices to split each generation over.
        microbatch: how many images are scored at once on each device; the whole generation if not given.

    Raises:
        UsageError: an unknown classifier or class, or options out of range; images that are too small, or a
            generation that does not fit into memory.
        EvofoolError: the classifier's weights are missing or damaged.

    Example:
        >>> prepare(RunSettings(targets=("three", "7"))).targets
        (3, 7)
    """
    classifier = load_classifier(settings.classifier, settings.activation)
    if settings.ten_crop:
        sides = CROPPED_SIZE if settings.image_size is None else (settings.image_size,) * 2
        classifier = ten_crop(classifier, *sides)
    elif settings.image_size is not None:
        classifier = resized(classifier, settings.image_size, settings.image_size)
    scorer = with_precision(classifier, settings.precision)
    spec = classifier.spec
    named = tuple(spec.class_index(target) for target in settings.targets)
    encoding = (
        cppn(spec.input_shape, settings.cppn)
        if settings.encoding == "cppn"
        else direct(spec.input_shape, settings.direct)
    )

    def search_of(batch_size: int, microbatch: int | None) -> Search:
        return map_elites(encoding, batch_size, targets=named or None, mesh=mesh, microbatch=microbatch)

    require_memory(search_of, scorer, settings.batch_size, microbatch)
    search = search_of(settings.batch_size, microbatch)
    return Job(classifier, scorer, encoding, search, named or tuple(range(len(spec.class_names))))
