"""Black boxes: answers do not depend on how they are asked for, and every image is counted."""

import json
import threading
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from evofool import BlackBox, EvofoolError, UsageError
from evofool.classifiers import service, serving
from evofool.images import from_uint8

SHAPE, NAMES = (4, 4, 1), ("dark", "middle", "bright")
WEIGHTS = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)


def confidences(images: np.ndarray) -> np.ndarray:
    logits = images.reshape(len(images), -1) @ WEIGHTS
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def levels(count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


def box(function: Callable[[np.ndarray], Any] = confidences, **options: Any) -> BlackBox:
    return BlackBox(function, SHAPE, NAMES, **{"backoff": 0.0, **options})


class Unreliable:
    """A function that fails in some of its calls, and counts images."""

    def __init__(self, fails: Callable[[int], bool]) -> None:
        self.calls, self.images, self.largest = 0, 0, 0
        self._fails, self._lock = fails, threading.Lock()

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with self._lock:
            self.calls += 1
            if self._fails(self.calls):
                raise ConnectionError("busy")
            self.images += len(images)
            self.largest = max(self.largest, len(images))
        return confidences(images)


@pytest.mark.parametrize(("max_batch", "in_flight"), [(1, 4), (7, 3), (64, 1)])
def test_answers_do_not_depend_on_requests_and_failures(max_batch: int, in_flight: int) -> None:
    function = Unreliable(lambda call: call % 3 == 1)
    asked = box(function, max_batch=max_batch, in_flight=in_flight, retries=50)
    images = levels(23)
    np.testing.assert_allclose(asked.ask(images), confidences(images / np.float32(255)), atol=1e-6)
    assert asked.counts.answered == function.images == 23
    assert asked.counts.failed > 0
    assert function.largest <= max_batch


def test_an_image_is_asked_about_once_as_long_as_it_is_remembered() -> None:
    function = Unreliable(lambda call: False)
    asked = box(function, cache=10)
    images = levels(10)
    twice = asked.ask(np.concatenate([images, images[:4]]))
    np.testing.assert_array_equal(twice[:4], twice[10:])
    asked.ask(images)
    assert (asked.counts.answered, asked.counts.cached) == (10, 14)
    asked.ask(levels(10, seed=2))
    asked.ask(images)
    assert (asked.counts.answered, function.images) == (30, 30)


def test_without_a_cache_every_image_is_asked_about_again() -> None:
    asked = box(cache=0)
    images = levels(5)
    np.testing.assert_array_equal(asked.ask(images), asked.ask(images))
    assert asked.counts.answered == 10


def test_an_exception_that_outlasts_its_retries_arrives_as_itself() -> None:
    function = Unreliable(lambda call: call > 1)
    asked = box(function, retries=2, max_batch=2)
    with pytest.raises(ConnectionError, match="busy"):
        asked.ask(levels(4))
    assert function.calls == 4
    assert asked.counts == (2, 0, 6)
    # What was answered before is not asked again.
    function._fails = lambda call: False
    asked.ask(levels(4))
    assert asked.counts == (4, 2, 6)


def test_a_request_that_takes_too_long_is_repeated() -> None:
    hung = threading.Event()

    def slow(images: np.ndarray) -> np.ndarray:
        if not hung.is_set():
            hung.set()
            time.sleep(1)
        return confidences(images)

    asked = box(slow, timeout=0.2)
    started = time.monotonic()
    asked.ask(levels(3))
    assert time.monotonic() - started < 0.9
    assert asked.counts == (3, 0, 3)


def test_the_waits_double() -> None:
    times: list[float] = []

    def away(images: np.ndarray) -> np.ndarray:
        times.append(time.monotonic())
        raise ConnectionError("away")

    with pytest.raises(ConnectionError):
        box(away, retries=3, backoff=0.05).ask(levels(1))
    assert (np.diff(times) >= np.array([0.05, 0.1, 0.2]) - 0.005).all()


@pytest.mark.parametrize(
    ("function", "options", "words"),
    [
        (lambda images: np.zeros((len(images), 2)), {}, r"shape \(4, 3\), not \(4, 2\)"),
        (lambda images: np.full((len(images), 3), 7.0), {}, "output='logits'"),
        (lambda images: ["a"] * len(images), {}, "array of numbers"),
        (lambda images: np.full(len(images), 3), {"output": "labels"}, "from 0 to 2"),
    ],
)
def test_a_wrong_answer_is_not_asked_for_again(
    function: Callable[[np.ndarray], Any], options: dict[str, Any], words: str
) -> None:
    asked = box(function, **options)
    with pytest.raises(EvofoolError, match=words):
        asked.ask(levels(4))
    assert asked.counts == (0, 0, 4)


def test_confidences_logits_and_labels_mean_the_same() -> None:
    images = from_uint8(levels(9))
    expected = confidences(np.asarray(images))
    by_output = {
        "probabilities": box(),
        "logits": box(lambda images: images.reshape(len(images), -1) @ WEIGHTS, output="logits"),
        "labels": box(lambda images: confidences(images).argmax(axis=1), output="labels"),
    }
    for output, asked in by_output.items():
        np.testing.assert_array_equal(asked.logits(images).argmax(axis=1), expected.argmax(axis=1))
        if output != "labels":
            np.testing.assert_allclose(asked(images), expected, atol=1e-6)
            np.testing.assert_allclose(asked.activate(asked.logits(images)), expected, atol=1e-6)
    assert np.asarray(by_output["labels"](images)).max(axis=1).tolist() == [1.0] * 9


def test_what_would_have_to_be_compiled_is_refused_in_one_line() -> None:
    for transformed in (jax.jit(box()), jax.grad(lambda images: box().logits(images).sum())):
        with pytest.raises(UsageError, match="black box can only be asked"):
            transformed(from_uint8(levels(2)))


@pytest.mark.parametrize(
    "options", [{"max_batch": 0}, {"in_flight": 0}, {"retries": -1}, {"timeout": 0.0}, {"cache": -1}]
)
def test_options_out_of_range_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        box(**options)


def test_a_service_is_the_classifier_behind_it() -> None:
    images = levels(5)
    with serving(box()) as url:
        about = json.load(urllib.request.urlopen(url))
        assert (about["input_shape"], about["class_names"]) == (list(SHAPE), list(NAMES))
        asked = service(url)
        np.testing.assert_array_equal(asked.ask(images), box().ask(images))
        assert asked.spec.class_names == NAMES
        request = urllib.request.Request(url, b"no images")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request)
    with pytest.raises(EvofoolError, match="Connection refused"):
        service(url)
