"""Where the tests find real data, and how they call the command line."""

import gc
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import pooch
import pytest
from hypothesis import settings

import evofool
from evofool.cli import main

# The first example of a test compiles, so a deadline would judge the compiler.
settings.register_profile("evofool", deadline=None, max_examples=60)
settings.load_profile("evofool")

_SHARED = Path(__file__).parents[2] / "shared" / "data"

if "EVOFOOL_DATA" not in os.environ and _SHARED.is_dir():
    os.environ["EVOFOOL_DATA"] = str(_SHARED)


def pytest_collection_finish() -> None:
    """Make the garbage collector leave alone what is imported: it would visit it again and again.

    Tracing makes so many objects that it takes a tenth of the time otherwise.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


# Most of a run of the tests is compiling. All workers and all later runs share what has been compiled; a
# process that a test starts inherits the variable.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pooch.os_cache("evofool") / "tests"))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


@pytest.fixture(scope="session", autouse=True)
def _own_downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests download stays among themselves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVOFOOL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; what needs it is skipped where it is not."""
    folder = os.environ.get("EVOFOOL_DATA")
    if folder is None or not Path(folder, "weights").is_dir():
        pytest.skip("needs EVOFOOL_DATA with the weights of real networks")
    return Path(folder)


@pytest.fixture(scope="session")
def lenet(data: Path) -> evofool.Classifier:
    """The LeNet of Nguyen et al."""
    return evofool.load_classifier("lenet-nguyen2015")


@pytest.fixture
def evofool_main(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process: its exit code, output and errors."""

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(arg) for arg in args])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def evofool_process() -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in a process of its own."""

    def start(*args: object, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "evofool", *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **environment},
        )

    return start


class Mirror:
    """A server on this machine that serves `files` and remembers what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.claimed_length: int | None = None
        self.requested: list[str] = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.lstrip("/")
                mirror.requested.append(name)
                if name not in mirror.files:
                    self.send_error(404)
                    return
                content = mirror.files[name]
                self.send_response(200)
                self.send_header("Content-Length", str(mirror.claimed_length or len(content)))
                for key, value in mirror.headers.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    # A proxy that the environment names must not come between the test and its own server.
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    mirror = Mirror()
    thread = threading.Thread(target=mirror.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield mirror
    mirror.server.shutdown()
    thread.join()
    mirror.server.server_close()


_MOST_MAPPINGS = 6_000
"""About 400 compiled programs of two megabytes each. Linux lets a process map memory 65,530 times."""


@pytest.fixture(scope="module", autouse=True)
def _programs() -> Iterator[None]:
    """Files share compiled programs, which are dropped before a process can map no more memory."""
    yield
    mappings = Path("/proc/self/maps")
    if not mappings.exists() or len(mappings.read_text().splitlines()) > _MOST_MAPPINGS:
        jax.clear_caches()
