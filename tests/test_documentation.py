"""Every command and every program of the documentation, taken from its fenced blocks.

Shell blocks are run by bash twice. The first time, programs that only note their arguments stand in for
`evofool`, `python` and others, and the parsers of the real ones then read the arguments. The second
time (slow) `evofool` is real, for a few generations in a fresh directory with the files that the blocks name.
The scripts are not run again: test_scripts.py runs them.
"""

import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro

from benchmarks import __main__ as benchmarks
from benchmarks.accelerator import __main__ as accelerator
from evofool import create_classifier, load_classifier, save_classifier
from evofool.classifiers import CLASSIFIERS
from evofool.cli.main import _parse
from evofool.datasets import DIGIT_NAMES
from evofool.images import write_png
from evofool.processes import ProcessOptions
from evofool.runs import RunDirectory
from evofool.studies.directory import KIND, begin_study
from tests.classifiers import onnx_models

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "benchmarks/README.md",
    *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")),
)
PROGRAMS = ("evofool", "python", "pip", "make", "chmod")
NEEDS_DATA = ("mnist", "cifar10", *(name for name in CLASSIFIERS if name != "lenet-digits"))

NOTE = """#!/bin/sh
line=$(printf '%s\\037' "${0##*/}" "$@")
printf '%s\\n' "$line" >> "$NOTED"  # in one piece: programs may run beside each other
"""
REAL = """#!{python}
import os, sys
args = sys.argv[1:]
if args[0] == "fetch":
    sys.exit(0)  # needs a network
most = dict.fromkeys(("--generations", "--batch-size", "--policies", "--count"), 4)
if args[0] == "study":
    most |= dict.fromkeys(("--runs", "--iterations", "--epochs", "--rounds", "--starts", "--seeds"), 1)
for option in most.keys() & set(args):
    value = args.index(option) + 1
    args[value] = str(min(int(args[value]), most[option]))
if args[0] == "train":
    args += ["--epochs", "1"]
os.execv(sys.executable, [sys.executable, "-m", "evofool", *args])
"""


def blocks(language: str) -> list[Any]:
    """The blocks of a language as parameters, named after their page and line."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param(match[1], id=f"{page}:{line}"))
    return found


def bash(block: str, folder: Path, programs: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a block in a folder, with these programs in front of all others."""
    bin = folder / ".venv" / "bin"
    bin.mkdir(parents=True)
    for name, text in programs.items():
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{bin}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "NOTED": str(folder / "noted"),
    }
    return subprocess.run(
        ["bash", "-e", "-u", "-c", block], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize("block", blocks("sh"))
def test_every_option_of_the_documentation_exists(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = bash(block, tmp_path, dict.fromkeys(PROGRAMS, NOTE))
    assert done.returncode == 0, done.stderr
    monkeypatch.setattr(ProcessOptions, "connect", lambda self: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    commands = [line.split("\037")[:-1] for line in (tmp_path / "noted").read_text().splitlines()]
    assert len(commands) >= sum(line[:1].isalpha() for line in re.split(r"(?<!\\)\n", block)) - 2  # do, done
    for command in commands:
        parse(command)


def parse(command: Sequence[str]) -> None:
    """Let the real parser read a command; `SystemExit` or an error if it does not understand it."""
    match command:
        case ["evofool", *args]:
            parsed = _parse(args)
            if args[0] == "evolve" and parsed.out is not None and not parsed.processes.process_id:
                settings = parsed.settings  # of a run that a later command may resume
                RunDirectory.create(parsed.out, settings, load_classifier("lenet-digits")).results.release()
            if args[0] == "study" and getattr(parsed, "out", None) is not None:
                results = parsed.create_results(KIND, "study")  # which a later command may resume
                begin_study(args[1], parsed.options, results)
                results.release()
        case ["python", "-m", "pytest", path, *_]:
            assert (ROOT / path).exists()
        case ["python", "-m", "benchmarks", *args]:
            if "--help" not in args:
                assert set(tyro.cli(benchmarks.Benchmarks, args=args).cases) <= set(benchmarks.CASES)
        case ["make", *targets]:
            rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert set(targets) <= set(rules)
        case ["python", "-c", program]:
            compile(program, "program", "exec")
        case ["pip" | "chmod", *_] | ["python", "-m", "pip", *_]:
            pass
        case ["python", "-m", "benchmarks.accelerator", *args]:
            assert set(accelerator.parser().parse_args(args).sections) <= set(accelerator.SECTIONS)
        case ["python", script, *args]:
            main = importlib.import_module(Path(script).stem).main
            tyro.cli(
                functools.wraps(main)(lambda *_, **__: None), args=args, config=(tyro.conf.OmitArgPrefixes,)
            )
        case _:
            raise AssertionError(f"no parser of {command} is known")


@pytest.mark.slow
@pytest.mark.parametrize("block", [each for each in blocks("sh") if "evofool " in each.values[0]])
def test_every_command_of_the_documentation_runs(
    block: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if any(name in block for name in NEEDS_DATA):
        request.getfixturevalue("data")
    if " hf:" in block:
        pytest.skip("needs the Hugging Face hub")
    make_files(tmp_path)
    for made in re.findall(r"--out (\S+\.safetensors)", block):
        (tmp_path / made).unlink(missing_ok=True)
    others = dict.fromkeys(PROGRAMS, "#!/bin/sh\n")
    done = bash(block, tmp_path, {**others, "evofool": REAL.replace("{python}", sys.executable)})
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def make_files(folder: Path) -> None:
    """All files that the documentation takes for granted."""
    random = np.random.default_rng(0)

    def draw(name: str, shape: tuple[int, ...] = (28, 28, 1)) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_png(folder / name, random.integers(256, size=shape, dtype=np.uint8))

    for part in ("digits", "some", "others", "a", "b"):
        for number in range(3):
            draw(f"{part}/{number}.png")
    for number in range(5):
        draw(f"elites/{number}.png")
    for name in ("panda.jpg", "giant_panda.jpg"):
        draw("panda.png", (240, 240, 3))
        (folder / "panda.png").rename(folder / name)
    for category in ("cat", "dog"):
        for number in range(12):
            draw(f"FOLDER/{category}/{number}.png")
    for network in ("linear", "mlp", "lenet"):
        file = folder / f"{network}.safetensors"
        save_classifier(
            *(file, create_classifier(network, (28, 28, 1), DIGIT_NAMES)),
            training_data="none",
            test_accuracy=0.1,
        )
    shutil.copy(folder / "mlp.safetensors", folder / "second.safetensors")
    onnx_models.saved(onnx_models.residual(), folder / "model.onnx")
    (folder / "mymodels.py").write_text(
        "import evofool\n\ndef digits():\n    return evofool.load_classifier('lenet-digits')\n"
    )


@pytest.mark.parametrize("block", blocks("python"))
def test_every_program_of_the_documentation_runs(
    block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for package in ("keras", "onnx", "torch"):
        if f"import {package}\n" in block:
            pytest.importorskip(package, reason=f"needs the extra {package}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(re.sub(r"generations=\d+", "generations=2", block), "block", "exec"), names)
    state = names["found"].state if "found" in names else names["state"]
    assert int(state.generation) == 2
