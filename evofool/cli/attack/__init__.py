"""`evofool attack`: a subcommand per attack, and what is particular to some of them."""

from collections.abc import Sequence
from typing import Any

from evofool.attacks import ATTACKS, AttackOptions, Targeted, Untargeted
from evofool.cli.attack.command import AttackCommand, MaybeWithTarget, WithTarget
from evofool.cli.attack.particular import PARTICULAR
from evofool.cli.choices import subcommands
from evofool.registry import Entry

__all__ = ["attack_command"]


def attack_command(args: Sequence[str]) -> Any:
    """The union of all attacks, as tyro parses it.

    Args:
        args: the words after `evofool`, which may name an attack.
    """
    return subcommands(ATTACKS, args, _base, several="epsilon")


def _base(name: str, entry: Entry) -> type[AttackCommand]:
    if name in PARTICULAR:
        return PARTICULAR[name]
    assert issubclass(entry.options, AttackOptions)
    if Targeted not in entry.options.goals:
        return AttackCommand
    return MaybeWithTarget if Untargeted in entry.options.goals else WithTarget
