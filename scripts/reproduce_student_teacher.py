"""Frigeni's student and teacher ("How to fool a neural network"), for all ten digits and many seeds.

    python scripts/reproduce_student_teacher.py --out reproduction

The source has 50 policies, 100 episodes, sigma 0.1, learning rate 0.1 and a teacher with sigmoid scores, an
unpublished Keras CNN. The teacher here is a CNN with the same layers, trained on the first run (MNIST:
`evofool fetch mnist`), or any classifier given with --teacher. The estimator is marginalised: its update has
the same expectation. The script also runs softmax scores, centred ranks instead of reward minus mean (with
either), and 4,096 policies. It writes tables.md, summary.json (with more figures), curves.png and drawings.
"""

import json
from dataclasses import dataclass, field
from decimal import ROUND_DOWN, Decimal
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from run import run
from tables import markdown

import evofool
from evofool.cli.train import Train
from evofool.images import to_uint8
from evofool.report import contact_sheet
from evofool.report.figure import PALETTE, figure, legend_below
from evofool.training import TrainingOptions

CLAIMS = (
    "The source claims that the reward starts low and approaches 1 for several digits (1.0 for 1, 2, 3 and "
    "4), with patience and some tuning; that not every start converges; and that no drawing looks like its "
    "digit."
)


@dataclass(frozen=True)
class Options:
    """The settings of the reproduction.

    Attributes:
        out: folder for the tables, the figures and the teacher.
        teacher: name or file of a classifier; by default a CNN trained on MNIST.
        seeds: runs per setting.
        policies: policies per episode; the source has 50.
        episodes: episodes of a run.
        large_policies: policies per episode of the larger setting; 0 omits it.
        large_seeds: runs of the larger setting.
        large_episodes: episodes of these runs.
    """

    out: Path = Path("reproduction-student-teacher")
    teacher: str | None = None
    seeds: int = 20
    policies: int = 50
    episodes: int = 100
    large_policies: int = 4096
    large_seeds: int = 2
    large_episodes: int = 25


@dataclass
class Runs:
    """Rewards of many runs.

    Attributes:
        mean: mean reward of the policies, [seeds, episodes, digits].
        best: best reward of each episode, of the same shape.
        images: the best drawings of the first seed.
        confidences: the teacher's confidences in them.
    """

    mean: Any
    best: Any
    images: Any = field(repr=False)
    confidences: Any


def main(options: Options) -> None:
    """Run every setting; write tables, curves and drawings."""
    options.out.mkdir(parents=True, exist_ok=True)
    console = Console(highlight=False, width=150)
    teacher_file = options.out / "teacher.safetensors"
    if options.teacher is None and not teacher_file.exists():
        training = TrainingOptions(epochs=2)
        Train(teacher_file, network="cnn", dataset="mnist", activation="sigmoid", options=training).run()
    teacher = evofool.load_classifier(options.teacher or str(teacher_file))
    size = (options.policies, options.episodes, options.seeds)
    settings = [
        (activation, advantage, *size)
        for advantage in ("mean", "ranks")
        for activation in ("sigmoid", "softmax")
    ]
    if options.large_policies:
        large = (options.large_policies, options.large_episodes, options.large_seeds)
        settings.append(("sigmoid", "mean", *large))
    summaries: dict[str, Any] = {"teacher": teacher.spec.name, "claims": CLAIMS}
    curves, tables = {}, []
    for activation, advantage, policies, episodes, seeds in settings:
        label = f"{activation} scores, advantage by {advantage}, {policies:,} policies, {seeds} seeds"
        reading = teacher.with_activation(activation)  # type: ignore[arg-type]
        runs = run_many(reading, advantage, policies, episodes, seeds, console)
        summaries[label] = summarise(runs, teacher.spec.class_names)
        tables.append(table(label, summaries[label]))
        console.print(tables[-1], soft_wrap=True)
        curves[label] = runs
        contact_sheet(
            runs.images,
            teacher.spec.class_names,
            runs.confidences,
            options.out / f"drawings-{activation}-{advantage}-{policies}.png",
            title=f"Drawings evolved for {teacher.spec.name}",
            subtitle=f"{label.rsplit(',', 1)[0]}, {episodes} episodes, seed 0, best drawing seen",
        )
    draw_curves(curves, teacher.spec.class_names, options.out / "curves.png")
    (options.out / "tables.md").write_text("\n".join(tables))
    (options.out / "summary.json").write_text(json.dumps(summaries, indent=2) + "\n")
    console.print(f"\n{CLAIMS}\n\nWritten to {options.out}", soft_wrap=True)


