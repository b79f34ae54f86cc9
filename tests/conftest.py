"""Where the tests find real data, and how they call the command line."""

import os
import subprocess
import sys
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


# Most of a run of the tests is compiling. All workers and all later runs share what has been compiled; a
# process that a test starts inherits the variable.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(pooch.os_cache("evofool") / "tests"))
jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
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
