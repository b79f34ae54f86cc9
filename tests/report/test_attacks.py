"""The figures of an attack."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from evofool.images import read_png
from evofool.report.attacks import AttackedImage, amplified, before_after_figure, trajectory_plot


def labels_of_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first words of the labels of the lines that are drawn from now on."""
    drawn: list[str] = []
    plot = Axes.plot

    def noting(axes: Axes, *args: object, **options: object) -> object:
        drawn.append(str(options["label"]).split()[0])
        return plot(axes, *args, **options)

    monkeypatch.setattr(Axes, "plot", noting)
    return drawn


def test_a_change_is_grey_where_nothing_changed() -> None:
    change = np.zeros((2, 2, 1))
    assert (amplified(change) == 128).all()
    change[0, 0] = 1e-3
    assert amplified(change)[0, 0] == 255
    assert amplified(change, 50)[0, 0] == round(255 * 0.55)


def test_a_figure_of_many_images_draws_the_first_and_says_so(tmp_path: Path) -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    row = AttackedImage("it", image, image, np.array([0.9, 0.1]), np.array([0.2, 0.8]), 1)
    for count in (1, 6, 9):
        before_after_figure([row] * count, ("a", "b"), tmp_path / f"{count}.png", title="it")
    heights = [read_png(tmp_path / f"{count}.png").shape[0] for count in (1, 6, 9)]
    assert heights[0] < heights[1] == heights[2]


def test_trajectories_of_one_and_of_many_images_are_drawn(tmp_path: Path) -> None:
    trajectories = np.random.default_rng(0).dirichlet(np.ones(12), (20, 7))
    for count in (1, 2, 7):
        names = [f"image {i}" for i in range(count)]
        trajectory_plot(
            names, trajectories[:, :count], tuple("abcdefghijkl"), tmp_path / f"{count}.png", watched=[3]
        )
    assert read_png(tmp_path / "1.png").shape != read_png(tmp_path / "7.png").shape


def test_every_watched_class_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = labels_of_lines(monkeypatch)
    names = tuple("abcdefghijkl")
    # The first is "a", the last is "b", and the others are never likely.
    trajectory = np.linspace([[1.0] + [0.0] * 11], [[0.0, 1.0] + [0.0] * 10], 5)
    trajectory_plot(["it"], trajectory, names, tmp_path / "it.png", watched=range(2, 12))
    assert sorted(drawn) == sorted(names)
