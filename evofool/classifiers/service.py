"""Classifiers behind an HTTP address, and a server that puts any classifier behind one.

`docs/black-boxes.md` has the protocol: GET describes the classifier, POST asks it.
"""

import http.client
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from evofool.classifiers.black_box import AnyClassifier, AskingOptions, BlackBox, Function, PermanentError
from evofool.classifiers.scoring import confidences_in_batches
from evofool.errors import EvofoolError, UsageError, root_cause, shown
from evofool.files import without_nan
from evofool.images import from_uint8, to_uint8

DEFAULT_TIMEOUT = 60.0
"""Seconds that a service has for an answer if nothing else is said."""

_RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
_LARGEST_REQUEST = 2**30

_READING = threading.Lock()
"""NumPy reads a header by `ast`, whose depth CPython 3.11 counts for all threads together, and then fails."""


def is_service(name: str) -> bool:
    """Whether the name of a classifier is the address of one.

    Example:
        >>> is_service("http://127.0.0.1:8000/lenet"), is_service("lenet-digits")
        (True, False)
    """
    return name.startswith(("http://", "https://"))


def service(url: str, options: AskingOptions = AskingOptions()) -> BlackBox:
    """The classifier behind an HTTP address.

    Args:
        url: of the classifier, which describes it to GET and answers POST.
        options: how it is asked. Without a timeout each request has 60 seconds.

    Raises:
        UsageError: what it says about itself cannot be true.
        EvofoolError: it does not answer, though it was asked often enough.

    Example:
        >>> from evofool import load_classifier
        >>> with serving(load_classifier("lenet-digits")) as url:
        ...     box = service(url)
        ...     images = np.zeros((2, 28, 28, 1), np.float32)
        ...     box, box(images).shape
        (BlackBox('lenet-digits', 28x28x1, 10 classes, probabilities), (2, 10))
    """
    values = {name: getattr(options, name) for name in AskingOptions.__dataclass_fields__}
    values["timeout"] = timeout = options.timeout or DEFAULT_TIMEOUT
    described: list[Mapping[str, Any]] = []

    def describe(_: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        try:
            described.append(_described(_json(urllib.request.Request(url), timeout), url))
        except EvofoolError as error:
            if isinstance(error.__cause__, urllib.error.HTTPError):
                raise
            # Where nobody has answered yet, the address is more likely wrong than the service away.
            raise PermanentError(str(error)) from error
        return np.zeros((1, 1), np.float32)

    # The same patience as with images.
    BlackBox(describe, (1, 1, 1), ("any",), name=url, **values).ask(np.zeros((1, 1, 1, 1), np.uint8))
    about = described[0]

    def ask(images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        content = io.BytesIO()
        np.save(content, to_uint8(images))
        headers = {"Content-Type": "application/x-npy", "Accept": "application/json"}
        answer = _json(urllib.request.Request(url, content.getvalue(), headers), timeout)
        try:
            return np.array(answer, np.float32)
        except (TypeError, ValueError) as error:
            raise PermanentError(f"{url} answered something else than a list of lists of numbers") from error

    return BlackBox(
        ask,
        tuple(about["input_shape"]),
        tuple(about["class_names"]),
        about.get("output", "probabilities"),
        about.get("activation", "softmax"),
        about.get("name", url),
        **values,
    )


def _described(about: Any, url: str) -> Mapping[str, Any]:
    if not isinstance(about, dict) or not all(
        isinstance(about.get(name), list) for name in ("input_shape", "class_names")
    ):
        raise PermanentError(
            f"{url} must answer GET with a JSON object of input_shape and class_names, not {shown(about)}"
        )
    return about


def _json(request: urllib.request.Request, timeout: float) -> Any:
    """The JSON that a server answers.

    Raises:
        PermanentError: it refuses the request, and would refuse it again.
        EvofoolError: it does not answer, or something else.
    """
    url = request.full_url
    try:
        with urllib.request.urlopen(request, timeout=timeout) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        # Read to its end: a connection that is closed before would be reset while the service still writes.
        with error, suppress(OSError, http.client.HTTPException):
            error.read()
        reason = f"{url} answers {error.code} {error.reason}"
        passing = error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code in _RETRIED
        raise (EvofoolError if passing else PermanentError)(reason) from error
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise EvofoolError(f"{url} cannot be asked: {root_cause(error)}") from error


@contextmanager
def serving(
    classifier: AnyClassifier,
    port: int = 0,
    *,
    wrap: Callable[[Function], Function] = lambda function: function,
) -> Iterator[str]:
    """Put a classifier behind an HTTP address of this machine during a block.

    Args:
        classifier: a `Classifier` or a `BlackBox`.
        port: where; a free one if it is 0.
        wrap: changes the function from images to confidences, to count for instance, or to fail: what it
            raises is answered with status 503.

    Returns:
        The address.

    Example:
        >>> from evofool import load_classifier
        >>> with serving(load_classifier("lenet-digits")) as url:
        ...     json.load(urllib.request.urlopen(url))["input_shape"]
        [28, 28, 1]
    """
    function = wrap(partial(_confidences, classifier))
    server = _Server(("127.0.0.1", port), _handler(function, _about(classifier)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _confidences(classifier: AnyClassifier, images: Float[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
    if isinstance(classifier, BlackBox):
        return np.asarray(classifier(jnp.asarray(images)))
    # Few sizes of batches, since each is a program of its own.
    missing = max(2, 1 << (len(images) - 1).bit_length()) - len(images)
    filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.float32)])
    return np.asarray(confidences_in_batches(classifier, jnp.asarray(filled)))[: len(images)]


def _about(classifier: AnyClassifier) -> dict[str, Any]:
    spec = classifier.spec
    return {
        "name": spec.name,
        "input_shape": list(spec.input_shape),
        "class_names": list(spec.class_names),
        "output": "probabilities",
        "activation": spec.activation,
    }


class _Server(ThreadingHTTPServer):
    """A server whose backlog holds every request in flight: connections beyond it would be reset."""

    request_queue_size = 128


def _handler(function: Function, about: Mapping[str, Any]) -> type[BaseHTTPRequestHandler]:
    shape = tuple(about["input_shape"])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(HTTPStatus.OK, about)

        def do_POST(self) -> None:
            try:
                images = _read_images(self.rfile.read(self._length()), shape)
            except (ValueError, UsageError) as error:
                self._answer(HTTPStatus.BAD_REQUEST, str(error))
                return
            try:
                confidences = np.asarray(function(np.asarray(from_uint8(images))))
            except Exception as error:
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{type(error).__name__}: {error}")
                return
            self._answer(HTTPStatus.OK, without_nan(confidences.tolist()))

        def _length(self) -> int:
            length = int(self.headers.get("Content-Length", "0"))
            if not 0 <= length <= _LARGEST_REQUEST:
                raise UsageError(f"a request has at most {_LARGEST_REQUEST:,} bytes")
            return length

        def _answer(self, status: HTTPStatus, content: Any) -> None:
            body = json.dumps(content, allow_nan=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _read_images(content: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "n h w c"]:
    """The levels in a request.

    Raises:
        ValueError: it is no file of NumPy's, or holds pickled objects.
        UsageError: these are no such images.
    """
    with _READING:
        images = np.load(io.BytesIO(content), allow_pickle=False)
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != shape:
        raise UsageError(f"images must be an array of uint8 of the shape (n, *{shape})")
    return images
