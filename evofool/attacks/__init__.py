"""Gradient methods: pure functions of a classifier, images and a goal, compiled as a whole.

All have one signature, `attack(classifier, images, goal, options)`, and return an `AttackResult`. A new one
is a file with a dataclass of options and a function, and a line in `ATTACKS`.
"""

from evofool.attacks.attack import (
    AttackResult,
    assess,
    first_step_above,
    input_gradient,
    predicted_classes,
)
from evofool.attacks.deepfool import DeepFoolOptions, deepfool
from evofool.attacks.fast_gradient_sign import FastGradientSignOptions, fast_gradient_sign
from evofool.attacks.goals import Goal, Targeted, Untargeted, random_targets
from evofool.attacks.gradient_ascent import GradientAscentOptions, gradient_ascent, noise_images
from evofool.attacks.iterated import IteratedGradientSignOptions, iterated_gradient_sign
from evofool.attacks.lbfgs import LBFGSOptions, lbfgs
from evofool.attacks.options import AttackOptions
from evofool.attacks.template import TemplateOptions, add_template, templates
from evofool.attacks.universal import UniversalOptions, add_perturbation, universal_perturbation
from evofool.registry import Entry, Registry

ATTACKS = Registry(
    "attack",
    {
        "ascent": Entry(
            "Up the gradient of a class's confidence, from noise or from given images (Nguyen et al. 2015).",
            GradientAscentOptions,
            gradient_ascent,
            aliases=("gradient-ascent",),
        ),
        "fgsm": Entry(
            "One step of equal size in every pixel, along the gradient of the loss (Goodfellow et al. 2015).",
            FastGradientSignOptions,
            fast_gradient_sign,
            aliases=("fast-gradient-sign",),
        ),
        "iterated": Entry(
            "Many small steps of equal size in every pixel: from panda to vulture (Evans).",
            IteratedGradientSignOptions,
            iterated_gradient_sign,
            aliases=("pgd", "bim", "i-fgsm"),
        ),
        "lbfgs": Entry(
            "The smallest change for a target: box-constrained L-BFGS (Szegedy et al. 2014).",
            LBFGSOptions,
            lbfgs,
            aliases=("l-bfgs",),
        ),
        "deepfool": Entry(
            "The shortest step over the nearest decision boundary (Moosavi-Dezfooli et al. 2016).",
            DeepFoolOptions,
            deepfool,
        ),
        "universal": Entry(
            "One change for all images, and for others (Moosavi-Dezfooli et al. 2017).",
            UniversalOptions,
            universal_perturbation,
            aliases=("uap",),
        ),
        "template": Entry(
            "Add the weights of a class to the images: for linear classifiers (Karpathy 2015).",
            TemplateOptions,
            add_template,
        ),
    },
)
"""The attacks by their names on the command line."""

__all__ = [
    "ATTACKS",
    "AttackOptions",
    "AttackResult",
    "DeepFoolOptions",
    "FastGradientSignOptions",
    "Goal",
    "GradientAscentOptions",
    "IteratedGradientSignOptions",
    "LBFGSOptions",
    "Targeted",
    "TemplateOptions",
    "UniversalOptions",
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
    "predicted_classes",
    "random_targets",
    "templates",
    "universal_perturbation",
]
