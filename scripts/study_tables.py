"""Put the tables of studies into a page.

    python scripts/study_tables.py --page docs/studies.md --studies runs/transfer

The page says where: between `<!-- table: transfer, TITLE -->`, after the name of the directory, and
`<!-- end -->`. `TITLE` is that of a table in tables.md, or `notes` for what differs from the source.
"""

import re
from functools import partial
from pathlib import Path

from run import run
from tables import renewed


def main(page: Path, studies: tuple[Path, ...]) -> None:
    """Rewrite the tables of these studies; those of others stay.

    Args:
        page: the Markdown file.
        studies: the directories.
    """
    tables = {
        f"{study.name}, {title}": partial(str, block)
        for study in studies
        for title, block in blocks(study / "tables.md").items()
    }
    page.write_text(renewed(page.read_text(encoding="utf-8"), tables, others=True), encoding="utf-8")


def blocks(path: Path) -> dict[str, str]:
    """What is below each heading of a file."""
    parts = re.split(r"^#+ (.+)$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = {title: block.strip() for title, block in zip(parts[1::2], parts[2::2], strict=True)}
    return {("notes" if title.startswith("What differs") else title): block for title, block in found.items()}


if __name__ == "__main__":
    run(main)