def run_many(
    teacher: evofool.Classifier, advantage: str, policies: int, episodes: int, seeds: int, console: Console
) -> Runs:
    """Run all digits at once, seed by seed."""
    encoding = evofool.student(teacher.spec.input_shape)
    search = evofool.evolution_strategy(encoding, evofool.StrategyOptions(policies, advantage=advantage))
    mean, best, states = [], [], []
    for seed in range(seeds):
        records: list[dict[str, np.ndarray]] = []

        def keep(_: Any, metrics: dict[str, np.ndarray], records: list[Any] = records) -> None:
            records.append(metrics)

        states.append(evofool.run(search, teacher, episodes, seed=seed, on_chunk=keep))
        mean.append(np.concatenate([record["mean_rewards"] for record in records]))
        best.append(np.concatenate([record["max_rewards"] for record in records]))
        console.print(
            f"{teacher.spec.activation}, {advantage}, {policies} policies: seed {seed + 1} of {seeds}"
        )
    archive = states[0].archive
    images = to_uint8(search.render(archive.genomes))
    return Runs(np.stack(mean), np.stack(best), images, np.asarray(jax.device_get(archive.confidences)))


def summarise(runs: Runs, names: tuple[str, ...]) -> list[dict[str, Any]]:
    """For each digit, how many runs reach a reward, and after how many episodes."""
    rows = []
    for digit, name in enumerate(names):
        mean, best = runs.mean[:, :, digit], runs.best[:, :, digit]
        row: dict[str, Any] = {"digit": name, "runs": len(mean)}
        row["first_mean_reward"] = float(np.median(mean[:, 0]))
        for kind, rewards in {"best": best, "mean": mean}.items():
            for goal in (0.99, 0.9999):
                reached = (rewards >= goal).any(axis=1)
                episodes = (rewards >= goal).argmax(axis=1)[reached] + 1
                row[f"{kind}_reaches_{goal}"] = int(reached.sum())
                row[f"{kind}_episodes_{goal}"] = (
                    [float(q) for q in np.quantile(episodes, [0.25, 0.5, 0.75])] if reached.any() else None
                )
        row["last_mean_reward_of_worst_run"] = float(mean[:, -1].min())
        row["median_spread_of_first_episode"] = float(np.median(best[:, 0] - mean[:, 0]))
        rows.append(row)
    return rows


def table(label: str, rows: list[dict[str, Any]]) -> str:
    """A heading and a Markdown table with one row per digit."""
    columns = (
        *("digit", "first mean reward", "first best minus mean"),
        *("a policy >= 0.99", "episodes", "a policy >= 0.9999"),
        *("the mean >= 0.99", "episodes", "worst run ends at"),
    )
    cells = [
        (
            row["digit"],
            _truncated(row["first_mean_reward"], 5),
            _truncated(row["median_spread_of_first_episode"], 5),
            f"{row['best_reaches_0.99']} of {row['runs']}",
            _quartiles(row["best_episodes_0.99"]),
            f"{row['best_reaches_0.9999']} of {row['runs']}",
            f"{row['mean_reaches_0.99']} of {row['runs']}",
            _quartiles(row["mean_episodes_0.99"]),
            _truncated(row["last_mean_reward_of_worst_run"], 4),
        )
        for row in rows
    ]
    return f"### {label}\n\n{markdown(columns, cells)}\n"


def _truncated(reward: float, digits: int) -> str:
    """A reward with truncated decimals: only a reward of 1 reads 1.0000."""
    return str(Decimal(str(reward)).quantize(Decimal(1).scaleb(-digits), ROUND_DOWN))


def _quartiles(values: list[float] | None) -> str:
    return "never" if values is None else f"{values[1]:.0f} ({values[0]:.0f} to {values[2]:.0f})"


# Later lines are drawn over earlier ones and are narrower or broken, so that coinciding lines stay visible.
_STROKES = (
    *({"linestyle": "-", "linewidth": 3.8}, {"linestyle": "-", "linewidth": 2.4}),
    *({"linestyle": "--", "linewidth": 1.8}, {"linestyle": ":", "linewidth": 1.8}),
    {"linestyle": "-", "linewidth": 0.9},
)


def draw_curves(curves: dict[str, Runs], names: tuple[str, ...], path: Path) -> None:
    """Plot the mean reward of each digit: median and quartiles over the seeds."""
    title = "Mean reward of the policies: median and quartiles over the seeds"
    with figure(path, title, size=(12, 5.8)) as drawn:
        panels = drawn.subplots(2, 5, sharex=True, sharey=True).ravel()
        for label, colour, stroke in zip(curves, PALETTE, _STROKES, strict=False):
            mean = curves[label].mean
            lower, median, upper = np.quantile(mean, [0.25, 0.5, 0.75], axis=0)
            episodes = np.arange(1, mean.shape[1] + 1)
            for digit, axes in enumerate(panels):
                axes.plot(episodes, median[:, digit], color=colour, label=label, **stroke)
                axes.fill_between(
                    episodes, lower[:, digit], upper[:, digit], color=colour, alpha=0.15, linewidth=0
                )
        for name, axes in zip(names, panels, strict=True):
            axes.set_title(name)
            axes.set_ylim(-0.03, 1.03)  # keeps a line at 0 off the axis
        for axes in panels[5:]:
            axes.set_xlabel("episode")
        legend_below(drawn, *panels[0].get_legend_handles_labels())


if __name__ == "__main__":
    run(main)
