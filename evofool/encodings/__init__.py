"""Encodings: how a genome becomes an image."""

from evofool.encodings.cppn import CPPNOptions, cppn
from evofool.encodings.direct import DirectOptions, IsoLineVariation, SourceVariation, direct
from evofool.encodings.encoding import Encoding, Estimator
from evofool.encodings.student import GaussianVariation, StudentOptions, student
from evofool.registry import Entry, Registry

ENCODINGS = Registry(
    "encoding",
    {
        "direct": Entry("one gene per pixel and channel", DirectOptions, direct),
        "cppn": Entry("a network from a pixel's place to its colour, evolved as a graph", CPPNOptions, cppn),
        "student": Entry(
            "a two-layer network that draws in black and white on a blank page", StudentOptions, student
        ),
    },
)
"""The encodings by name; each is a function `thing(image_shape, options)`."""

__all__ = [
    "ENCODINGS",
    "CPPNOptions",
    "DirectOptions",
    "Encoding",
    "Estimator",
    "GaussianVariation",
    "IsoLineVariation",
    "SourceVariation",
    "StudentOptions",
    "cppn",
    "direct",
    "student",
]
