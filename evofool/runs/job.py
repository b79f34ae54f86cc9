"""What decides the result of a run, and the parts that it names."""

import dataclasses
import fnmatch
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
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
from evofool.classifiers.wrappers import CROPPED_SIZE
from evofool.encodings import (
    CPPNOptions,
    DirectOptions,
    Encoding,
    StudentOptions,
    cppn,
    direct,
    student,
)
from evofool.errors import EvofoolError, UsageError, require_positive, require_seed, unknown_name
from evofool.runs.memory import require_memory
from evofool.search import (
    MapElitesOptions,
    Search,
    StrategyOptions,
    evolution_strategy,
    map_elites,
    target_classes,
)

ALGORITHMS = {
    "map-elites": "one elite per class; an image bred for one class may conquer another",
    "es": "a Gaussian evolution strategy for each class",
}
"""The algorithms by name, each with a line about it."""

ENCODINGS = {
    "direct": "one gene per pixel and channel",
    "cppn": "a network from the place of a pixel to its colour, evolved as a graph",
    "student": "a two-layer network that draws in black and white on a blank page",
}
"""The encodings by name, each with a line about it."""

_BELONGS = (
    ("batch_size", "algorithm", "map-elites"),
    ("es.*", "algorithm", "es"),
    ("direct.*", "encoding", "direct"),
    ("cppn.*", "encoding", "cppn"),
    ("student.*", "encoding", "student"),
    ("direct.*", "algorithm", "map-elites"),
    ("student.mutation_sigma", "algorithm", "map-elites"),
    ("direct.mutation_*", "direct.variation", "source"),
    ("direct.crossover_*", "direct.variation", "source"),
    ("direct.iso_sigma", "direct.variation", "iso-line"),
    ("direct.line_sigma", "direct.variation", "iso-line"),
)
"""Which settings only decide something where another one has a value: a pattern, the other one, its value."""

