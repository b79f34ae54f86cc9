"""Classifiers that can only be asked: a function on the host, as of a service or of another framework."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped, UInt8

from evofool.classifiers.classifier import (
    Activation,
    Classifier,
    ClassifierSpec,
    Output,
    activate,
    logits_of_probabilities,
    require_images,
)
from evofool.errors import EvofoolError, UsageError, require_choice, require_not_negative, require_positive
from evofool.images import from_uint8, to_uint8

Function: TypeAlias = Callable[[Float[np.ndarray, "n h w c"]], Any]

_LONGEST_WAIT = 30.0
"""Seconds between two tries: a backoff does not grow beyond it."""

_TOLERANCE = 1e-3
"""How far outside of [0, 1] a probability may be rounded."""

_Answers: TypeAlias = dict[bytes, Float[np.ndarray, " k"]]
"""What was answered to images, by their digests."""


class PermanentError(EvofoolError):
    """A failure that would be the same if a black box were asked again."""


class QueryCounts(NamedTuple):
    """How many images a black box was asked about.

    Attributes:
        answered: images that it answered.
        cached: images whose answer was known, so that it was not asked.
        failed: images in requests that failed, counted each time.
    """

    answered: int = 0
    cached: int = 0
    failed: int = 0

    def since(self, before: "QueryCounts") -> "QueryCounts":
        """The queries after an earlier count."""
        return QueryCounts(*(now - then for now, then in zip(self, before, strict=True)))


@dataclass(frozen=True, kw_only=True)
class AskingOptions:
    """How a black box is asked; nothing here changes its answers.

    Attributes:
        max_batch: the most images in one request.
        in_flight: the most requests at the same time, each in a thread.
        retries: how often a request that fails is repeated.
        backoff: seconds before the first repetition; they double each time, up to 30. With the defaults a
            service may be away for a minute and a half.
        timeout: seconds after which a request counts as failed; by default none.
        cache: of how many images the answers are remembered, so that none of these is asked twice; 0 for
            none. Each takes four bytes per class and a hundred more.

    Raises:
        UsageError: a number is out of range.
    """

    max_batch: int = 64
    in_flight: int = 1
    retries: int = 8
    backoff: float = 0.5
    timeout: float | None = None
    cache: int = 10_000

    def __post_init__(self) -> None:
        require_positive(max_batch=self.max_batch, in_flight=self.in_flight, timeout=self.timeout)
        require_not_negative(retries=self.retries, backoff=self.backoff, cache=self.cache)


@dataclass(frozen=True, eq=False)
class BlackBox(AskingOptions):
    """A classifier that can only be asked, by a function on the host.

    `evofool.run` takes it in place of a `Classifier`, and so do the attacks that only ask
    (`evofool.attacks.query`). Ask and tell are compiled, and the host asks in between. Each image is rounded
    to 8 bits first, as a saved image is.

    The answers to the same images are the same, whatever the size and the number of requests, which of them
    had to be repeated, and what was remembered, provided that the function's are.

    Attributes:
        function: from images, float32 in [0, 1] and at most `max_batch` of them, to an array with as many
            rows: a number for each class, or one label for each image. With several requests in flight it is
            called from several threads.
        input_shape: height, width and channels of an image (1 grey, 3 RGB).
        class_names: one name per class, in order.
        output: what the function returns: "probabilities", which are confidences in [0, 1], "logits", or
            "labels", which are indices of classes.
        activation: "softmax" if the classes compete, "sigmoid" if each has its own score.
        name: what it is called in figures and messages.

    Raises:
        UsageError: a shape that is not three positive integers, no classes, an unknown output, or a number
            that is out of range. What is wrong with an answer is said when it comes.

    Example:
        >>> def brightness(images):
        ...     level = images.mean(axis=(1, 2, 3))
        ...     return np.stack([1 - level, level], axis=1)
        >>> box = BlackBox(brightness, (2, 2, 1), ("dark", "bright"))
        >>> box(jnp.ones((3, 2, 2, 1))).tolist()
        [[0.0, 1.0], [0.0, 1.0], [0.0, 1.0]]
        >>> box.counts  # two of them were equal to the first
        QueryCounts(answered=1, cached=2, failed=0)
    """

    function: Function
    input_shape: tuple[int, int, int]
    class_names: Sequence[str]
    output: Output = "probabilities"
    activation: Activation = "softmax"
    name: str = "black box"
    spec: ClassifierSpec = field(init=False, repr=False)
    _memory: "_Memory" = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice(get_args(Output), output=self.output)
        spec = ClassifierSpec(self.name, self.input_shape, tuple(self.class_names), self.activation)
        for name, value in (("spec", spec), ("_memory", _Memory(self.cache))):
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        size = "x".join(map(str, self.spec.input_shape))
        return f"BlackBox({self.name!r}, {size}, {len(self.spec.class_names)} classes, {self.output})"

    @property
    def counts(self) -> QueryCounts:
        """How many images it was asked about so far, and how many not because their answer was known."""
        return self._memory.counts

    def __call__(self, images: Shaped[Array | np.ndarray, "n h w c"]) -> Float[Array, "n k"]:
        """Confidences in [0, 1] of images with values in [0, 1]; of labels they are 1 for one class.

        Raises:
            UsageError: there are no images, or they are not of this size, integers, or outside [0, 1].
            EvofoolError: an answer has another shape or other values than it should.
            Exception: whatever the function raised, once a request was repeated often enough.
        """
        return self.confidences_of(self._answers(images))

    def logits(self, images: Shaped[Array | np.ndarray, "n h w c"]) -> Float[Array, "n k"]:
        """The answers as logits, up to a constant of each image; raises what a call raises."""
        return self.logits_of(self._answers(images))

    def activate(self, logits: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """Confidences in [0, 1] of logits."""
        return activate(logits, self.activation)

    def require_images(self, images: Shaped[Array | np.ndarray, "n h w c"]) -> None:
        """Raise `UsageError` unless these are images that this classifier takes."""
        require_images(self.spec, images)

    def confidences_of(self, answers: Float[np.ndarray, "n k"]) -> Float[Array, "n k"]:
        """Confidences in [0, 1] of answers."""
        return self.activate(jnp.asarray(answers)) if self.output == "logits" else jnp.asarray(answers)

    def logits_of(self, answers: Float[np.ndarray, "n k"]) -> Float[Array, "n k"]:
        """Logits of answers, up to a constant of each image."""
        if self.output == "logits":
            return jnp.asarray(answers)
        return logits_of_probabilities(answers, self.activation)

    def ask(self, levels: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        """What the function answers to 8-bit images; raises what `ask_counted` raises."""
        return self.ask_counted(levels)[0]

    def ask_counted(
        self, levels: UInt8[np.ndarray, "n h w c"]
    ) -> tuple[Float[np.ndarray, "n k"], Bool[np.ndarray, " n"]]:
        """What the function answers to 8-bit images, each of which it is asked about once.

        Returns:
            The answers, and whether the function was spared the question, because the answer is remembered or
            an image before it is the same.

        Raises:
            EvofoolError: an answer has another shape or other values than it should.
            Exception: whatever the function raised, once a request was repeated often enough.
        """
        digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in levels]
        known = self._memory.known(digests)
        new = {digest: row for row, digest in reversed(list(enumerate(digests))) if digest not in known}
        rows = sorted(new.values())
        batches = [rows[start : start + self.max_batch] for start in range(0, len(rows), self.max_batch)]
        self._memory.count(cached=len(levels) - len(rows))
        for answers in self._ask_all(levels, digests, batches):
            known |= answers
        spared = np.ones(len(levels), bool)
        spared[rows] = False
        return np.stack([known[digest] for digest in digests]), spared

    def _answers(self, images: Shaped[Array | np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        if isinstance(images, jax.core.Tracer):
            raise UsageError(f"{self.name} can only be asked: it has no gradient, and cannot be compiled")
        self.require_images(images)
        return self.ask(to_uint8(images))

    def _ask_all(
        self,
        levels: UInt8[np.ndarray, "n h w c"],
        digests: Sequence[bytes],
        batches: Sequence[Sequence[int]],
    ) -> list[_Answers]:
        """The answers to some batches of rows, of which several are asked about at once."""
        given_up = threading.Event()
        with ThreadPoolExecutor(self.in_flight) as pool:
            try:
                requests = [
                    pool.submit(self._ask_patiently, levels[batch], [digests[row] for row in batch], given_up)
                    for batch in batches
                ]
                return [request.result() for request in requests]
            finally:
                given_up.set()
                pool.shutdown(cancel_futures=True)

    def _ask_patiently(
        self, levels: UInt8[np.ndarray, "n h w c"], digests: Sequence[bytes], given_up: threading.Event
    ) -> _Answers:
        """The answers to one request, which is repeated while it fails."""
        images = np.asarray(from_uint8(levels))
        for tried in range(self.retries + 1):
            try:
                answers = self._checked(_within(self.timeout, self.function, images.copy()), len(images))
            except Exception as error:
                self._memory.count(failed=len(images))
                wait = min(_LONGEST_WAIT, self.backoff * 2.0 ** min(tried, 30))
                if isinstance(error, PermanentError) or tried == self.retries or given_up.wait(wait):
                    error.add_note(f"{self.name} was asked {tried + 1} times")
                    raise
            else:
                self._memory.count(answered=len(images))
                # At once: another request may fail for good.
                found = dict(zip(digests, answers, strict=True))
                self._memory.remember(found)
                return found
        raise AssertionError("a request ends in an answer or an error")

    def _checked(self, answer: Any, count: int) -> Float[np.ndarray, "n k"]:
        """The answer of the function as one row of numbers per image.

        Raises:
            PermanentError: it has another shape, or values that it cannot have.
        """
        classes = len(self.spec.class_names)
        wanted = (count,) if self.output == "labels" else (count, classes)
        try:
            answers = np.asarray(answer, np.float32)
        except (TypeError, ValueError) as error:
            raise PermanentError(f"the {self.output} of {self.name} must be an array of numbers") from error
        if answers.shape != wanted:
            raise PermanentError(
                f"the {self.output} of {self.name} for {count} images must have the shape {wanted}, not "
                f"{answers.shape}"
            )
        if self.output == "labels":
            if not np.isin(answers, np.arange(classes)).all():
                raise PermanentError(
                    f"the labels of {self.name} must be whole numbers from 0 to {classes - 1}"
                )
            return np.eye(classes, dtype=np.float32)[answers.astype(int)]
        if self.output == "probabilities":
            if np.any(_outside(answers)):
                raise PermanentError(
                    f"the probabilities of {self.name} must be between 0 and 1, not "
                    f"{answers[_outside(answers)][0]:g}: if these are logits, say output='logits'"
                )
            return np.clip(answers, 0, 1)
        return answers


# A constant of compiled programs, which may know of its classes and not ask it.
jax.tree_util.register_pytree_node(BlackBox, lambda box: ((), box), lambda box, _: box)

AnyClassifier: TypeAlias = Classifier | BlackBox
"""What a search can fool: a classifier in JAX, which is compiled with it, or one that can only be asked."""


class _Memory:
    """The answers that are remembered, the latest of them, and what was asked.

    Args:
        most: how many answers are remembered.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._answers: OrderedDict[bytes, Float[np.ndarray, " k"]] = OrderedDict()
        self._lock = threading.Lock()
        self.counts = QueryCounts()

    def known(self, digests: Sequence[bytes]) -> _Answers:
        """The remembered answers to some images."""
        with self._lock:
            found = {digest: self._answers[digest] for digest in digests if digest in self._answers}
            for digest in found:
                self._answers.move_to_end(digest)
            return found

    def remember(self, answers: _Answers) -> None:
        """Keep answers, and forget those that were not needed for longest."""
        with self._lock:
            self._answers |= answers
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)

    def count(self, answered: int = 0, cached: int = 0, failed: int = 0) -> None:
        """Count images of a request."""
        with self._lock:
            before = self.counts
            self.counts = QueryCounts(
                before.answered + answered, before.cached + cached, before.failed + failed
            )


def _within(
    timeout: float | None, function: Function, images: Float[np.ndarray, "n h w c"]
) -> Shaped[np.ndarray, "..."] | Any:
    """What a function returns within a time.

    Raises:
        EvofoolError: it took longer. Its thread is left to itself, because no thread can be ended.
    """
    if timeout is None:
        return function(images)
    answer: Future[Any] = Future()

    def call() -> None:
        try:
            answer.set_result(function(images))
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=call, daemon=True).start()
    try:
        return answer.result(timeout)
    except TimeoutError as error:
        if answer.done():  # the function's own
            raise
        raise EvofoolError(f"no answer within {timeout:g} s") from error


def _outside(probabilities: Float[np.ndarray, "n k"]) -> Bool[np.ndarray, "n k"]:
    return (probabilities < -_TOLERANCE) | (probabilities > 1 + _TOLERANCE)
