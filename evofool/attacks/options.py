"""What the options of all attacks have in common."""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax

from evofool.attacks.goals import Goal, Targeted, Untargeted


class AttackOptions:
    """Base of the options of an attack, which are frozen dataclasses.

    Options are pytrees, whose leaves are the fields of type `float` or `float | None`: these are arguments of
    compiled programs, so that another epsilon compiles nothing. All other fields, and floats made by
    `static`, are part of the program.

    Attributes:
        goals: the kinds of goal that the attack takes; both by default.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class StepOptions(AttackOptions):
        ...     epsilon: float = 0.1
        ...     blur: float = static(0.5)
        ...     steps: int = 3
        >>> jax.tree.leaves(StepOptions())
        [0.1]
    """

    goals: ClassVar[tuple[type[Goal], ...]] = (Targeted, Untargeted)

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_node(cls, _flatten, partial(_unflatten, cls))


def static(default: float) -> Any:
    """A field of a float that is part of compiled programs: each value has its own program."""
    return dataclasses.field(default=default, metadata={"static": True})


_Names = tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]


def _flatten(options: Any) -> tuple[list[Any], _Names]:
    fields = dataclasses.fields(options)
    names = tuple(f.name for f in fields if f.type in (float, float | None) and "static" not in f.metadata)
    fixed = tuple((f.name, getattr(options, f.name)) for f in fields if f.name not in names)
    return [getattr(options, name) for name in names], (names, fixed)


def _unflatten(cls: type, names: _Names, values: Any) -> Any:
    numbers, fixed = names
    # Not by the constructor, which checks values that are unknown inside a compiled function.
    options: Any = object.__new__(cls)
    for name, value in (*zip(numbers, values, strict=True), *fixed):
        object.__setattr__(options, name, value)
    return options
