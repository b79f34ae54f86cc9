"""How a genome becomes an image."""

from evofool.encodings.direct import DirectOptions, direct
from evofool.encodings.encoding import Encoding, Estimator
from evofool.encodings.student import StudentOptions, student

__all__ = ["DirectOptions", "Encoding", "Estimator", "StudentOptions", "direct", "student"]
