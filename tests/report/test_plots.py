"""Convergence and reward plots show the records of a run, whatever their number."""

import warnings

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes

from evofool.errors import UsageError
from evofool.images import read_png
from evofool.report import ReportedMedian, convergence_plot, reward_plot


def records_of(confidences):
    """Records of a run, from an array of generations by classes."""
    quantiles = np.quantile(confidences, [0, 0.25, 0.5, 0.75, 1], axis=1)
    names = [f"{name}_confidence" for name in ("min", "lower_quartile", "median", "upper_quartile", "max")]
    return [
        {"generation": g + 1, "evaluations": 200 * (g + 1), **dict(zip(names, map(float, row), strict=True))}
        for g, row in enumerate(quantiles.T)
    ]


def rising(generations, classes=10):
    speed = np.linspace(0.5, 2, classes)
    return 1 - 0.9 * np.exp(-np.arange(generations)[:, None] * speed * 12 / generations)


NONE_YET = [dict.fromkeys(records_of(rising(1))[0], -np.inf) | {"generation": g} for g in range(5)]


@pytest.mark.parametrize(
    "records",
    [
        records_of(rising(1)),
        records_of(rising(2)),
        records_of(rising(5000)),
        records_of(np.ones((50, 10))),
        records_of(np.zeros((5, 10))),
        NONE_YET,
        NONE_YET + [record | {"generation": record["generation"] + 5} for record in records_of(rising(20))],
    ],
    ids=["one", "two", "thousands", "certain", "hopeless", "none yet", "none at first"],
)
def test_records_of_any_length_and_range_are_plotted(tmp_path, records):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        convergence_plot(records, tmp_path / "curve.png", title="LeNet for $5, or $6")
    picture = read_png(tmp_path / "curve.png")
    assert picture.shape == (660, 1500, 3)
    assert picture.std() > 10


def test_the_curves_follow_the_confidence_in_both_panels(tmp_path):
    for name, confidences in (("high", np.full((9, 10), 0.99)), ("low", np.full((9, 10), 0.1))):
        convergence_plot(records_of(confidences), tmp_path / f"{name}.png")
    differing = np.nonzero((read_png(tmp_path / "high.png") != read_png(tmp_path / "low.png")).any(-1))
    assert np.ptp(differing[1]) > 1000
    assert np.ptp(differing[0]) > 200


def test_a_reported_median_is_marked_at_its_height(tmp_path):
    pictures = {}
    for name, reported in (
        ("none", None),
        ("low", ReportedMedian(0.2159, "somebody")),
        ("high", ReportedMedian(0.8811, "somebody")),
    ):
        convergence_plot(records_of(np.full((9, 10), 0.5)), tmp_path / f"{name}.png", reported=reported)
        pictures[name] = read_png(tmp_path / f"{name}.png")
    # Above the legend, which is under the panels.
    rows = {
        name: np.nonzero((pictures[name] != pictures["none"])[:500].any(axis=(1, 2)))[0]
        for name in ("low", "high")
    }
    assert 0 < len(rows["high"]) < 20
    assert 0 < len(rows["low"]) < 20
    assert rows["high"].min() < rows["low"].min()
    assert rows["high"].max() < rows["low"].max()


def test_plotting_leaves_the_global_style_unchanged(tmp_path):
    before = dict(matplotlib.rcParams)
    convergence_plot(records_of(rising(20)), tmp_path / "curve.png")
    assert dict(matplotlib.rcParams) == before


def test_missing_records_and_numbers_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no records"):
        convergence_plot([], tmp_path / "curve.png")
    with pytest.raises(UsageError, match="'median_confidence'"):
        convergence_plot([{"generation": 1}], tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", [1, 10, 30])
def test_every_class_has_a_reward_line_of_its_own_style(tmp_path, monkeypatch, count):
    drawn = []
    plot = Axes.plot

    def recording(axes, *args, **options):
        (line,) = plot(axes, *args, **options)
        drawn.append((axes.get_title("left"), line.get_label(), line.get_color(), line.get_linestyle()))
        return [line]

    monkeypatch.setattr(Axes, "plot", recording)
    rewards = np.linspace(0, 1, 5 * count).reshape(5, count)
    records = [
        {"generation": g, "mean_rewards": row.tolist(), "max_rewards": row.tolist()}
        for g, row in enumerate(rewards)
    ]
    reward_plot(records, [f"a class of a long name, {i}" for i in range(count)], tmp_path / "rewards.png")
    assert read_png(tmp_path / "rewards.png").shape == (660, 1500, 3)
    first, second = drawn[:count], drawn[count:]
    assert [line[1:] for line in first] == [line[1:] for line in second]
    assert len({line[2:] for line in first}) == len({line[1] for line in first}) == count
