"""The directory of a study: what is written there, and how a study that was stopped goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evofool import registry
from evofool.errors import EvofoolError
from evofool.files import file_name, replacing, save_table, unique, without_nan
from evofool.registry import AnyOptions, Registry
from evofool.results import Content, Kind, Results
from evofool.studies.study import Figure, StudyResult, Table

STEPS = "steps/"
"""Where a study keeps what it has computed."""

KIND = Kind(
    "a study",
    {
        "tables.md": Content("Tables", "all tables, and what differs from the source"),
        "tables/": Content("Values", "the same as CSV, a file per table"),
        "figures/": Content("Figures", "a PNG per figure"),
        "study.json": Content("Study", "the options and all tables as JSON"),
        STEPS: Content("Steps", "of a long study: networks and images, from which a stopped study goes on"),
    },
)
"""The results of a study."""

_STUDY = "study.json"


def begin_study(name: str, options: AnyOptions, results: Results) -> None:
    """Remove old results, and say which study follows."""
    results.clear()
    with results.writing():
        save_json(results, _STUDY, {"study": name, "options": registry.to_json(options)})


def options_of(path: Path, studies: Registry) -> tuple[str, Any]:
    """The name and the options of the study in a directory, finished or not.

    Args:
        path: the directory.
        studies: the studies by name.

    Raises:
        UsageError: there is no study in it.
        EvofoolError: its options are damaged.
    """
    file = Results.open(path, KIND).path / _STUDY
    try:
        record = json.loads(file.read_bytes())
        name = record["study"]
        return name, registry.from_json(studies[name].options, record["options"])
    except OSError as error:
        raise EvofoolError(f"cannot read {file}: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, EvofoolError) as error:
        raise EvofoolError(
            f"{file} is damaged or of another version of evofool, so the study cannot go on: begin it anew"
        ) from error


def save_study(result: StudyResult, name: str, options: AnyOptions, results: Results) -> None:
    """Write the tables as Markdown, CSV and JSON, and the figures as PNG.

    Args:
        result: of the study.
        name: of the study.
        options: the dataclass of its options.
        results: a directory of the kind `KIND`, for which `begin_study` was called.

    Raises:
        EvofoolError: something cannot be written.

    Example:
        >>> import tempfile
        >>> from evofool.registry import NoOptions
        >>> from evofool.studies import Column, Row, Table
        >>> table = Table({"share": Column("share of all", "{:.0%}".format)}, [Row({"share": 0.5})])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     results = Results.create(Path(folder, "out"), KIND)
        ...     begin_study("halves", NoOptions(), results)
        ...     save_study(StudyResult({"Halves": table}), "halves", NoOptions(), results)
        ...     print(Path(folder, "out", "tables.md").read_text().strip())
        # Halves
        <BLANKLINE>
        | share of all |
        | --- |
        | 50% |
    """
    with results.writing():
        _save_text(results.add("tables.md"), _markdown(result))
        values = {
            "study": name,
            "options": registry.to_json(options),
            "tables": {name: table.records() for name, table in result.tables.items()},
            "differences": list(result.differences),
        }
        save_json(results, _STUDY, values)
        save_tables(results, result.tables)
        save_figures(results, result.figures)


def save_tables(results: Results, tables: Mapping[str, Table]) -> None:
    """Write tables as CSV, each into a file that is named after its title, in the folder `tables/`."""
    for file, table in zip(_file_names(tables), tables.values(), strict=True):
        save_table(results.add(f"tables/{file}.csv"), table.records())


def save_figures(results: Results, figures: Mapping[str, Figure]) -> list[Path]:
    """Draw figures as PNG, each into a file that is named after its title, in the folder `figures/`."""
    files = [results.add(f"figures/{file}.png") for file in _file_names(figures)]
    for file, (title, draw) in zip(files, figures.items(), strict=True):
        draw(path=file, title=title)
    return files


def save_json(results: Results, name: str, values: Mapping[str, Any]) -> None:
    """Write values as JSON, with null in place of what is not a number."""
    text = json.dumps(without_nan(values), indent=1, ensure_ascii=False, allow_nan=False)
    _save_text(results.add(name), text)


def _markdown(result: StudyResult) -> str:
    blocks = []
    for name, table in result.tables.items():
        headings = [column.heading for column in table.columns.values()]
        lines = [headings, ["---"] * len(headings)]
        lines += [
            [f"*{text}*" if text and row.reported else text for text in table.texts(row)]
            for row in table.rows
        ]
        blocks += [f"# {name}", "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)]
        blocks += [f"[{number}] {source}" for number, source in enumerate(table.sources, 1)]
    if result.differences:
        blocks += ["## What differs from the source", "\n".join(f"- {line}" for line in result.differences)]
    return "\n\n".join(blocks) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _file_names(titles: Mapping[str, Any]) -> list[str]:
    return unique([file_name(title) or "_" for title in titles])


def _save_text(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
