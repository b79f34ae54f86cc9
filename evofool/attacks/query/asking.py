"""How an attack asks that knows answers only: one image after the other, until its goal or its last query."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PyTree, UInt32

from evofool.attacks.attack import AttackResult, image_keys, require_attackable, result_of
from evofool.attacks.goals import Goal, Untargeted
from evofool.classifiers.black_box import AnyClassifier, BlackBox
from evofool.classifiers.classifier import Classifier
from evofool.classifiers.scoring import batch_size_of, logits_in_batches
from evofool.images import from_uint8, round_to_8_bits, to_uint8
from evofool.numerics.random_numbers import random_word
from evofool.numerics.rows import where_rows

Image = Float[Array, "h w c"]
Logits = Float[Array, " k"]

_GRID_TOLERANCE = 1e-3
"""Levels by which a change may be rounded, so that a change of whole levels remains one."""


class Problem(NamedTuple):
    """What is asked about one image.

    Attributes:
        classifier: to be fooled; only for what its logits mean.
        goal: of this image.
        options: of the attack.
        original: the image, in [0, 1].
        key: of all random numbers of this image.
    """

    classifier: AnyClassifier
    goal: Goal
    options: Any
    original: Image
    key: Key[Array, ""]

    def words(self, asked: Int[Array, ""], count: int) -> UInt32[Array, " count"]:
        """Random words for one query; the same number of them must be taken for each."""
        return random_word(self.key, asked * count + jnp.arange(count))

    def reached(self, logits: Logits) -> Bool[Array, ""]:
        """Whether an image with these logits has reached the goal."""
        return self.goal.reached(logits[None])[0]

    def objective(self, logits: Logits) -> Float[Array, ""]:
        """The log-odds that the goal raises."""
        return self.goal.objective(self.classifier, logits[None])[0]

    def margin(self, logits: Logits) -> Float[Array, ""]:
        """By how much the best of the other logits exceeds that of the class; minus that for a target."""
        own = jnp.arange(len(logits)) == self.goal.classes[0]
        margin = jnp.where(own, -jnp.inf, logits).max() - jnp.where(own, logits, -jnp.inf).max()
        return margin if isinstance(self.goal, Untargeted) else -margin


class Attempt(Protocol):
    """The state of an attack on one image, a NamedTuple of arrays.

    Attributes:
        best: the image that would be the result now, in [0, 1].
        logits: its logits.
        finished: whether the attack has no more questions.
    """

    best: Any
    logits: Any
    finished: Any


class QueryAttack(NamedTuple):
    """An attack that asks one question after the other, as pure functions for one image.

    They depend on the answers, the key of the image and the number of the question only. So a result does not
    depend on the other images, nor on when the answers come.

    Attributes:
        begin: `begin(problem, logits) -> attempt`, given the logits of the original, the first query.
        propose: `propose(problem, attempt, asked) -> image` in [0, 1], the next query, of which `asked` came
            before.
        learn: `learn(problem, attempt, image, logits, asked) -> attempt`.
        in_ball: whether a black box must see no larger change than the one that is proposed.
    """

    begin: Callable[[Problem, Logits], Any]
    propose: Callable[[Problem, Any, Int[Array, ""]], Image]
    learn: Callable[[Problem, Any, Image, Logits, Int[Array, ""]], Any]
    in_ball: bool = True


class _Batch(NamedTuple):
    """Images that are attacked together, each with what it was asked so far."""

    originals: Float[Array, "n h w c"]
    keys: Key[Array, " n"]
    goal: Goal
    attempts: Any
    asked: Int[Array, " n"]
    cached: Int[Array, " n"]
    padded: Int[Array, " n"]
    active: Bool[Array, " n"]


def attack_by_asking(
    attack: QueryAttack,
    classifier: AnyClassifier,
    images: Float[Array, "n h w c"],
    goal: Goal,
    options: Any,
) -> AttackResult:
    """Attack images by asking a classifier about others.

    Args:
        attack: what is asked, and what is learnt from the answers.
        classifier: compiled with the attack, or a black box, which the host asks about all images together:
            one request has as many as fit it. It sees images of 8 bits, rounded towards the original if their
            changes must stay in a ball.
        images: values in [0, 1].
        goal: what is wanted of each image.
        options: of the attack, with `max_queries` of each image, the original among them, and `seed`.

    Returns:
        The best image of each attack, with the queries that it took.

    Raises:
        UsageError: as every attack.
        Exception: what a black box raised when it had been asked often enough. It remembers the answers of
            the images that fit its cache, so that another attempt does not ask again.
    """
    require_attackable(classifier, images, goal, options.goals)
    keys = image_keys(options.seed, len(images))
    size = batch_size_of(images.shape[1:])
    parts = []
    for start in range(0, len(images), size):
        part = jax.tree.map(lambda leaf: leaf[start : start + size], (images, goal, keys))  # noqa: B023
        if isinstance(classifier, BlackBox):
            parts.append(_asked_by_host(attack, classifier, options, *part))
        else:
            parts.append(_compiled(attack, classifier, options, *part))
    result: AttackResult = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)
    return result.against(classifier, goal, options)


def _compiled(
    attack: QueryAttack,
    classifier: Classifier,
    options: Any,
    images: Float[Array, "n h w c"],
    goal: Goal,
    keys: Key[Array, " n"],
) -> AttackResult:
    count = len(images)
    rows = np.arange(max(2, count)) % count  # no batch of one, which is rounded otherwise
    images, goal, keys = jax.tree.map(lambda leaf: leaf[rows], (images, goal, keys))
    before = logits_in_batches(classifier, images)
    done = batch = _begin(attack, classifier, options, images, goal, keys, before)
    rows = np.arange(len(rows))
    while True:
        batch = _advance(attack, classifier, options, batch)
        done = _put(done, rows, batch)
        active = np.flatnonzero(batch.active)
        if not len(active):
            break
        # Finished images make room: the others go on in a smaller batch.
        size = max(2, 1 << (len(active) - 1).bit_length())
        filled = np.concatenate([active, np.flatnonzero(~np.asarray(batch.active))[: size - len(active)]])
        batch, rows = _take(batch, filled), rows[filled]
    return jax.tree.map(lambda leaf: leaf[:count], _result(classifier, done, before))


@jax.jit
def _put(whole: _Batch, rows: Int[Array | np.ndarray, " n"], part: _Batch) -> _Batch:
    return jax.tree.map(lambda leaf, new: leaf.at[rows].set(new), whole, part)


@jax.jit
def _take(whole: _Batch, rows: Int[Array | np.ndarray, " n"]) -> _Batch:
    return jax.tree.map(lambda leaf: leaf[rows], whole)


def _asked_by_host(
    attack: QueryAttack,
    black_box: BlackBox,
    options: Any,
    images: Float[Array, "n h w c"],
    goal: Goal,
    keys: Key[Array, " n"],
) -> AttackResult:
    before, known = _answers(black_box, to_uint8(images), np.ones(len(images), bool))
    batch = _begin(attack, black_box, options, images, goal, keys, before)
    batch = batch._replace(asked=batch.asked - known, cached=jnp.asarray(known, jnp.int32))
    while bool(batch.active.any()):
        candidates = _propose(attack, black_box, options, batch)
        candidates = _on_grid(candidates, images) if attack.in_ball else round_to_8_bits(candidates)
        logits, known = _answers(black_box, to_uint8(candidates), np.asarray(batch.active))
        batch = _learn(attack, black_box, options, batch, candidates, logits, jnp.asarray(known))
    # Nothing is asked about images that are finished.
    return _result(black_box, batch._replace(padded=jnp.zeros_like(batch.padded)), before)


def _answers(
    black_box: BlackBox, levels: np.ndarray, wanted: Bool[np.ndarray, " n"]
) -> tuple[Float[Array, "n k"], Bool[np.ndarray, " n"]]:
    """The logits of the wanted images, and whether the answer was known already."""
    rows = np.flatnonzero(wanted)
    answers, known = black_box.ask_counted(levels[rows])
    logits = np.zeros((len(levels), len(black_box.spec.class_names)), np.float32)
    all_known = np.zeros(len(levels), bool)
    logits[rows], all_known[rows] = black_box.logits_of(answers), known
    return jnp.asarray(logits), all_known


@jax.jit
def _on_grid(
    candidates: Float[Array, "n h w c"], originals: Float[Array, "n h w c"]
) -> Float[Array, "n h w c"]:
    """The images of 8 bits next to some, in the direction of the originals: no change becomes larger."""
    nearest = round_to_8_bits(originals) * 255
    change = candidates * 255 - nearest
    steps = jnp.sign(change) * jnp.floor(jnp.abs(change) + _GRID_TOLERANCE)
    return from_uint8(jnp.clip(jnp.round(nearest + steps), 0, 255).astype(jnp.uint8))


@partial(jax.jit, static_argnums=0)
def _begin(
    attack: QueryAttack,
    classifier: AnyClassifier,
    options: Any,
    images: Float[Array, "n h w c"],
    goal: Goal,
    keys: Key[Array, " n"],
    logits: Float[Array, "n k"],
) -> _Batch:
    attempts = _each(attack.begin, classifier, options, images, keys, goal, logits)
    none = jnp.zeros(len(images), jnp.int32)
    active = ~attempts.finished & (options.max_queries > 1)
    return _Batch(images, keys, goal, attempts, none + 1, none, none, active)


@partial(jax.jit, static_argnums=0)
def _advance(attack: QueryAttack, classifier: Classifier, options: Any, batch: _Batch) -> _Batch:
    """Ask until no image is left, or until three quarters of the batch are finished."""

    def unfinished(batch: _Batch) -> Bool[Array, ""]:
        active = batch.active.sum()
        return (active > 0) & ((4 * active > len(batch.active)) | (len(batch.active) == 2))

    def step(batch: _Batch) -> _Batch:
        candidates = _propose(attack, classifier, options, batch)
        logits = classifier.logits(candidates)
        return _learn(attack, classifier, options, batch, candidates, logits, jnp.zeros_like(batch.active))

    return jax.lax.while_loop(unfinished, step, batch)


@partial(jax.jit, static_argnums=0)
def _propose(
    attack: QueryAttack, classifier: AnyClassifier, options: Any, batch: _Batch
) -> Float[Array, "n h w c"]:
    about = (batch.originals, batch.keys, batch.goal)
    return _each(attack.propose, classifier, options, *about, batch.attempts, batch.asked + batch.cached)


@partial(jax.jit, static_argnums=0)
def _learn(
    attack: QueryAttack,
    classifier: AnyClassifier,
    options: Any,
    batch: _Batch,
    candidates: Float[Array, "n h w c"],
    logits: Float[Array, "n k"],
    known: Bool[Array, " n"],
) -> _Batch:
    about, asked = (batch.originals, batch.keys, batch.goal), batch.asked + batch.cached
    answered = (batch.attempts, candidates, logits, asked)
    learnt = _each(attack.learn, classifier, options, *about, *answered)
    attempts = where_rows(batch.active, learnt, batch.attempts)
    count = batch.active.astype(jnp.int32)
    return batch._replace(
        attempts=attempts,
        asked=batch.asked + count * ~known,
        cached=batch.cached + count * known,
        padded=batch.padded + 1 - count,
        active=batch.active & ~attempts.finished & (asked + 1 < options.max_queries),
    )


def _each(
    function: Callable[..., PyTree],
    classifier: AnyClassifier,
    options: Any,
    originals: Float[Array, "n h w c"],
    keys: Key[Array, " n"],
    goal: Goal,
    *rows: PyTree,
) -> PyTree:
    """The results of a function of one problem and rows, for each of many."""

    def one(image: Image, key: Key[Array, ""], wanted: Int[Array, ""], *row: PyTree) -> PyTree:
        return function(Problem(classifier, type(goal)(wanted[None]), options, image, key), *row)

    return jax.vmap(one)(originals, keys, goal.classes, *rows)


@jax.jit
def _result(classifier: AnyClassifier, batch: _Batch, before: Float[Array, "n k"]) -> AttackResult:
    attempts = batch.attempts
    result = result_of(classifier, batch.goal, batch.originals, attempts.best, before, attempts.logits)
    return result._replace(queries=batch.asked, cached_queries=batch.cached, padded_queries=batch.padded)
