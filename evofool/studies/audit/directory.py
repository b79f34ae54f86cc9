"""The directory of an audit: a page for a reader, and the same as JSON, CSV and PNG."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evofool import registry
from evofool.errors import EvofoolError, UsageError
from evofool.files import file_name, unique
from evofool.images import write_png
from evofool.report.html import inline_file, inline_image, write_page
from evofool.results import Content, Results
from evofool.results import Kind as KindOfResults
from evofool.studies.audit.options import AuditOptions
from evofool.studies.audit.result import FIGURES, AuditResult, Picture, Section
from evofool.studies.directory import STEPS, save_figures, save_json, save_tables
from evofool.studies.study import Table

AUDIT = KindOfResults(
    "an audit",
    {
        "report.html": Content("Report", "the page: one file, which needs no other"),
        "audit.json": Content("Figures", "the figures by name, and all that the page says"),
        "tables/": Content("Tables", "a CSV per table"),
        "figures/": Content("Plots", "a PNG per plot"),
        "images/": Content("Images", "an 8-bit PNG per image of the page, and per class"),
        STEPS: Content("Steps", "what was computed, from which a stopped audit goes on"),
    },
)
"""The results of an audit."""

RECORD = "audit.json"
_SMALL = 64
_MOST_ROWS = 250
_CARDS = (
    "clean_accuracy",
    "robust_accuracy",
    "direct_above_99",
    "cppn_above_99",
    "warned",
    "universal_fooling_rate",
)
_SUREST = 4


@dataclass(frozen=True)
class Begun:
    """What the directory of an audit says of how it was begun.

    Attributes:
        options: of the audit.
        command: the words of the command line; empty if there was none.
    """

    options: AuditOptions
    command: str


def begin_audit(begun: Begun, results: Results) -> None:
    """Remove old results, and say which audit follows."""
    results.clear()
    with results.writing():
        save_json(results, RECORD, _recorded(begun))


def read_begun(path: Path) -> Begun:
    """How the audit in a directory was begun, finished or not.

    Raises:
        UsageError: there is no audit in it.
        EvofoolError: its record is damaged.
    """
    record = read_record(path)
    try:
        return Begun(registry.from_json(AuditOptions, record["options"]), str(record["command"]))
    except (KeyError, TypeError, ValueError, AttributeError, EvofoolError) as error:
        raise damaged(path) from error


def read_record(path: Path) -> dict[str, Any]:
    """What audit.json of a directory holds.

    Raises:
        UsageError: there is no audit in it.
        EvofoolError: it cannot be read.
    """
    file = Results.open(path, AUDIT).path / RECORD
    try:
        record = json.loads(file.read_bytes())
        if not isinstance(record, dict):
            raise ValueError("it is no object")
    except OSError as error:
        raise EvofoolError(f"cannot read {file}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path) from error
    return record


def save_audit(result: AuditResult, begun: Begun, results: Results) -> None:
    """Write the page, and the same as JSON, CSV and PNG.

    Args:
        result: of the audit.
        begun: how it was begun.
        results: a directory of the kind `AUDIT`, for which `begin_audit` was called.

    Raises:
        EvofoolError: something cannot be written.
    """
    with results.writing():
        save_tables(
            results, {title: table for each in result.sections for title, table in each.tables.items()}
        )
        plots = {title: draw for each in result.sections for title, draw in each.plots.items()}
        plot_files = dict(zip(plots, save_figures(results, plots), strict=True))
        ids = unique([file_name(section.title).lower() for section in result.sections])
        views = [_view(section, name, plot_files) for section, name in zip(result.sections, ids, strict=True)]
        records = [
            _save_section(section, name, results, plot_files)
            for section, name in zip(result.sections, ids, strict=True)
        ]
        values = {
            "name": result.name,
            "summary": list(result.summary),
            "figures": dict(result.figures),
            "sections": records,
            "not_run": [each._asdict() for each in result.not_run],
            "about": dict(result.about),
        }
        save_json(results, RECORD, _recorded(begun) | values)
        write_page(
            results.add("report.html"),
            "audit.html.jinja",
            title=f"How easily is {result.name} fooled?",
            kicker="An audit by evofool",
            name=result.name,
            summary=result.summary,
            cards=[_card(name, result.figures[name]) for name in _CARDS if name in result.figures],
            surest=_surest(result.sections),
            sections=views,
            not_run=result.not_run,
            about=result.about.items(),
            command=begun.command,
            figures=_named(result.figures),
        )


def picture_view(picture: Picture) -> dict[str, Any]:
    """A picture as the templates take it."""
    small = max(picture.pixels.shape[:2]) < _SMALL
    return {
        "src": inline_image(picture.pixels),
        "alt": picture.alt,
        "lines": picture.lines,
        "small": small,
    }


def table_view(title: str, table: Table) -> dict[str, Any]:
    """A table as the templates take it: texts, and which columns have numbers."""
    shown = table.rows[:_MOST_ROWS]
    name = title if len(shown) == len(table.rows) else f"{title} (the first of {len(table.rows):,})"
    return {
        "title": name,
        "headings": [column.heading for column in table.columns.values()],
        "numbers": [
            not any(isinstance(row.cells.get(column), str) for row in table.rows) for column in table.columns
        ],
        "rows": [table.texts(row) for row in shown],
    }


def _view(section: Section, name: str, plots: Mapping[str, Path]) -> dict[str, Any]:
    return {
        "id": name,
        "title": section.title,
        "sentences": section.sentences,
        "galleries": [
            (title, [[picture_view(picture) for picture in group] for group in groups])
            for title, groups in section.galleries.items()
        ],
        "plots": [
            {"src": inline_file(plots[title]), "alt": f"Plot: {title}. {section.sentences[0]}"}
            for title in section.plots
        ],
        "tables": [table_view(title, table) for title, table in section.tables.items()],
    }


def _save_section(section: Section, name: str, results: Results, plots: Mapping[str, Path]) -> dict[str, Any]:
    """Save the images of a section; returns what the record says of it."""
    galleries = {}
    for number, (title, groups) in enumerate(section.galleries.items(), 1):
        galleries[title] = [
            [
                _save_picture(picture, f"images/{name}/{number}-{place:03}-{part}.png", results)
                for part, picture in enumerate(group)
            ]
            for place, group in enumerate(groups)
        ]
    return {
        "title": section.title,
        "sentences": list(section.sentences),
        "galleries": galleries,
        "plots": {title: str(plots[title].relative_to(results.path)) for title in section.plots},
        "tables": {title: table.records() for title, table in section.tables.items()},
    }


def _save_picture(picture: Picture, file: str, results: Results) -> dict[str, Any]:
    write_png(results.add(file), picture.pixels)
    return {"file": file, "alt": picture.alt, "lines": list(picture.lines)}


def _surest(sections: Sequence[Section]) -> list[list[dict[str, Any]]]:
    """The first images of the first two galleries of evolved images, for the top of the page."""
    evolved = [
        groups
        for section in sections
        if section.title.startswith("Evolved")
        for groups in section.galleries.values()
    ]
    return [[picture_view(*group)] for groups in evolved for group in groups[:_SUREST]]


def _card(name: str, value: float) -> dict[str, Any]:
    kind = FIGURES[name]
    return {"value": kind.text(value), "about": kind.about, "share": value if 0 <= value <= 1 else None}


def _named(figures: Mapping[str, float]) -> dict[str, Any]:
    """All figures with their names, as a table."""
    return {
        "title": "All figures",
        "headings": ["name", "value", "what it is"],
        "numbers": [False, True, False],
        "rows": [[name, FIGURES[name].text(value), FIGURES[name].about] for name, value in figures.items()],
    }


def _recorded(begun: Begun) -> dict[str, Any]:
    return {"options": registry.to_json(begun.options), "command": begun.command}


def damaged(path: Path) -> EvofoolError:
    """The error for an audit whose record cannot be used."""
    return EvofoolError(f"{path / RECORD} is damaged, so the audit cannot be used: make it anew")


def require_finished(path: Path, record: Mapping[str, Any]) -> None:
    """Raise `UsageError` unless the record is of an audit that is finished."""
    if "figures" not in record:
        raise UsageError(f"the audit in {path} is not finished: go on with evofool audit --resume {path}")
