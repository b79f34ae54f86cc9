"""How a genome becomes an image."""

from evofool.encodings.cppn import CPPNOptions, cppn
from evofool.encodings.direct import DirectOptions, direct
from evofool.encodings.encoding import Encoding

__all__ = ["CPPNOptions", "DirectOptions", "Encoding", "cppn", "direct"]
