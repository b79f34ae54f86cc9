"""Subcommands that are made from a registry: one per entry, with the entry's options."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Union

import tyro

from evofool.cli.forms import presented
from evofool.registry import AnyOptions, Entry, Registry


@dataclass(frozen=True)
class NotNamed:
    """Stands for a command that a command line does not name: a list of commands needs no options."""


def subcommands(
    registry: Registry,
    args: Sequence[str],
    base: Callable[[str, Entry], type],
    begun: Mapping[str, AnyOptions] = {},
    several: str | None = None,
) -> Any:
    """The union of a command per entry, as tyro parses it.

    Args:
        registry: what can be chosen.
        args: the words after `evofool`. The second one may be the name of an entry, which alone gets options.
        base: the dataclass that the command of an entry extends. The command has in addition `options`, the
            options of the entry, whose flags have no prefix, and the class attributes `name` and `entry`.
        begun: options by the name of their entry, to be its defaults.
        several: an option that takes one number or more, as `presented` says.
    """
    commands = [
        Annotated[
            _command(name, entry, base(name, entry), begun.get(name), several)
            if name in args[1:2]
            else NotNamed,
            tyro.conf.subcommand(name, description=entry.described),
        ]
        for name, entry in registry.items()
    ]
    # A union of one type is no union to tyro.
    return Union[(*commands, Annotated[None, tyro.conf.Suppress])]


def _command(name: str, entry: Entry, base: type, options: AnyOptions | None, several: str | None) -> type:
    default = entry.options if options is None else lambda: options
    made = dataclasses.make_dataclass(
        f"{base.__name__}_{name}",
        [("options", entry.options, dataclasses.field(default_factory=default))],
        bases=(base,),
        namespace={"name": name, "entry": entry, "__doc__": entry.described},
        frozen=True,
        kw_only=True,
    )
    return presented(made, several)
