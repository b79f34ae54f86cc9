"""How a genome becomes an image."""

from evofool.encodings.cppn import cppn
from evofool.encodings.direct import direct
from evofool.encodings.encoding import Encoding

__all__ = ["Encoding", "cppn", "direct"]
