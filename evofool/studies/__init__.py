"""Studies: each answers one question of the papers.

A study is a file with a dataclass of options and a function from these to a `StudyResult`, and a line in
`STUDIES`.
"""

from evofool.registry import Entry, Registry
from evofool.studies.rubbish import (
    Certainty,
    RubbishOptions,
    certainty,
    certainty_about_noise,
    noise_images_at,
    rubbish,
)
from evofool.studies.study import Column, Figure, Row, StudyResult, Table, save_study

STUDIES = Registry(
    "study",
    {
        "rubbish": Entry(
            "How certain are classifiers about images of noise, which show nothing at all?",
            RubbishOptions,
            rubbish,
        ),
    },
)
"""The studies by their names on the command line."""

__all__ = [
    "STUDIES",
    "Certainty",
    "Column",
    "Figure",
    "Row",
    "RubbishOptions",
    "StudyResult",
    "Table",
    "certainty",
    "certainty_about_noise",
    "noise_images_at",
    "rubbish",
    "save_study",
]
