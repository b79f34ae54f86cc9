"""Subcommands that are made from a registry: one per entry, with the entry's options."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Union

import tyro

from evofool.cli.forms import presented
from evofool.registry import Entry, Registry


def subcommands(registry: Registry, base: Callable[[str, Entry], type]) -> Any:
    """The union of a command per entry, as tyro parses it.

    Args:
        registry: what can be chosen.
        base: the dataclass that the command of an entry extends. The command has in addition `options`, the
            options of the entry, whose flags have no prefix, and the class attributes `name` and `entry`.
    """
    commands = [
        Annotated[
            _command(name, entry, base(name, entry)),
            tyro.conf.subcommand(name, description=entry.described),
        ]
        for name, entry in registry.items()
    ]
    # A union of one type is no union to tyro.
    return Union[(*commands, Annotated[None, tyro.conf.Suppress])]


def _command(name: str, entry: Entry, base: type) -> type:
    made = dataclasses.make_dataclass(
        f"{base.__name__}_{name}",
        [("options", entry.options, dataclasses.field(default_factory=entry.options))],
        bases=(base,),
        namespace={"name": name, "entry": entry, "__doc__": entry.described},
        frozen=True,
        kw_only=True,
    )
    return presented(made)
