"""`evofool attack`: one dataclass per method, and what they share."""

from evofool.cli.attack.methods import METHODS, Attack

__all__ = ["METHODS", "Attack"]
