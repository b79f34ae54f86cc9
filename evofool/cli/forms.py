"""Commands whose options depend on choices: only `--encoding cppn` has `--cppn.hidden-nodes`.

A command is a dataclass. A field made by `evofool.registry.choice` becomes an option that names the choice,
and the options of that choice. The choices are read from the command line first. Then a dataclass made for
them, the form of the command, parses the command line.
"""

import dataclasses
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

import tyro

from evofool.errors import UsageError
from evofool.registry import AnyOptions, Registry, registry_of

Command = TypeVar("Command", bound=AnyOptions)

_SEVERAL = Annotated[tuple[float, ...], tyro.conf.arg(metavar="FLOAT...")]
"""The type of a field that takes one number or more."""

_BY_NAME = "encoding"
"""The kind of choice whose options begin with its name, as in `--direct.variation`."""

_MOST_CHOICES = 3
"""How many choices the message about an option of other choices names at most."""


class _Option(NamedTuple):
    """An option of a command, or of the options inside it.

    Attributes:
        flag: as it is written on the command line.
        path: the names of the fields that lead to it.
        value: its value, or the options of the choice that it names.
        registry: what can be chosen, if it names a choice.
    """

    flag: str
    path: tuple[str, ...]
    value: Any
    registry: Registry | None


def with_choices(command: Command, args: Sequence[str]) -> Command:
    """The command with the choices that a command line names; everything else is kept.

    Raises:
        UsageError: a choice has an unknown name, or an option belongs to another choice.
    """
    given = given_options(args)
    chosen = _choose(command, given)
    known = _flags(chosen)
    for flag in given:
        if flag not in known and (choices := needed(command, chosen, flag)):
            raise UsageError(f"{flag} requires {choices}")
    return chosen


def given_options(args: Sequence[str]) -> dict[str, str]:
    """Each option of a command line with the word after it."""
    given = {}
    for word, following in itertools.zip_longest(args, args[1:], fillvalue=""):
        if word.startswith("--"):
            flag, equals, value = word.partition("=")
            given[flag.replace("_", "-")] = value if equals else following
    return given


def form_of(command: AnyOptions, several: str | None = None) -> type:
    """A dataclass that parses the options of a command; its defaults are the values of the command.

    Args:
        command: the command, or the options of a choice.
        several: a field that takes one value or more.
    """
    hints = get_type_hints(type(command), include_extras=True)
    fields: list[tuple[str, Any, Any]] = []
    for field in dataclasses.fields(command):
        registry, value = registry_of(field), getattr(command, field.name)
        if not isinstance(value, AnyOptions):
            hint = hints[field.name]
            if field.name == several:
                hint, value = _SEVERAL, () if value is None else (value,)
            if registry is None:
                fields.append((field.name, _as_shown(hint, value), value))
            continue
        name = ""
        if registry is not None:
            chosen = registry.name_of(value)
            name = chosen if registry.kind == _BY_NAME else ""
            if len(registry) > 1:
                names: Any = tyro.extras.literal_type_from_choices(list(registry))
                fields.append((field.name, Annotated[names, tyro.conf.arg(name=registry.kind)], chosen))
        inner = form_of(value)
        fields.append((_inner(field.name), Annotated[inner, tyro.conf.arg(name=name)], inner()))
    made = [(name, hint, dataclasses.field(default=default)) for name, hint, default in fields]
    return dataclasses.make_dataclass(
        type(command).__name__, made, frozen=True, namespace={"__doc__": _documentation(type(command))}
    )


def _documentation(options: type) -> str:
    """The docstring of a dataclass with the attributes of those that it extends."""
    texts = [
        inspect.cleandoc(each.__doc__ or "") for each in options.__mro__ if dataclasses.is_dataclass(each)
    ]
    summary = texts[0].partition("Attributes:")[0]
    # The parser takes the last text of an attribute, which is that of the class itself.
    attributes = [text.partition("Attributes:\n")[2].partition("\n\n")[0] for text in reversed(texts)]
    return f"{summary}Attributes:\n" + "\n".join(filter(None, attributes))


def presented(command: type, several: str | None = None) -> type:
    """A command whose help hides defaults of None and (), which its texts explain.

    Args:
        command: a dataclass; where a field has a factory, it makes options, whose flags have no prefix.
        several: a field of the options that takes one number or more. The command then has `variants`: the
            options with each of them.
    """
    hints = get_type_hints(command, include_extras=True)
    made: list[tuple[str, Any, Any]] = []
    options = {}
    for each in dataclasses.fields(command):
        if each.default in (None, ()):
            hint = _as_shown(hints[each.name], each.default)
            made.append((each.name, hint, dataclasses.field(default=each.default)))
        elif each.default_factory is not dataclasses.MISSING:
            options[each.name] = each.default_factory()
            form = form_of(options[each.name], several)
            hint = Annotated[form, tyro.conf.arg(name="")]
            made.append((each.name, hint, dataclasses.field(default_factory=form)))

    def fill_in(self: Any) -> None:
        for name, default in options.items():
            forms = _each_alone(getattr(self, name), several, default)
            variants = [filled_in(default, form) for form in forms]
            object.__setattr__(self, name, variants[0])
            object.__setattr__(self, "variants", variants)

    return dataclasses.make_dataclass(
        command.__name__,
        made,
        bases=(command,),
        namespace={"__doc__": command.__doc__, "__post_init__": fill_in},
        frozen=True,
    )


