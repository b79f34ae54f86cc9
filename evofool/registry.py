"""Registries: what can be chosen by name, and how each choice is configured."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from evofool.errors import EvofoolError, unknown_name


@dataclass(frozen=True)
class NoOptions:
    """The options of a choice that has none."""


class Entry(NamedTuple):
    """One choice.

    Attributes:
        summary: what it is, in one line.
        options: the dataclass of its options, each with a default; their order is that of help texts.
        build: the function that is configured by these options.
    """

    summary: str
    options: type
    build: Callable[..., Any]


class Registry(dict[str, Entry]):
    """Choices by name. No two that have options share a class of options, so options tell their choice.

    Args:
        kind: what a name stands for in error messages, as in "encoding".
        entries: the choices.

    Example:
        >>> @dataclass(frozen=True)
        ... class Size:
        ...     side: int = 8
        >>> square = Entry("all sides are equal", Size, lambda options: options.side)
        >>> shapes = Registry("shape", {"square": square})
        >>> shapes.name_of(Size()), shapes.to_json(Size(3))
        ('square', {'name': 'square', 'side': 3})
        >>> shapes.from_json({"name": "square", "side": 3})
        Size(side=3)
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry]) -> None:
        super().__init__(entries)
        self.kind = kind

    def named(self, name: str) -> Entry:
        """The choice of a name.

        Raises:
            UsageError: there is none; the nearest name is suggested.
        """
        if name not in self:
            raise unknown_name(self.kind, name, self)
        return self[name]

    def name_of(self, options: Any) -> str:
        """The name of the choice that these are options of.

        Raises:
            UsageError: they are options of something else.
        """
        for name, entry in self.items():
            if type(options) is entry.options:
                return name
        raise unknown_name(
            f"options of a {self.kind}", type(options).__name__, [e.options.__name__ for e in self.values()]
        )

    def to_json(self, options: Any) -> dict[str, Any]:
        """The options as plain values, with the name of their choice."""
        return {"name": self.name_of(options), **dataclasses.asdict(options)}

    def from_json(self, values: Mapping[str, Any]) -> Any:
        """The options that `to_json` was given.

        Raises:
            UsageError: an unknown name, or a value out of range.
            EvofoolError: a value is missing or one too many.
        """
        given = {name: value for name, value in values.items() if name != "name"}
        options = self.named(values["name"]).options
        known = {field.name for field in dataclasses.fields(options)}
        if given.keys() != known:
            raise EvofoolError(
                f"{self.kind} {values['name']!r} has the options {sorted(known)}, not {sorted(given)}"
            )
        return options(**given)
