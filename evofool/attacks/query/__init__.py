"""Attacks that only ask: they need no gradient, and take a `BlackBox` as well as a classifier."""

from evofool.attacks.query.asking import Problem, QueryAttack, attack_by_asking
from evofool.attacks.query.hop_skip_jump import HopSkipJumpOptions, hop_skip_jump
from evofool.attacks.query.nes import NESOptions, nes
from evofool.attacks.query.one_pixel import OnePixelOptions, one_pixel
from evofool.attacks.query.square import SquareOptions, square

__all__ = [
    "HopSkipJumpOptions",
    "NESOptions",
    "OnePixelOptions",
    "Problem",
    "QueryAttack",
    "SquareOptions",
    "attack_by_asking",
    "hop_skip_jump",
    "nes",
    "one_pixel",
    "square",
]
