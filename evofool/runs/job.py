"""The settings of a run, and the parts that they name."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from evofool import registry
from evofool.classifiers import (
    Activation,
    AnyClassifier,
    AskingOptions,
    BlackBox,
    Classifier,
    Precision,
    is_service,
    load_classifier,
    resized,
    service,
    ten_crop,
    with_precision,
)
from evofool.classifiers.composed import rewritten
from evofool.classifiers.compositions import CROPPED_SIZE
from evofool.classifiers.known import located
from evofool.encodings import ENCODINGS, DirectOptions, Encoding
from evofool.errors import EvofoolError, UsageError, require_positive, require_seed
from evofool.registry import AnyOptions, choice
from evofool.runs.memory import require_memory
from evofool.search import (
    SEARCHES,
    Cut,
    MapElitesOptions,
    Search,
    SearchOptions,
    target_classes,
)

OWN = "python-object"
"""What settings call a classifier that a program made, which has no name and no file to load it by."""

_ANY = "..."
"""In place of the names and files that a classifier is made of."""


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the result of a run: the same settings give the same elites.

    There is no place for an option that decides nothing. The options are those of the chosen search and
    encoding only; and in runs of a search that does not breed, such as an evolution strategy, the `variation`
    of the encoding's options is None. The default variation becomes None, and another one is refused.

    Attributes:
        classifier: what to fool: a name that `evofool list classifiers` shows; a .safetensors, .onnx or
            .keras file, or package.module:function, which is imported and run (`evofool list models`); a
            composition of them, as in "smoothed(lenet-digits, 0.1)" (`evofool list compositions`); or the
            address of one that can only be asked, as in "http://127.0.0.1:8000" (docs/black-boxes.md).
            "python-object" stands for one that a program made and passes beside the settings.
        search: how to search.
        encoding: how a genome becomes an image.
        generations: how many generations to make in all.
        targets: names or indices of the classes to evolve images for; by default all.
        activation: read the logits as softmax or as sigmoid scores; by default as the classifier was trained.
        image_size: height and width of the images; by default the classifier's own, or 256 with ten crops.
            Images of another size are resized, or cropped, before the classifier sees them.
        ten_crop: score the mean over ten crops (four corners, centre and their mirrors), as Nguyen et al. do.
        precision: of the classifier in the search; tensorfloat32 is for accelerators, a CPU computes it in
            float32. Saved confidences are always computed in float32.
        seed: seeds every random number.
        seeds: make this many independent runs in one program, seeded `seed`, `seed` + 1 and so on; by default
            a single run.

    Raises:
        UsageError: a number out of range, options of no search or no encoding, or a variation that the
            search does not use.
    """

    classifier: str = "lenet-digits"
    search: SearchOptions = choice(SEARCHES, MapElitesOptions())
    encoding: AnyOptions = choice(ENCODINGS, DirectOptions())
    generations: int = 200
    targets: tuple[str, ...] = ()
    activation: Activation | None = None
    image_size: int | None = None
    ten_crop: bool = False
    precision: Precision = "float32"
    seed: int = 0
    seeds: int | None = None

    def __post_init__(self) -> None:
        require_positive(generations=self.generations, image_size=self.image_size, seeds=self.seeds)
        require_seed(self.seed)
        require_seed(self.seed + (self.seeds or 1) - 1)
        object.__setattr__(self, "encoding", _encoding_for(self.algorithm, self.search, self.encoding))

    @property
    def algorithm(self) -> str:
        """The name of the search."""
        return SEARCHES.name_of(self.search)

    @property
    def encoding_name(self) -> str:
        """The name of the encoding."""
        return ENCODINGS.name_of(self.encoding)

    @property
    def all_seeds(self) -> range:
        """The seeds of all runs."""
        return range(self.seed, self.seed + (self.seeds or 1))

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values; files that the classifier is made of by their absolute paths.

        Raises:
            UsageError: the classifier is a composition that cannot be read.
        """
        return registry.to_json(self) | {"classifier": located(self.classifier)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "RunSettings":
        """The settings that `to_json` was given.

        Raises:
            EvofoolError: a value is missing, unknown or out of range.

        Example:
            >>> RunSettings.from_json(RunSettings(seed=3).to_json()).seed
            3
        """
        try:
            return registry.from_json(cls, values)
        except (AttributeError, KeyError, TypeError, ValueError, EvofoolError) as error:
            raise EvofoolError(f"the settings of the run are damaged: {error}") from error

    def differences(self, other: "RunSettings") -> list[str]:
        """Each setting that differs and may not when a run is resumed, as "name is ours, not theirs"."""
        ours, theirs = self.fixed(), other.fixed()
        # Options of different choices have no counterpart: the names of the choices differ.
        return [
            f"{name} is {ours[name]!r}, not {theirs[name]!r}"
            for name in ours
            if name in theirs and ours[name] != theirs[name]
        ]

    def fixed(self) -> dict[str, Any]:
        """The settings that may not change when a run is resumed, by name, as JSON gives them back.

        The number of generations may change, and the names and files that the classifier is made of: their
        weights are compared instead.

        Example:
            >>> RunSettings().fixed()["search.batch_size"]
            200
        """
        values = self.to_json() | {"classifier": rewritten(self.classifier, lambda name: _ANY)}
        del values["generations"]
        return _flat(json.loads(json.dumps(values)))


def _encoding_for(algorithm: str, search: SearchOptions, encoding: AnyOptions) -> AnyOptions:
    """The encoding's options without a variation if the search does not breed, with one if it does."""
    ENCODINGS.name_of(encoding)
    field = next((field for field in dataclasses.fields(encoding) if field.name == "variation"), None)
    if field is None:
        return encoding
    variation = getattr(encoding, field.name)
    if search.breeds:
        return encoding if variation is not None else dataclasses.replace(encoding, variation=field.default)
    if variation not in (None, field.default):
        raise UsageError(
            f"{algorithm} does not breed: the encoding's variation must be None, not {variation}"
        )
    return dataclasses.replace(encoding, variation=None)


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """All values in one mapping, those of a nested one as "outer.inner"."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = _flat(value) if isinstance(value, dict) else {}
        flat |= {f"{name}.{inner}": each for inner, each in nested.items()} or {name: value}
    return flat


class Job(NamedTuple):
    """The parts that settings name, ready to run.

    Attributes:
        classifier: what to fool.
        scorer: the classifier in the precision of the search.
        encoding: how a genome becomes an image.
        search: the algorithm.
        targets: the class of each niche, as indices.
        runs: how many runs are made in one program; None for a single one.
    """

    classifier: AnyClassifier
    scorer: AnyClassifier
    encoding: Encoding
    search: Search
    targets: tuple[int, ...]
    runs: int | None = None

    @property
    def evaluations(self) -> int:
        """The images that all runs score in a generation."""
        return self.search.evaluations(self.classifier) * (self.runs or 1)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each niche's class."""
        return tuple(self.classifier.spec.class_names[target] for target in self.targets)


