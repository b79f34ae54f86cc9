"""Registries: what can be chosen by name, and how each choice is configured."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from evofool.errors import EvofoolError, unknown_name


@runtime_checkable
class AnyOptions(Protocol):
    """The options of some choice: an instance of a frozen dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


@dataclass(frozen=True)
class NoOptions:
    """The options of a choice that has none."""


class Entry(NamedTuple):
    """One choice.

    Attributes:
        summary: what it is, in one line.
        options: the dataclass of its options; their order is that of help texts. Each has a default, unless
            the choice is a composition of classifiers.
        build: the function that is configured by these options.
        aliases: other names that the field has for it.
    """

    summary: str
    options: type
    build: Callable[..., Any]
    aliases: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """The summary with the aliases."""
        return f"{self.summary} Also: {', '.join(self.aliases)}." if self.aliases else self.summary


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

    def canonical(self, name: str) -> str:
        """The name of the choice that a name or an alias stands for.

        Raises:
            UsageError: there is none; the nearest name is suggested.
        """
        by_name = {alias: known for known, entry in self.items() for alias in (known, *entry.aliases)}
        if name not in by_name:
            raise unknown_name(self.kind, name, self, [alias for alias in by_name if alias not in self])
        return by_name[name]

    def named(self, name: str) -> Entry:
        """The choice of a name or an alias.

        Raises:
            UsageError: there is none; the nearest name is suggested.
        """
        return self[self.canonical(name)]

    def name_of(self, options: AnyOptions) -> str:
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

    def to_json(self, options: AnyOptions) -> dict[str, Any]:
        """The options as plain values, with the name of their choice."""
        return {"name": self.name_of(options), **to_json(options)}

    def from_json(self, values: Mapping[str, Any]) -> Any:
        """The options that `to_json` was given.

        Raises:
            UsageError: an unknown name, or a value out of range.
            EvofoolError: a value is missing or one too many.
        """
        given = {name: value for name, value in values.items() if name != "name"}
        return from_json(self.named(values["name"]).options, given)


def choice(registry: Registry, default: AnyOptions) -> Any:
    """A field of a dataclass that holds the options of one choice of a registry.

    A dataclass with such fields can be written and read as JSON, and set on the command line.

    Args:
        registry: what can be chosen.
        default: the options of the default choice.

    Example:
        >>> @dataclass(frozen=True)
        ... class Size:
        ...     side: int = 8
        >>> shapes = Registry("shape", {"square": Entry("all sides are equal", Size, lambda size: size.side)})
        >>> @dataclass(frozen=True)
        ... class Drawing:
        ...     colour: str = "red"
        ...     shape: Size = choice(shapes, Size())
        >>> to_json(Drawing())
        {'colour': 'red', 'shape': {'name': 'square', 'side': 8}}
        >>> from_json(Drawing, to_json(Drawing()))
        Drawing(colour='red', shape=Size(side=8))
    """
    return dataclasses.field(default=default, metadata={"registry": registry})


def registry_of(field: dataclasses.Field) -> Registry | None:
    """The registry of a field that `choice` made, None of any other field."""
    return field.metadata.get("registry")


def to_json(options: AnyOptions) -> dict[str, Any]:
    """The fields of a dataclass as plain values, each choice with its name; None stays None."""
    values = {}
    for field in dataclasses.fields(options):
        registry, value = registry_of(field), getattr(options, field.name)
        values[field.name] = value if registry is None or value is None else registry.to_json(value)
    return values


def from_json(options: type, values: Mapping[str, Any]) -> Any:
    """The dataclass whose fields `to_json` was given; JSON's lists become tuples.

    Raises:
        UsageError: an unknown name, or a value out of range.
        EvofoolError: a value is missing or one too many.
    """
    fields = {field.name: registry_of(field) for field in dataclasses.fields(options)}
    if values.keys() != fields.keys():
        raise EvofoolError(f"{options.__name__} has the fields {sorted(fields)}, not {sorted(values)}")
    return options(
        **{
            name: _frozen(value) if registry is None or value is None else registry.from_json(value)
            for name, value in values.items()
            for registry in [fields[name]]
        }
    )


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
