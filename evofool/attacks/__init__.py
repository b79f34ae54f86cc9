"""Changes of given images: pure functions of a classifier, images and a goal, compiled as a whole.

All have one signature, `attack(classifier, images, goal, options)`, and return an `AttackResult`. A new one
is a file with a dataclass of options and a function, and a line in `ATTACKS`.
"""

from evofool.attacks.apgd import APGDOptions, apgd
from evofool.attacks.attack import (
    AttackResult,
    assess,
    first_step_above,
    input_gradient,
    predicted_classes,
)
from evofool.attacks.auto import AutoAttackOptions, autoattack
from evofool.attacks.deepfool import DeepFoolOptions, deepfool
from evofool.attacks.fab import FABOptions, fab
from evofool.attacks.fast_gradient_sign import FastGradientSignOptions, fast_gradient_sign
from evofool.attacks.goals import Goal, Targeted, Untargeted, random_targets
from evofool.attacks.gradient_ascent import GradientAscentOptions, gradient_ascent, noise_images
from evofool.attacks.iterated import IteratedGradientSignOptions, iterated_gradient_sign
from evofool.attacks.lbfgs import LBFGSOptions, lbfgs
from evofool.attacks.options import AttackOptions
from evofool.attacks.pgd import PGDOptions, pgd
from evofool.attacks.query import (
    HopSkipJumpOptions,
    NESOptions,
    OnePixelOptions,
    SquareOptions,
    hop_skip_jump,
    nes,
    one_pixel,
    square,
)
from evofool.attacks.template import TemplateOptions, add_template, templates
from evofool.attacks.universal import (
    UniversalOptions,
    add_perturbation,
    fooling_rate,
    universal_perturbation,
)
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
            aliases=("bim", "i-fgsm"),
        ),
        "pgd": Entry(
            "Steps within a ball, from several random starts (Madry et al. 2018).",
            PGDOptions,
            pgd,
        ),
        "apgd": Entry(
            "The same with step sizes that adapt, of AutoAttack (Croce & Hein 2020).",
            APGDOptions,
            apgd,
        ),
        "fab": Entry(
            "Small changes, between the image and the boundary (Croce & Hein 2020).",
            FABOptions,
            fab,
        ),
        "auto": Entry(
            "AutoAttack: APGD by two losses, FAB and square, in order (Croce & Hein 2020).",
            AutoAttackOptions,
            autoattack,
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
        "square": Entry(
            "Random squares within a ball; asks and needs no gradient (Andriushchenko et al. 2020).",
            SquareOptions,
            square,
        ),
        "nes": Entry(
            "Sign steps along gradients that are estimated from confidences (Ilyas et al. 2018).",
            NESOptions,
            nes,
        ),
        "hop-skip-jump": Entry(
            "To the nearest point of the boundary, from labels alone (Chen et al. 2020).",
            HopSkipJumpOptions,
            hop_skip_jump,
        ),
        "one-pixel": Entry(
            "A few pixels of any colour, by differential evolution (Su et al. 2019).",
            OnePixelOptions,
            one_pixel,
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
    "APGDOptions",
    "AttackOptions",
    "AttackResult",
    "AutoAttackOptions",
    "DeepFoolOptions",
    "FABOptions",
    "FastGradientSignOptions",
    "Goal",
    "GradientAscentOptions",
    "HopSkipJumpOptions",
    "IteratedGradientSignOptions",
    "LBFGSOptions",
    "NESOptions",
    "OnePixelOptions",
    "PGDOptions",
    "SquareOptions",
    "Targeted",
    "TemplateOptions",
    "UniversalOptions",
    "Untargeted",
    "add_perturbation",
    "add_template",
    "apgd",
    "assess",
    "autoattack",
    "deepfool",
    "fab",
    "fast_gradient_sign",
    "first_step_above",
    "fooling_rate",
    "gradient_ascent",
    "hop_skip_jump",
    "input_gradient",
    "iterated_gradient_sign",
    "lbfgs",
    "nes",
    "noise_images",
    "one_pixel",
    "pgd",
    "predicted_classes",
    "random_targets",
    "square",
    "templates",
    "universal_perturbation",
]