def _each_alone(form: Any, several: str | None, default: AnyOptions) -> list[Any]:
    """A form for each value of the field that takes several; the default where none is given."""
    if several is None or not hasattr(form, several):
        return [form]
    values = getattr(form, several) or (getattr(default, several),)
    return [dataclasses.replace(form, **{several: value}) for value in values]


def filled_in(command: Command, form: Any) -> Command:
    """The command with the values that its form has parsed."""
    values = {}
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        if isinstance(value, AnyOptions):
            values[field.name] = filled_in(value, getattr(form, _inner(field.name)))
        else:
            values[field.name] = getattr(form, field.name, value)
    return dataclasses.replace(command, **values)


def all_flags(command: AnyOptions) -> set[str]:
    """The options that a command has with any of its choices."""
    return set().union(*map(_flags, _all_choices(command).values()))


def other_choices(command: AnyOptions) -> list[str]:
    """The choices other than those of the command, as written on the command line."""
    return [
        f"{option.flag} {name}"
        for option in _options(command)
        if option.registry is not None
        for name in option.registry
        if name != option.registry.name_of(option.value)
    ]


def _options(options: AnyOptions, path: tuple[str, ...] = (), prefix: str = "") -> Iterator[_Option]:
    for field in dataclasses.fields(options):
        registry, value, here = registry_of(field), getattr(options, field.name), (*path, field.name)
        if not isinstance(value, AnyOptions):
            if registry is None:
                yield _Option(_flag(prefix, field.name), here, value, None)
            continue
        inner = prefix
        if registry is not None:
            if len(registry) > 1:
                yield _Option(_flag(prefix, registry.kind), here, value, registry)
            inner = f"{registry.name_of(value)}." if registry.kind == _BY_NAME else prefix
        yield from _options(value, here, inner)


def _flag(prefix: str, name: str) -> str:
    return f"--{prefix}{name}".replace("_", "-")


def _flags(command: AnyOptions) -> set[str]:
    """All options of a command with its choices, including those that switch something off."""
    flags = set()
    for option in _options(command):
        flags.add(option.flag)
        if isinstance(option.value, bool):
            group, _, name = option.flag.removeprefix("--").rpartition(".")
            flags.add(f"--{group}.no-{name}" if group else f"--no-{name}")
    return flags


def _choose(command: Command, given: Mapping[str, str]) -> Command:
    """The command with the choices in `given`, as far as it offers them."""
    for option in _options(command):
        if option.registry is not None and option.flag in given:
            entry = option.registry.named(given[option.flag])
            if type(option.value) is not entry.options:
                return _choose(_replaced(command, option.path, entry.options()), given)
    return command


def _replaced(options: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    return dataclasses.replace(options, **{path[0]: _replaced(getattr(options, path[0]), path[1:], value)})


def needed(command: AnyOptions, chosen: AnyOptions, flag: str) -> str | None:
    """The fewest choices that must change for an option to exist; None if no choice has it.

    Args:
        command: the command.
        chosen: the command with the choices that a command line names.
        flag: the option.
    """
    fresh = type(command)()
    present = {
        option.flag: option.registry.name_of(option.value)
        for option in _options(chosen)
        if option.registry is not None
    }
    changes = [change for change in _all_choices(fresh) if present.get(change[0]) != change[1]]
    for count in range(1, _MOST_CHOICES + 1):
        for change in itertools.combinations(changes, count):
            if flag in _flags(_choose(fresh, present | dict(change))):
                return " ".join(f"{flag} {name}" for flag, name in change)
    return None


def _all_choices(command: Command) -> dict[tuple[str, str], Command]:
    """The option and the name of each choice that a command or its choices offer, and the command with it."""
    found: dict[tuple[str, str], Command] = {}
    commands = [command]
    for each in commands:
        for option in _options(each):
            for name, entry in (option.registry or {}).items():
                if (option.flag, name) not in found:
                    commands.append(_replaced(each, option.path, entry.options()))
                    found[option.flag, name] = commands[-1]
    return found


def _inner(name: str) -> str:
    """The field of a form that holds the options inside a field of the command."""
    return f"{name}_options"


def _as_shown(hint: Any, default: Any) -> Any:
    """Hide a default of None or (): the help text says what it means."""
    if default not in (None, ()):
        return hint
    bare, *others = get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
    metavar = None
    if NoneType in get_args(bare):
        (kind,) = (each for each in get_args(bare) if each is not NoneType)
        metavar = "{" + ",".join(get_args(kind)) + "}" if get_args(kind) else kind.__name__.upper()
    # What the field itself says comes last, and wins.
    return Annotated[(bare, tyro.conf.arg(metavar=metavar, help_behavior_hint=""), *others)]
