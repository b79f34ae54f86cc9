"""Studies: each answers one question of the papers."""

from evofool.studies.rubbish import RubbishResult, rubbish

__all__ = ["RubbishResult", "rubbish"]
