"""Two audits side by side."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evofool.files import unique
from evofool.images import read_png
from evofool.report.attacks import epsilon_plot
from evofool.report.html import inline_file, write_page
from evofool.results import Content, Results
from evofool.results import Kind as KindOfResults
from evofool.studies.audit.directory import damaged, picture_view, read_record, require_finished
from evofool.studies.audit.result import CURVES, FIGURES, ROBUST, Picture
from evofool.studies.directory import save_figures, save_json

COMPARISON = KindOfResults(
    "a comparison of audits",
    {
        "comparison.html": Content("Comparison", "the page: one file, which needs no other"),
        "comparison.json": Content("Figures", "the figures of both audits by name"),
        "figures/": Content("Plots", "a PNG per plot"),
    },
)
"""The results of comparing two audits."""

_SHOWN = 8
"""Groups of images of each gallery."""


def save_comparison(first: Path, second: Path, results: Results) -> list[dict[str, Any]]:
    """Write a page with two finished audits side by side.

    Args:
        first: the directory of an audit.
        second: that of another.
        results: a directory of the kind `COMPARISON`.

    Returns:
        The rows of the table of figures: `name`, both values as they are `shown`, and the `verdict`, whose
        is better.

    Raises:
        UsageError: there is no audit in a directory, or it is not finished.
        EvofoolError: the record of one is damaged, or something cannot be written.
    """
    audits = [_read(first), _read(second)]
    names = unique([audit.name for audit in audits])
    shared = [name for name in FIGURES if any(name in audit.figures for audit in audits)]
    rows = [_compared(name, names, [audit.figures.get(name) for audit in audits]) for name in shared]
    curves = {
        f"{name}: {attack}": curve
        for name, audit in zip(names, audits, strict=True)
        for attack, curve in audit.curves.items()
    }
    results.clear()
    with results.writing():
        figures = {name: [audit.figures.get(name) for audit in audits] for name in shared}
        save_json(results, "comparison.json", {"audits": [first.name, second.name], "figures": figures})
        plots = []
        if curves:
            (file,) = save_figures(results, {CURVES: partial(epsilon_plot, curves, label=ROBUST)})
            plots = [{"src": inline_file(file), "alt": f"Plot: {CURVES}, of {names[0]} and of {names[1]}"}]
        write_page(
            results.add("comparison.html"),
            "comparison.html.jinja",
            title=f"{names[0]} and {names[1]}",
            kicker="Two audits by evofool, side by side",
            names=names,
            rows=rows,
            plots=plots,
            galleries=_side_by_side(audits),
            about=[list(audit.about.items()) for audit in audits],
        )
    return rows


class _Read(NamedTuple):
    """A finished audit, as its directory has it.

    Attributes:
        name: of the classifier.
        figures: by name.
        about: what was audited, with what.
        curves: sizes of changes and accuracies by the name of the attack.
        galleries: the views of images by section and title.
    """

    name: str
    figures: Mapping[str, float]
    about: Mapping[str, str]
    curves: Mapping[str, np.ndarray]
    galleries: Mapping[str, list[list[dict[str, Any]]]]


def _read(path: Path) -> _Read:
    record = read_record(path)
    require_finished(path, record)
    try:
        galleries: dict[str, list[list[dict[str, Any]]]] = {}
        tables: dict[str, list[dict[str, Any]]] = {}
        for section in record["sections"]:
            tables |= section["tables"]
            for title, groups in section["galleries"].items():
                views = [[_picture(path, each) for each in group] for group in groups[:_SHOWN]]
                galleries[f"{section['title']}: {title.lower()}"] = views
        return _Read(
            name=str(record["name"]),
            figures={name: float(value) for name, value in record["figures"].items() if value is not None},
            about={str(name): str(value) for name, value in record["about"].items()},
            curves=_curves(tables.get(CURVES, []), float(record["figures"]["clean_accuracy"])),
            galleries=galleries,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(path) from error


def _picture(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """The view of an image of an audit; its file is inside the directory, whatever the record says."""
    file = (path / record["file"]).resolve()
    if not file.is_relative_to(path.resolve()):
        raise damaged(path)
    return picture_view(Picture(read_png(file), str(record["alt"]), tuple(map(str, record["lines"]))))


def _curves(records: Sequence[Mapping[str, Any]], clean: float) -> dict[str, np.ndarray]:
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        curve = points.setdefault(str(record["attack"]), [(0.0, clean)])
        curve.append((float(record["epsilon"]), float(record["accuracy"])))
    return {attack: np.array(curve) for attack, curve in points.items()}


def _compared(name: str, names: Sequence[str], values: Sequence[float | None]) -> dict[str, Any]:
    """A figure of both audits, and whose is the better one."""
    kind = FIGURES[name]
    first, second = values
    better = None
    if first is not None and second is not None and first != second:
        better = int((second > first) == kind.more_is_better)
    return {
        "name": name,
        "about": kind.about,
        "shown": ["not measured" if value is None else kind.text(value) for value in values],
        "better": better,
        "verdict": "" if better is None else names[better],
    }


def _side_by_side(audits: Sequence[_Read]) -> list[tuple[str, list[list[list[dict[str, Any]]]]]]:
    """The galleries of both audits by title, with an empty one where an audit has none."""
    titles = dict.fromkeys(title for audit in audits for title in audit.galleries)
    return [(title, [audit.galleries.get(title, []) for audit in audits]) for title in titles]
