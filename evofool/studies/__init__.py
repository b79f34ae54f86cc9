"""Studies: each answers one question of the papers."""

from evofool.studies.rubbish import RubbishResult, certainty, noise_images_at, rubbish

__all__ = ["RubbishResult", "certainty", "noise_images_at", "rubbish"]