def prepare(
    settings: RunSettings,
    cut: Cut = Cut(),
    classifier: AnyClassifier | None = None,
    asking: AskingOptions = AskingOptions(),
) -> Job:
    """Load and build what the settings name.

    Args:
        settings: what to run.
        cut: how generations will be cut up, which decides the memory that they need.
        classifier: what to fool, if the settings call it "python-object".
        asking: how a classifier behind an address is asked.

    Raises:
        UsageError: an unknown classifier or class, options out of range or that do not go together, images
            that are too small, a generation that does not fit into memory, or a classifier where the settings
            name one, or none where they do not.
        EvofoolError: the classifier's weights are missing or damaged, or a service does not answer.

    Example:
        >>> prepare(RunSettings(targets=("three", "7"))).targets
        (3, 7)
        >>> from evofool import create_classifier
        >>> linear = create_classifier("linear", (8, 8, 1), ("even", "odd"))
        >>> prepare(RunSettings("python-object"), classifier=linear).classifier.spec.name
        'linear'
    """
    classifier = _classifier_of(settings, classifier, asking)
    scorer: AnyClassifier = classifier
    if isinstance(classifier, BlackBox):
        _require_as_it_is(settings, classifier)
    else:
        classifier = _view(settings, classifier)
        scorer = with_precision(classifier, settings.precision)
    named = tuple(classifier.spec.class_index(target) for target in settings.targets) or None
    encoding = ENCODINGS[settings.encoding_name].build(classifier.spec.input_shape, settings.encoding)

    def search_of(size: int) -> Search:
        options = dataclasses.replace(settings.search, **{settings.search.size: size})
        return SEARCHES[settings.algorithm].build(encoding, options, targets=named)

    size = getattr(settings.search, settings.search.size)
    if not isinstance(scorer, BlackBox):
        require_memory(search_of, scorer, size, cut, settings.search.size, settings.seeds)
    targets = target_classes(classifier, named)
    return Job(classifier, scorer, encoding, search_of(size), targets, settings.seeds)


def headline(settings: RunSettings, job: Job) -> str:
    """What a run does, in one line."""
    classes = "1 class" if len(job.targets) == 1 else f"{len(job.targets)} classes"
    runs = "" if job.runs is None else f", {job.runs} runs"
    return (
        f"{settings.algorithm} with the {settings.encoding_name} encoding against "
        f"{job.classifier.spec.name}: {classes}{runs}, {job.evaluations:,} images per generation"
    )


def _classifier_of(settings: RunSettings, own: AnyClassifier | None, asking: AskingOptions) -> AnyClassifier:
    """The classifier that the settings name, or the program's own."""
    if own is None and settings.classifier == OWN:
        raise UsageError("the classifier of these settings was made by a program, which must pass it")
    if own is None and is_service(settings.classifier):
        return service(settings.classifier, asking)
    if own is None:
        return load_classifier(settings.classifier, settings.activation)
    if settings.classifier != OWN:
        raise UsageError(
            f"the settings name the classifier {settings.classifier!r}: leave the other one out, or call it "
            f"{OWN!r} in the settings"
        )
    return own if isinstance(own, BlackBox) else own.with_activation(settings.activation)


def _require_as_it_is(settings: RunSettings, black_box: BlackBox) -> None:
    """Raise `UsageError` if the settings ask for what only a classifier that is loaded can do."""
    ordinary = RunSettings()
    for name in ("activation", "image_size", "ten_crop", "precision"):
        if getattr(settings, name) != getattr(ordinary, name):
            raise UsageError(f"{black_box.spec.name} can only be asked: {name} is for it to decide")


def _view(settings: RunSettings, classifier: Classifier) -> Classifier:
    """The classifier of images of the size that the run evolves."""
    if settings.ten_crop:
        sides = CROPPED_SIZE if settings.image_size is None else (settings.image_size,) * 2
        return ten_crop(classifier, *sides)
    if settings.image_size is not None:
        return resized(classifier, settings.image_size, settings.image_size)
    return classifier
