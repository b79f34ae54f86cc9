"""Functions from classifier to classifier, named in expressions such as `smoothed(lenet-digits)`."""

from evofool.classifiers.compositions.composition import (
    composition,
    described,
    entry,
    takes_several,
    usage,
)
from evofool.classifiers.compositions.ensemble import Vote, ensemble
from evofool.classifiers.compositions.extra_class import with_extra_class
from evofool.classifiers.compositions.precision import Precision, with_precision
from evofool.classifiers.compositions.preprocessing import (
    blurred,
    eight_bit,
    median_filtered,
    subtract_mean,
)
from evofool.classifiers.compositions.rejecting import rejecting
from evofool.classifiers.compositions.size import CROPPED_SIZE, resized, ten_crop
from evofool.classifiers.compositions.smoothing import smoothed
from evofool.registry import Registry

__all__ = [
    "COMPOSITIONS",
    "CROPPED_SIZE",
    "Precision",
    "Vote",
    "blurred",
    "composition",
    "described",
    "eight_bit",
    "ensemble",
    "entry",
    "median_filtered",
    "rejecting",
    "resized",
    "smoothed",
    "subtract_mean",
    "takes_several",
    "ten_crop",
    "usage",
    "with_extra_class",
    "with_precision",
]

COMPOSITIONS = Registry(
    "composition",
    {
        "ensemble": entry("the mean of several classifiers, or their votes (vote=majority)", ensemble),
        "smoothed": entry("the mean over Gaussian noise (Cohen et al. 2019)", smoothed),
        "ten_crop": entry("the mean over ten crops of a larger image", ten_crop),
        "resized": entry("images of another size, resized", resized),
        "median_filtered": entry("the median of the pixels around each (Xu et al. 2018)", median_filtered),
        "blurred": entry("images blurred by a Gaussian", blurred),
        "eight_bit": entry("images rounded to some levels (Xu et al. 2018)", eight_bit),
        "rejecting": entry("one more class, which wins where no other is certain", rejecting),
        "with_extra_class": entry("a network with one more output, to be trained", with_extra_class),
        "with_precision": entry("computed in another precision", with_precision),
    },
)
"""The compositions by the names of their functions; `build(*classifiers, **options)` makes each.

Options that have no default must be given.
"""
