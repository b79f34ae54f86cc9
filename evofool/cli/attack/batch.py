"""Some images of an attack, what is wanted of them, and how they are taken a few at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from evofool.attacks import AttackResult, Goal, NoGradientError

# Activations of a network for 227x227 images and their gradients take about 150 MB for each image.
AT_ONCE = 16


@dataclass(frozen=True)
class Batch:
    """Some images, what they are called and what is wanted of them; the first is number `first` of all."""

    names: list[str]
    images: Float[Array, "n h w c"]
    goal: Goal
    first: int = 0

    @property
    def classes(self) -> Int[Array, " n"]:
        """The labels or the targets, whichever the goal has."""
        return self.goal[0]

    def by_parts(self, attack: Callable[["Batch"], AttackResult]) -> AttackResult:
        """Attack a few images after the other, so that memory does not depend on how many there are.

        Raises:
            NoGradientError: no part had a gradient to follow.
        """
        results, failures = [], []
        for start in range(0, len(self.images), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            goal = type(self.goal)(self.classes[part])
            try:
                results.append(attack(Batch(self.names[part], self.images[part], goal, start)))
            except NoGradientError as error:
                failures.append(error)
                results.append(error.result)
        if len(failures) == len(results):
            raise failures[0]
        return _join(results)


def _join(results: list[AttackResult]) -> AttackResult:
    """The results of the parts of a batch as one."""

    def join(name: str) -> Any:
        values = [getattr(result, name) for result in results]
        return None if values[0] is None else jnp.concatenate(values, axis=1 if name == "trajectory" else 0)

    return AttackResult(**{name: join(name) for name in AttackResult._fields})


def unique(names: list[str]) -> list[str]:
    """The names, with a number where one occurs again: two files of two folders may share a name.

    Example:
        >>> unique(["cat", "cat", "cat_2"])
        ['cat', 'cat_3', 'cat_2']
    """
    taken = set(names)
    numbers = {name: count(2) for name in names}
    seen: set[str] = set()
    unique = []
    for name in names:
        new = name
        if name in seen:
            new = next(other for number in numbers[name] if (other := f"{name}_{number}") not in taken)
        seen.add(name)
        taken.add(new)
        unique.append(new)
    return unique
