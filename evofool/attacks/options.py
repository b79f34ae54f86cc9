"""What the options of all attacks have in common."""

import dataclasses
from functools import partial
from typing import Any, ClassVar, TypeVar

import jax

from evofool.attacks.goals import Goal

Value = TypeVar("Value")


class AttackOptions:
    """Base of the options of an attack, which are frozen dataclasses.

    Options are pytrees. Their numbers are arguments of compiled programs, so another epsilon compiles nothing;
    a field made by `static` is part of the program.

    Attributes:
        goal: the kind of goal that the attack takes: `Targeted`, `Untargeted`, or `Goal` for both.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class StepOptions(AttackOptions):
        ...     epsilon: float = 0.1
        ...     steps: int = static(3)
        >>> jax.tree.leaves(StepOptions())
        [0.1]
    """

    goal: ClassVar[type[Goal]] = Goal

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_node(cls, _flatten, partial(_unflatten, cls))


def static(default: Value) -> Value:
    """A field that compiled programs depend on, such as a number of steps or a name."""
    return dataclasses.field(default=default, metadata={"static": True})


def _flatten(options: Any) -> tuple[list[Any], tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]]:
    fields = dataclasses.fields(options)
    numbers = tuple(field.name for field in fields if "static" not in field.metadata)
    fixed = tuple((field.name, getattr(options, field.name)) for field in fields if "static" in field.metadata)
    return [getattr(options, name) for name in numbers], (numbers, fixed)


def _unflatten(cls: type, names: tuple[tuple[str, ...], tuple[tuple[str, Any], ...]], values: Any) -> Any:
    numbers, fixed = names
    # Not by the constructor, which checks values that inside a compiled function are not known.
    options = object.__new__(cls)
    for name, value in (*zip(numbers, values, strict=True), *fixed):
        object.__setattr__(options, name, value)
    return options
