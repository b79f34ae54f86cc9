"""Ctrl-C before the command line has been imported."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def interrupted_import(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Start Python with a JAX whose import never ends, and interrupt it there."""
    (folder / "jax").mkdir()
    (folder / "jax" / "__init__.py").write_text(
        f"import pathlib, time\npathlib.Path({str(folder / 'started')!r}).touch()\ntime.sleep(60)\n"
    )
    path = os.pathsep.join([str(folder), str(REPOSITORY)])
    process = subprocess.Popen(
        [sys.executable, *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell may have started the tests in the background, where Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not (folder / "started").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=30)
    return subprocess.CompletedProcess(words, process.returncode, printed, errors)


@pytest.mark.parametrize("words", [("-m", "evofool", "list"), ("evofool", "list")])
def test_an_interrupted_import_ends_in_one_line(words: tuple[str, ...], tmp_path: Path) -> None:
    # What an installation puts into its folder of programs.
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "evofool").write_text("import sys\nfrom evofool.cli import main\nsys.exit(main())\n")
    first = str(tmp_path / "bin" / "evofool") if words[0] == "evofool" else words[0]
    ended = interrupted_import(tmp_path, first, *words[1:])
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "evofool: interrupted\n")


def test_an_import_in_a_program_of_the_user_raises_as_ever(tmp_path: Path) -> None:
    program = "try:\n  import evofool\nexcept KeyboardInterrupt:\n  print('mine')"
    ended = interrupted_import(tmp_path, "-c", program)
    assert (ended.returncode, ended.stdout) == (0, "mine\n")
