"""Studies: each answers one question of the papers.

A study is a file with a dataclass of options and a function from these to a `StudyResult`, and a line in
`STUDIES`.
"""

from evofool.registry import Entry, Registry
from evofool.studies.certainty import Certainty, certainty, certainty_about_noise, noise_images_at
from evofool.studies.defences import DefencesOptions, defences
from evofool.studies.directory import begin_study, save_study
from evofool.studies.retrain import RetrainOptions, retrain
from evofool.studies.rubbish import RubbishOptions, rubbish
from evofool.studies.study import Column, Figure, Row, Spread, StudyResult, Table
from evofool.studies.substitute import SubstituteOptions, substitute
from evofool.studies.transfer import TransferOptions, transfer
from evofool.studies.universal import UniversalStudyOptions, universal
from evofool.studies.work import Work

STUDIES = Registry(
    "study",
    {
        "defences": Entry(
            "Do defences help, against one who does not know of them and against one who does?",
            DefencesOptions,
            defences,
        ),
        "retrain": Entry(
            "Can a classifier learn not to be fooled, if it is shown the images that fooled it?",
            RetrainOptions,
            retrain,
        ),
        "rubbish": Entry(
            "How certain are classifiers about images of noise, which show nothing at all?",
            RubbishOptions,
            rubbish,
        ),
        "substitute": Entry(
            "Can a classifier be fooled by one who may only ask it?", SubstituteOptions, substitute
        ),
        "transfer": Entry(
            "Do images that fool one classifier fool another?",
            TransferOptions,
            transfer,
        ),
        "universal": Entry(
            "Does one change fool every classifier on most images, and can it be learnt away?",
            UniversalStudyOptions,
            universal,
        ),
    },
)
"""The studies by their names on the command line."""

__all__ = [
    "STUDIES",
    "Certainty",
    "Column",
    "Figure",
    "RetrainOptions",
    "Row",
    "RubbishOptions",
    "Spread",
    "StudyResult",
    "Table",
    "TransferOptions",
    "Work",
    "begin_study",
    "certainty",
    "certainty_about_noise",
    "noise_images_at",
    "retrain",
    "rubbish",
    "save_study",
    "transfer",
]
