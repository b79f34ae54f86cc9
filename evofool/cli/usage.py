"""Parsing a command line with tyro, so that every mistake ends in one line."""

import contextlib
import difflib
import io
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

import tyro

from evofool.errors import UsageError, require_printable

# Help is in docstrings: looking for it in comments takes half of the time of parsing.
_CONFIG = (tyro.conf.HelptextFromCommentsOff,)

_FAMILIAR = {
    **dict.fromkeys(
        ("--population", "--population-size", "--pop-size", "--popsize"), ("--batch-size", "--policies")
    ),
    **dict.fromkeys(("--epochs", "--iterations", "--iters", "--steps"), ("--generations", "--steps")),
    **dict.fromkeys(("--lr", "--rate"), ("--learning-rate",)),
    **dict.fromkeys(("--eps", "--radius"), ("--epsilon",)),
    **dict.fromkeys(("--alpha", "--step-size"), ("--change",)),
    **dict.fromkeys(("--search", "--algo", "--method", "--strategy"), ("--algorithm",)),
    **dict.fromkeys(("--representation", "--genome"), ("--encoding",)),
    **dict.fromkeys(("--model", "--net", "--network", "--weights"), ("--classifier", "--network")),
    **dict.fromkeys(("--output", "--output-dir", "--out-dir", "--dir", "-o"), ("--out",)),
    **dict.fromkeys(("--input", "--image", "--file", "--files", "-i"), ("--images",)),
    **dict.fromkeys(("--label", "--class", "--classes"), ("--target", "--targets")),
    **dict.fromkeys(("--data", "--folder"), ("--dataset", "--images")),
    **dict.fromkeys(("--num", "--number", "--limit", "-n"), ("--count", "--generations")),
    **dict.fromkeys(("--gpus", "--num-devices"), ("--devices",)),
    **dict.fromkeys(("--random-seed", "-s"), ("--seed",)),
    **dict.fromkeys(("--force", "-f"), ("--overwrite",)),
    **dict.fromkeys(("--continue", "--restart"), ("--resume",)),
    **dict.fromkeys(("--silent", "-q"), ("--quiet",)),
}
"""Names that options have in other programs, and what they are called here."""


def checked(args: Iterable[str]) -> list[str]:
    """The words of a command line, with `~` replaced by the home folder where a shell would leave it.

    Raises:
        UsageError: a word is empty, or cannot be printed in one line.

    Example:
        >>> checked(["--out", "runs/a"])
        ['--out', 'runs/a']
    """
    words: list[str] = []
    for word in args:
        require_printable("an argument", word)
        flag, equals, value = word.partition("=") if word.startswith("-") else ("", "", word)
        if not value and (equals or not flag):
            after = flag or (words[-1] if words else "evofool")
            raise UsageError(f"the word after {after} is empty: give it a value, or leave both out")
        words.append(flag + equals + os.path.expanduser(value))
    return words


def parse(command: Any, args: Sequence[str], help_hint: str, **about: Any) -> tuple[Any, list[str]]:
    """Parse a command line as `tyro.cli` does.

    Args:
        command: the type of what is parsed.
        args: the words.
        help_hint: the sentence at the end of errors.
        about: the program's name and description, for `tyro.cli`.

    Returns:
        What was parsed, and the words that tyro did not recognise.

    Raises:
        UsageError: a value is missing or not of its type, or a choice or a required option is missing.
    """
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors):
            return tyro.cli(command, args=args, return_unknown_args=True, config=_CONFIG, **about)
    except SystemExit as ended:
        if not ended.code:
            raise
    raise UsageError(f"{_in_one_line(errors.getvalue())}. {help_hint}")


def options_of(command: Any, args: Sequence[str], **about: Any) -> set[str]:
    """The options that the help of a command names."""
    page = io.StringIO()
    with contextlib.redirect_stdout(page), contextlib.suppress(SystemExit):
        tyro.cli(command, args=[*args, "--help"], config=_CONFIG, **about)
    return set(re.findall(r"--[a-z][\w.-]*\w", page.getvalue()))


def likely_option(flag: str, known: Iterable[str]) -> str | None:
    """The known option that was probably meant by an unknown one: by its beginning, spelling or meaning.

    Example:
        >>> likely_option("--pop-size", ["--batch-size", "--seed"]), likely_option("--sede", ["--seed"])
        ('--batch-size', '--seed')
    """
    known = list(known)
    given = flag.replace("_", "-")
    begun = [name for name in known if name.startswith(given) and given.startswith("--")]
    near = difflib.get_close_matches(given, [*known, *_FAMILIAR], n=3, cutoff=0.7)
    meant = (name for other in near for name in _FAMILIAR.get(other, (other,)))
    return next((name for name in (*begun, *meant) if name in known), None)


def _in_one_line(box: str) -> str:
    """The first section of the box that tyro draws, below its title.

    Where the terminal has no lines to draw with, there are hyphens below the title and no frame.
    """
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    sections = re.split(r"^[╰─-][─╯-]*$", "\n".join(lines), flags=re.MULTILINE)
    text = " ".join(next((section for section in sections if section.strip()), "wrong usage").split())
    return text[0].lower() + text[1:].removesuffix(".")
