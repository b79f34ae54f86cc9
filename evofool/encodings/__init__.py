"""How a genome becomes an image."""

from evofool.encodings.cppn import CPPNOptions, cppn
from evofool.encodings.direct import DirectOptions, direct
from evofool.encodings.encoding import Encoding, Estimator
from evofool.encodings.student import StudentOptions, student

__all__ = [
    "CPPNOptions",
    "DirectOptions",
    "Encoding",
    "Estimator",
    "StudentOptions",
    "cppn",
    "direct",
    "student",
]
