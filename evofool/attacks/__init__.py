"""Gradient methods: pure functions of a classifier and a batch of images, compiled as a whole."""

from evofool.attacks.attack import (
    AttackResult,
    Goal,
    NoGradientError,
    Targeted,
    Untargeted,
    assess,
    first_step_above,
    input_gradient,
    random_targets,
)
from evofool.attacks.deepfool import deepfool
from evofool.attacks.fast_gradient_sign import fast_gradient_sign
from evofool.attacks.gradient_ascent import Regularisation, gradient_ascent, noise_images
from evofool.attacks.iterated import iterated_gradient_sign
from evofool.attacks.lbfgs import lbfgs
from evofool.attacks.template import add_template, templates
from evofool.attacks.universal import UniversalResult, add_perturbation, universal_perturbation

__all__ = [
    "AttackResult",
    "Goal",
    "NoGradientError",
    "Regularisation",
    "Targeted",
    "UniversalResult",
    "Untargeted",
    "add_perturbation",
    "add_template",
    "assess",
    "deepfool",
    "fast_gradient_sign",
    "first_step_above",
    "gradient_ascent",
    "input_gradient",
    "iterated_gradient_sign",
    "lbfgs",
    "noise_images",
    "random_targets",
    "templates",
    "universal_perturbation",
]
