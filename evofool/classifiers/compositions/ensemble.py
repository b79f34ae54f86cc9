"""Several classifiers that vote."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec, LogitsFunction
from evofool.classifiers.compositions.averaging import logits_of_mean, straight_through
from evofool.classifiers.compositions.composition import composition
from evofool.classifiers.compositions.size import resized
from evofool.errors import UsageError, require_choice

Vote = Literal["mean", "majority"]
"""Whether the members of an ensemble give their confidences or a vote each."""

_NO_VOTES = 1e-7
"""The share of a class without votes: a softmax that is exactly 0 or 1 has no gradient."""


@composition
def ensemble(*classifiers: Classifier, vote: Vote = "mean") -> Classifier:
    """The classifier that several classifiers are together.

    With the vote "mean" its confidence is the mean of theirs. With "majority" each votes for the class that
    it is most confident of, and the confidence in a class is its share of the votes, at least 1e-7. Votes
    have no gradient of their own: that of the logits is the gradient of the mean (straight-through).

    Args:
        classifiers: the members, with the same classes and the same activation. The first decides the size of
            the images; they are resized for members of other sizes.
        vote: "mean" or "majority".

    Raises:
        UsageError: there are no members, or they differ in their classes, channels or activation.

    Example:
        >>> from evofool import load_classifier
        >>> lenet = load_classifier("lenet-digits")
        >>> ensemble(lenet, lenet, vote="majority").spec.name
        'ensemble(lenet-digits, lenet-digits, vote=majority)'
    """
    require_choice(get_args(Vote), vote=vote)
    if not classifiers:
        raise UsageError("an ensemble needs at least one classifier")
    first = classifiers[0].spec
    for other in classifiers[1:]:
        _require_alike(first, other.spec)
    height, width, _ = first.input_shape
    members = [resized(each, height, width) for each in classifiers]
    return Classifier(
        tuple(member.params for member in members),
        _Ensemble(tuple(member.logits_function for member in members), first.activation, vote),
        replace(first, training_data=_common_data([each.spec.training_data for each in classifiers])),
    )


@dataclass(frozen=True)
class _Ensemble:
    members: tuple[LogitsFunction, ...]
    activation: Activation
    vote: Vote

    def __call__(self, params: PyTree, images: Float[Array, "n h w c"]) -> Float[Array, "n k"]:
        logits = jnp.stack([member(own, images) for member, own in zip(self.members, params, strict=True)])
        mean = logits_of_mean(logits, self.activation)
        if self.vote == "mean":
            return mean
        votes = jax.nn.one_hot(logits.argmax(axis=-1), logits.shape[-1], dtype=logits.dtype)
        shares = jnp.clip(votes.sum(axis=0) / len(votes), _NO_VOTES, 1 - _NO_VOTES)
        others = jnp.log1p(-shares) if self.activation == "sigmoid" else 0
        # A member whose logits are no numbers has no vote to count.
        lost = jnp.isnan(logits).any(axis=(0, 2))[:, None]
        return straight_through(jnp.where(lost, jnp.nan, jnp.log(shares) - others), mean)


def _require_alike(first: ClassifierSpec, other: ClassifierSpec) -> None:
    """Raise `UsageError` unless two classifiers can be members of one ensemble."""
    if first.activation != other.activation:
        raise UsageError(
            f"an ensemble needs members of one activation, but {first.name} has {first.activation} and "
            f"{other.name} {other.activation}: choose one for all of them"
        )
    if first.input_shape[2] != other.input_shape[2]:
        raise UsageError(
            f"an ensemble needs members for images of one kind, but those of {first.name} have "
            f"{first.input_shape[2]} channel(s) and those of {other.name} {other.input_shape[2]}"
        )
    if len(first.class_names) != len(other.class_names):
        raise UsageError(
            f"an ensemble needs members with the same classes, but {first.name} has "
            f"{len(first.class_names)} and {other.name} {len(other.class_names)}"
        )
    for index, (ours, theirs) in enumerate(zip(first.class_names, other.class_names, strict=True)):
        if ours != theirs:
            raise UsageError(
                f"an ensemble needs members with the same classes, but class {index} is {ours!r} of "
                f"{first.name} and {theirs!r} of {other.name}"
            )


def _common_data(descriptions: Sequence[str]) -> str:
    """What all members were trained on: the same words, or else the same dataset, or else unknown."""
    if len(set(descriptions)) == 1:
        return descriptions[0]
    datasets = {words.split(",")[0] for words in descriptions}
    return datasets.pop() if len(datasets) == 1 else ""
