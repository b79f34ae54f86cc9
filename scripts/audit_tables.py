"""Put the figures of audits into a page.

    python scripts/audit_tables.py --page docs/audit.md --audits runs/digits runs/cifar

The page says where. Between `<!-- table: figures -->` and `<!-- end -->` come the figures of all audits, a
column for each; between `<!-- table: digits, summary -->`, after the name of the directory, and
`<!-- end -->` the sentences at the top of its report.
"""

from functools import partial
from pathlib import Path

from run import run
from tables import markdown, renewed

from evofool.studies.audit import FIGURES
from evofool.studies.audit.directory import read_record, require_finished


def main(page: Path, audits: tuple[Path, ...]) -> None:
    """Rewrite the tables of these audits.

    Args:
        page: the Markdown file.
        audits: the directories.
    """
    records = {audit.name: read_record(audit) for audit in audits}
    for path, record in zip(audits, records.values(), strict=True):
        require_finished(path, record)
    tables = {f"{name}, summary": partial(summary, record) for name, record in records.items()}
    tables["figures"] = lambda: figures(list(records.values()))
    page.write_text(renewed(page.read_text(encoding="utf-8"), tables, others=True), encoding="utf-8")


def summary(record: dict) -> str:
    """The sentences at the top of a report, with what was not run."""
    left_out = [f"Not run: {each['part']}: {each['reason']}." for each in record["not_run"]]
    about = record["about"]
    lines = [*record["summary"], *left_out, f"Queries: {about['queries']}. Device: {about['device']}."]
    return "\n".join(f"> {line}" for line in lines)


def figures(records: list[dict]) -> str:
    """The figures of audits, a column for each."""
    rows = []
    for name, kind in FIGURES.items():
        values = [record["figures"].get(name) for record in records]
        if any(value is not None for value in values):
            texts = ["" if value is None else kind.text(value) for value in values]
            rows.append([f"`{name}`", kind.about, *texts])
    return markdown(("name", "what it is", *(record["name"] for record in records)), rows)


if __name__ == "__main__":
    run(main)
