"""What the options of all attacks have in common."""

import dataclasses
from functools import partial
from typing import Any, ClassVar

import jax

from evofool.attacks.goals import Goal, Targeted, Untargeted
from evofool.errors import require_positive


@dataclasses.dataclass(frozen=True)
class AttackOptions:
    """Base of the options of an attack, which are frozen dataclasses.

    Options are pytrees, whose leaves are the fields of type `float` or `float | None`: these are arguments of
    compiled programs, so that another epsilon compiles nothing. All other fields, and floats made by
    `static`, are part of the program.

    Attributes:
        max_queries: the most passes of the classifier for each image: forward, of which the first is for the
            original, and backward, one for each gradient. The attack ends before the step that could exceed
            them. No limit if not given.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class StepOptions(AttackOptions):
        ...     epsilon: float = 0.1
        ...     blur: float = static(0.5)
        ...     steps: int = 3
        >>> jax.tree.leaves(StepOptions())
        [0.1]
    """

    max_queries: int | None = dataclasses.field(default=None, kw_only=True)
    goals: ClassVar[tuple[type[Goal], ...]] = (Targeted, Untargeted)
    """The kinds of goal that the attack takes; both by default."""

    def __post_init__(self) -> None:
        require_positive(max_queries=self.max_queries)

    def affordable(self, most: int, *, each: int, fixed: int) -> int:
        """How many steps fit `max_queries`.

        Args:
            most: steps, without a limit.
            each: the passes of one step.
            fixed: the passes of an attack without a step.

        Example:
            >>> @dataclasses.dataclass(frozen=True)
            ... class AskingOptions(AttackOptions):
            ...     steps: int = 30
            >>> [AskingOptions(max_queries=most).affordable(30, each=2, fixed=3) for most in (None, 9, 1)]
            [30, 3, 0]
        """
        if self.max_queries is None:
            return most
        return max(0, min(most, (self.max_queries - fixed) // each))

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
