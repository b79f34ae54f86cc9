"""What is particular to some attacks: a start from noise, watched classes, held-out images."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float, Int
from rich.console import Console
from rich.table import Table

from evofool.attacks import (
    AttackOptions,
    AttackResult,
    Targeted,
    Untargeted,
    first_step_above,
    fooling_rate,
    noise_images,
)
from evofool.classifiers import AnyClassifier, Classifier, load_classifier
from evofool.cli.attack import output
from evofool.cli.attack.command import AttackCommand, MaybeWithTarget, towards
from evofool.cli.attack.given import Given, Levels
from evofool.cli.attack.output import Subject
from evofool.errors import UsageError, require_seed
from evofool.files import file_name, save_table, unique
from evofool.images import fit_photograph, image_files, read_image, to_uint8, write_png
from evofool.report.attacks import amplified

_THRESHOLDS = (0.99, 0.999, 0.9999)


@dataclass(frozen=True, kw_only=True)
class Ascent(AttackCommand):
    """From noise or from given images.

    Attributes:
        target: the classes to reach, by name or index; all of them if not given. From noise there is one
            image for each; given images are led to exactly one class.
        mean_level: the grey, in [0, 1], that the noise is added to and regularisation leads to.
        uniform: start from uniform noise, and not from the mean grey plus noise of one level.
        seed: of the noise; 0 by default.
    """

    target: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()
    mean_level: float = 0.5
    uniform: bool = False
    seed: int | None = None

    def _subject(self, classifier: AnyClassifier) -> Subject:
        if self.images or self.dataset is not None:
            return super()._subject(classifier)
        require_seed(self.seed or 0)
        spec = classifier.spec
        targets = [spec.class_index(name) for name in self.target] or list(range(len(spec.class_names)))
        key, level = jax.random.key(self.seed or 0), {"level": None} if self.uniform else {}
        images = noise_images(key, len(targets), classifier, mean_image=self.mean_level, **level)
        names = [f"{index:03}_{file_name(spec.class_names[index])}" for index in targets]
        return Subject(unique(names), images, Targeted(targets))

    def _aimed(self, classifier: AnyClassifier, given: Given) -> Subject:
        if self.uniform or self.seed is not None:
            raise UsageError(
                "--uniform and --seed are options of the noise to start from, without --images or --dataset"
            )
        if len(self.target) != 1:
            raise UsageError(f"given images require one --target for all of them, not {len(self.target)}")
        return towards(classifier, self.target[0], given)

    def _attack(self, classifier: AnyClassifier, subject: Subject, options: AttackOptions) -> AttackResult:
        return self.entry.build(
            classifier,
            subject.images,
            subject.goal,
            options,
            mean_image=self.mean_level,
            watch=subject.goal.classes[:, None],
        )

    def _steps_to_thresholds(self, result: AttackResult) -> dict[str, Int[np.ndarray, " n"]]:
        assert result.trajectory is not None
        of_target = result.trajectory[..., 0]
        return {
            f"step_over_{100 * threshold:g}": np.asarray(first_step_above(of_target, threshold))
            for threshold in _THRESHOLDS
        }

    def _save_more(self, outcome: output.Outcome, console: Console) -> None:
        # There may be as many images as classes, and before the first step all of them look the same.
        output.save_sheet(outcome)
        output.save_trajectory_of_targets(outcome)


@dataclass(frozen=True, kw_only=True)
class Iterated(MaybeWithTarget):
    """With classes to watch.

    Attributes:
        watch: classes to draw in the plot of probabilities beside those that the images pass through.
    """

    watch: Annotated[tuple[str, ...], tyro.conf.arg(metavar="CLASS...")] = ()

    def _aimed(self, classifier: AnyClassifier, given: Given) -> Subject:
        self._watched(classifier)
        return super()._aimed(classifier, given)

    def _save_more(self, outcome: output.Outcome, console: Console) -> None:
        wanted = np.unique(outcome.subject.goal.classes).tolist()
        output.save_trajectory(outcome, [*wanted, *self._watched(outcome.classifier)])

    def _watched(self, classifier: AnyClassifier) -> list[int]:
        return [classifier.spec.class_index(name) for name in self.watch]


@dataclass(frozen=True, kw_only=True)
class Universal(AttackCommand):
    """With other images and classifiers to try the change on.

    Attributes:
        held_out: images, or folders of them, that the change is not made from, to see how many it fools.
        other: further classifiers to try the same change on, by name, file or composition. For one of another
            size, the images are resized with the change in them.
    """

    held_out: Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FILE|FOLDER...")] = ()
    other: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME|FILE|COMPOSITION...")] = ()

    @cached_property
    def _others(self) -> list[Classifier]:
        return [load_classifier(name) for name in self.other]

    @cached_property
    def _held_out(self) -> list[Levels]:
        return [read_image(path) for path in image_files(self.held_out)]

    def _aimed(self, classifier: AnyClassifier, given: Given) -> Subject:
        # Away from the predicted classes, as in the paper: a fooling rate counts changes of these.
        return Subject.of(given, Untargeted(given.predicted))

    def _attack(self, classifier: AnyClassifier, subject: Subject, options: AttackOptions) -> AttackResult:
        # What is missing is said before the attack, not after it.
        _ = self._others, self._held_out
        return super()._attack(classifier, subject, options)

    def _save_more(self, outcome: output.Outcome, console: Console) -> None:
        perturbation = outcome.result.perturbation
        assert perturbation is not None
        write_png(outcome.add("perturbation.png"), amplified(np.asarray(perturbation)))
        rows = self._rates(outcome, perturbation)
        save_table(outcome.add("fooling_rates.csv"), rows)
        table = Table("classifier", "images", "class changed", "by random signs", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        console.print(table, "")

    def _rates(self, outcome: output.Outcome, perturbation: Float[Array, "h w c"]) -> list[dict[str, str]]:
        """How many images the perturbation fools, and random signs of the same size."""
        options: Any = outcome.result.options
        signs = jax.random.rademacher(jax.random.key(options.seed), perturbation.shape, jnp.float32)
        size = options.size(perturbation) / (1 if options.norm == "linf" else np.sqrt(signs.size))
        shape = outcome.classifier.spec.input_shape
        images = {"it is made from": to_uint8(outcome.subject.images)}
        if self._held_out:
            images["held out"] = np.stack([fit_photograph(image, shape) for image in self._held_out])
        return [
            {
                "classifier": network.spec.name,
                "images": f"{len(levels)} {which}",
                "fooling_rate": f"{fooling_rate(network, levels, perturbation):.4f}",
                "random_signs": f"{fooling_rate(network, levels, size * signs):.4f}",
            }
            for network in (outcome.classifier, *self._others)
            for which, levels in images.items()
        ]


PARTICULAR: dict[str, type[AttackCommand]] = {"ascent": Ascent, "iterated": Iterated, "universal": Universal}
"""The commands of attacks that have more than their options and a target."""