_LARGEST_ID = 2**31 - 1


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the result of a run: the same settings give the same elites.

    Attributes:
        classifier: what to fool: a name that `evofool list` shows, or a .safetensors file.
        algorithm: how to search: map-elites or es.
        encoding: how a genome becomes an image: direct, cppn or student.
        generations: how many generations to make in all.
        batch_size: offspring per generation of MAP-Elites.
        targets: names or indices of the classes to evolve images for; all if none is given.
        activation: read the logits as softmax or as sigmoid scores; by default as the classifier was trained.
        image_size: height and width of the images; by default the classifier's own, or 256 with ten crops.
            Images of another size than the classifier's are resized, or cropped, before it sees them.
        ten_crop: score the mean over ten crops (four corners, centre and their mirrors), as the source does.
        precision: of the classifier in the search; the confidences that are saved are always of float32.
        seed: seeds every random number.
        es: settings of the evolution strategy.
        direct: rates of the direct encoding.
        cppn: budgets, coordinates and rates of the CPPN encoding.
        student: settings of the student encoding.
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
    es: Annotated[StrategyOptions, tyro.conf.arg(name="")] = field(default_factory=StrategyOptions)
    direct: DirectOptions = field(default_factory=DirectOptions)
    cppn: CPPNOptions = field(default_factory=CPPNOptions)
    student: StudentOptions = field(default_factory=StudentOptions)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown_name("algorithm", self.algorithm, ALGORITHMS)
        if self.encoding not in ENCODINGS:
            raise unknown_name("encoding", self.encoding, ENCODINGS)
        require_positive(generations=self.generations, batch_size=self.batch_size, image_size=self.image_size)
        require_seed(self.seed)

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
            groups = {
                "es": StrategyOptions,
                "direct": DirectOptions,
                "cppn": CPPNOptions,
                "student": StudentOptions,
            }
            options = {name: group(**values[name]) for name, group in groups.items()}
            return cls(**{**values, "targets": tuple(values["targets"]), **options})
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise EvofoolError(f"the settings of the run are damaged: {error}") from error

    def differences(self, other: "RunSettings") -> list[str]:
        """Each setting that may not change when a run goes on, and does, as "name is ours, not theirs"."""
        ours, theirs = self.fixed(), other.fixed()
        return [
            f"{name} is {ours[name]!r}, not {theirs[name]!r}" for name in ours if ours[name] != theirs[name]
        ]

    def fixed(self) -> dict[str, Any]:
        """What may not change when a run goes on, as JSON gives it back.

        The number of generations may, and the place of the classifier, whose weights are compared instead.
        """
        values = self.to_json()
        del values["generations"], values["classifier"]
        return json.loads(json.dumps(values))


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
        microbatch: how many images are scored at once on each device; of an evolution strategy how many
            policies of a class, in whole blocks.

    Raises:
        UsageError: an unknown classifier or class, options out of range, that do not go together or that
            decide nothing in this run, images that are too small, a generation that does not fit into memory,
            or more genomes than can be numbered.
        EvofoolError: the classifier's weights are missing or damaged.

    Example:
        >>> prepare(RunSettings(targets=("three", "7"))).targets
        (3, 7)
    """
    _require_used(settings)
    classifier = load_classifier(settings.classifier, settings.activation)
    if settings.ten_crop:
        sides = CROPPED_SIZE if settings.image_size is None else (settings.image_size,) * 2
        classifier = ten_crop(classifier, *sides)
    elif settings.image_size is not None:
        classifier = resized(classifier, settings.image_size, settings.image_size)
    scorer = with_precision(classifier, settings.precision)
    spec = classifier.spec
    named = tuple(spec.class_index(target) for target in settings.targets)
    encodings = {
        "direct": lambda: direct(spec.input_shape, settings.direct),
        "cppn": lambda: cppn(spec.input_shape, settings.cppn),
        "student": lambda: student(spec.input_shape, settings.student),
    }
    encoding = encodings[settings.encoding]()
    if settings.algorithm == "es" and mesh is not None:
        raise UsageError("es runs on one device: leave out --devices")
    es = settings.es

    def search_of(size: int, microbatch: int | None) -> Search:
        if settings.algorithm == "map-elites":
            return map_elites(
                encoding, MapElitesOptions(size), targets=named or None, mesh=mesh, microbatch=microbatch
            )
        options = dataclasses.replace(es, policies=size)
        return evolution_strategy(encoding, options, targets=named or None, microbatch=microbatch)

    map_elites_runs = settings.algorithm == "map-elites"
    size, option = (settings.batch_size, "--batch-size") if map_elites_runs else (es.policies, "--policies")
    search = search_of(size, microbatch)
    if settings.generations * size > _LARGEST_ID:
        raise UsageError(
            f"{settings.generations:,} generations of {size:,} evaluations are more than the {_LARGEST_ID:,} "
            f"that can be numbered: lower --generations or {option}"
        )
    require_memory(search_of, scorer, size, microbatch, "batch_size" if map_elites_runs else "policies")
    return Job(classifier, scorer, encoding, search, target_classes(classifier, named or None))


def _require_used(settings: RunSettings) -> None:
    """Raise `UsageError` naming the first setting that is not the default and that this run would not use."""
    given, default = _by_name(settings), _by_name(RunSettings())
    for pattern, other, value in _BELONGS:
        for name in fnmatch.filter(given, pattern):
            if given[name] != default[name] and given[other] != value:
                raise UsageError(
                    f"{_option(name)} belongs to {_option(other)} {value}, and this run has {_option(other)} "
                    f"{given[other]}: leave it out"
                )


def _by_name(settings: RunSettings) -> dict[str, Any]:
    """All settings in one mapping, those of a group as "group.name"."""
    values: dict[str, Any] = {}
    for name, value in dataclasses.asdict(settings).items():
        members = value.items() if isinstance(value, dict) else ()
        values |= {f"{name}.{member}": each for member, each in members} or {name: value}
    return values


def _option(name: str) -> str:
    """A setting as the command line calls it."""
    return f"--{name.removeprefix('es.').replace('_', '-')}"
