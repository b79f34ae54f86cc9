"""Labelled images that classifiers learn from: two sets of handwritten digits, or a folder of images.

Everything here is NumPy: scaling pixels and moving them to a device is left to the caller.
"""

from evofool.datasets.dataset import Dataset
from evofool.datasets.digits import DIGIT_NAMES
from evofool.datasets.downloads import cache_folder
from evofool.datasets.known import DATASETS, load_dataset
from evofool.datasets.mnist import fetch, read_idx

__all__ = ["DATASETS", "DIGIT_NAMES", "Dataset", "cache_folder", "fetch", "load_dataset", "read_idx"]
