"""Attacks that only ask: they need no gradient, and take a `BlackBox` as well as a classifier."""

from evofool.attacks.query.asking import Problem, QueryAttack, attack_by_asking
from evofool.attacks.query.square import SquareOptions, square

__all__ = ["Problem", "QueryAttack", "SquareOptions", "attack_by_asking", "square"]
