"""What an attack wants of each image."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, Shaped

from evofool.classifiers.black_box import AnyClassifier
from evofool.errors import UsageError

Self = TypeVar("Self", bound="Goal")


class Goal(ABC):
    """What an attack wants of each image; a pytree, as it is an argument of compiled programs.

    Args:
        classes: the class of each image, as an index: a list, a NumPy or a JAX array.

    Attributes:
        classes: the same as a JAX array.

    Raises:
        UsageError: the classes are not a list of whole numbers.
    """

    classes: Int[Array, " n"]

    def __init__(self, classes: Sequence[int] | Shaped[Array | np.ndarray, "..."]) -> None:
        array = classes if isinstance(classes, jax.Array) else np.asarray(classes)
        if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
            raise UsageError(f"classes must be a list of whole numbers, one for each image, not {classes!r}")
        if isinstance(array, np.ndarray):
            # What 32 bits cannot hold stays out of every classifier's range.
            array = jnp.asarray(np.clip(array, -1, 2**31 - 1), jnp.int32)
        self.classes = array

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_node_class(cls)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.classes)} images)"

    @abstractmethod
    def objective(self, classifier: AnyClassifier, logits: Float[Array, "n k"]) -> Float[Array, " n"]:
        """What the attack raises for each image."""

    @abstractmethod
    def reached(self, logits: Float[Array, "n k"]) -> Bool[Array, " n"]:
        """Whether each image has reached the goal."""

    def tree_flatten(self) -> tuple[tuple[Int[Array, " n"]], None]:
        """The parts of the pytree."""
        return (self.classes,), None

    @classmethod
    def tree_unflatten(cls: type[Self], _: None, children: tuple[Any]) -> Self:
        """The goal of these parts, which need not be arrays."""
        goal = object.__new__(cls)
        (goal.classes,) = children
        return goal


class Untargeted(Goal):
    """The goal that an image is classified as anything but its class, which usually is its label.

    Example:
        >>> Untargeted([0, 1]).reached(jnp.array([[2.0, 1.0], [2.0, 1.0]])).tolist()
        [False, True]
    """

    def objective(self, classifier: AnyClassifier, logits: Float[Array, "n k"]) -> Float[Array, " n"]:
        """What the attack raises: minus the log-odds of the class."""
        return -log_odds(classifier, logits, self.classes)

    def reached(self, logits: Float[Array, "n k"]) -> Bool[Array, " n"]:
        """Whether each image is classified as another class."""
        return jnp.argmax(logits, axis=1) != self.classes


class Targeted(Goal):
    """The goal that an image is classified as a class chosen for it.

    Example:
        >>> Targeted([0, 1]).reached(jnp.array([[2.0, 1.0], [2.0, 1.0]])).tolist()
        [True, False]
    """

    def objective(self, classifier: AnyClassifier, logits: Float[Array, "n k"]) -> Float[Array, " n"]:
        """What the attack raises: the log-odds of the class."""
        return log_odds(classifier, logits, self.classes)

    def reached(self, logits: Float[Array, "n k"]) -> Bool[Array, " n"]:
        """Whether each image is classified as its target."""
        return jnp.argmax(logits, axis=1) == self.classes


def log_odds(
    classifier: AnyClassifier, logits: Float[Array, "n k"], classes: Int[Array, " n"]
) -> Float[Array, " n"]:
    r"""The log-odds `log p - log(1 - p)` of one class's confidence for each image.

    Every loss of the papers is a monotone function of them (`-log p` is `softplus(-odds)`), so they have the
    same gradient up to a positive factor. With a softmax that factor is `1 - p`, which float32 loses where
    the classifier is certain: there the gradient of `-log p` itself is rounding error, or zero.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> log_odds(classifier, jnp.array([[30.0, -70.0]]), jnp.array([0])).tolist()
        [100.0]
    """
    of_class = jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]
    if classifier.spec.activation == "sigmoid":
        return of_class
    others = jnp.where(jnp.arange(logits.shape[1]) == classes[:, None], -jnp.inf, logits)
    return of_class - jax.nn.logsumexp(others, axis=1)


def likeliest_others(logits: Float[Array, "n k"], labels: Int[Array, " n"], count: int) -> Int[Array, "n t"]:
    """The likeliest classes of each image but its label, at most so many, the likeliest first.

    Example:
        >>> likeliest_others(jnp.array([[0.1, 3.0, 2.0, 1.0]]), jnp.array([1]), 2).tolist()
        [[2, 3]]
    """
    others = logits.at[jnp.arange(len(labels)), labels].set(-jnp.inf)
    return jax.lax.top_k(others, min(count, logits.shape[1] - 1))[1]


def random_targets(
    key: Key[Array, ""], labels: Sequence[int] | Int[Array | np.ndarray, " n"], classifier: AnyClassifier
) -> Int[Array, " n"]:
    """A target for each image, drawn uniformly from all classes but its label.

    Example:
        >>> from evofool import create_classifier
        >>> classifier = create_classifier("linear", (2, 2, 1), ("even", "odd"))
        >>> random_targets(jax.random.key(0), [0, 1, 1], classifier).tolist()
        [1, 0, 0]
    """
    classes = jnp.asarray(labels)
    count = len(classifier.spec.class_names)
    return (classes + jax.random.randint(key, classes.shape, 1, count)) % count
