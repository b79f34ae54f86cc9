"""How a genome becomes an image."""

from evofool.encodings.direct import DirectOptions, direct
from evofool.encodings.encoding import Encoding

__all__ = ["DirectOptions", "Encoding", "direct"]
