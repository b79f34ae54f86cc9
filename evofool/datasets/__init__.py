"""Labelled images that classifiers learn from: handwritten digits, colour photographs, or a folder of images.

Everything here is NumPy: scaling pixels and moving them to a device is left to the caller.
"""

from evofool.datasets.dataset import Dataset, Half, half, with_extra_class
from evofool.datasets.digits import DIGIT_NAMES
from evofool.datasets.downloads import cache_folder
from evofool.datasets.known import DATASETS, DOWNLOADABLE, fetch, load_dataset
from evofool.datasets.mnist import read_idx
from evofool.datasets.stored import StoredImages

__all__ = [
    "DATASETS",
    "DIGIT_NAMES",
    "DOWNLOADABLE",
    "Dataset",
    "Half",
    "StoredImages",
    "cache_folder",
    "fetch",
    "half",
    "load_dataset",
    "read_idx",
    "with_extra_class",
]
