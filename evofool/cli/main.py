"""One dataclass per command; every error that a user can mend ends in one line and the right exit code."""

import inspect
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple, Union

import tyro

import evofool
from evofool.attacks import ATTACKS
from evofool.cli.attack import attack_command
from evofool.cli.audit import audit_command
from evofool.cli.choices import NotNamed
from evofool.cli.evolve import Evolve
from evofool.cli.fetch import Fetch
from evofool.cli.forms import all_flags, filled_in, form_of, needed, other_choices, presented
from evofool.cli.list import List
from evofool.cli.study import study_command
from evofool.cli.train import Train
from evofool.cli.usage import checked, likely_option, options_of, parse
from evofool.errors import EvofoolError, UsageError, root_cause, shown, unknown_name
from evofool.interruption import raise_again
from evofool.processes import connected, end_all
from evofool.registry import Registry
from evofool.studies import STUDIES


class _Command(NamedTuple):
    summary: str
    type: Callable[[Sequence[str]], Any]
    example: str = ""


_COMMANDS = {
    "evolve": _Command(
        "Evolve one image per class that the classifier is certain about.", lambda args: Evolve
    ),
    "attack": _Command(
        "Change given images along a classifier's gradients until it is wrong about them.",
        attack_command,
        "evofool attack fgsm --dataset digits --count 20",
    ),
    "study": _Command(
        "Answer a question of the papers with tables and figures.", study_command, "evofool study rubbish"
    ),
    "audit": _Command(
        "How easily is a classifier fooled? One page with everything that was tried.",
        audit_command,
        "evofool audit lenet-digits --dataset digits --quick",
    ),
    "train": _Command("Train a classifier and write it to one file.", lambda args: presented(Train)),
    "fetch": _Command("Download a dataset or the weights of a classifier.", lambda args: presented(Fetch)),
    "list": _Command(
        "List what can be named: classifiers, datasets, encodings, attacks and more.", lambda args: List
    ),
}


_SUBCOMMANDS: dict[str, Registry] = {"attack": ATTACKS, "study": STUDIES}
"""The commands that do one of several things, by name."""


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 if it succeeded, 1 if it failed, 2 if it was used wrongly.

    Args:
        args: the words after `evofool`; those of this process if not given.
    """
    args = sys.argv[1:] if args is None else list(args)
    if args == ["--version"]:
        print(f"evofool {evofool.__version__}")
        sys.exit(0)
    try:
        raise_again()
        sys.exit(_parse(checked(args)).run())
    except EvofoolError as error:
        end_all(str(error), error.exit_code)
        print(f"evofool: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        end_all("interrupted", 130)
        print("evofool: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output has gone; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if connected():  # the others would wait for this process
            traceback.print_exc()
            end_all(f"{type(error).__name__}: {root_cause(error)}", 1)
        raise


def _parse(args: Sequence[str]) -> Any:
    """The command that the arguments ask for, ready to run."""
    path = _path(args)
    words = [*path, *args[len(path) :]]
    evolve = Evolve.with_choices(args[1:]) if path == ["evolve"] else Evolve()

    def type_of(name: str) -> Any:
        if path[:1] != [name]:
            return NotNamed
        return form_of(evolve) if name == "evolve" else _COMMANDS[name].type(words)

    commands = [
        Annotated[
            type_of(name),
            tyro.conf.subcommand(name, description=_description(name, command, evolve, args)),
        ]
        for name, command in _COMMANDS.items()
    ]
    either: Any = Union[tuple(commands)]  # noqa: UP007
    about = {
        "prog": "evofool",
        "description": "Evolve images that a classifier is certain about and a person is not.\n"
        "Start with `evofool evolve`, which needs no data. `evofool COMMAND --help` explains a command;\n"
        "--version prints the version.",
    }
    command, unknown = parse(either, words, _help(path), **about)
    if unknown:
        known = options_of(either, path, **about)
        raise UsageError(f"{_unknown_word(unknown, known, evolve, path)} {_help(path)}")
    return filled_in(evolve, command) if path == ["evolve"] else command


def _path(args: Sequence[str]) -> list[str]:
    """The first words of a command line: a command, and the name of an attack or a study.

    Raises:
        UsageError: one of them is unknown.
    """
    if not args or args[0].startswith("-"):
        return []
    if args[0] not in _COMMANDS:
        raise unknown_name("command", args[0], _COMMANDS)
    if args[0] not in _SUBCOMMANDS or len(args) == 1 or args[1].startswith("-"):
        return [args[0]]
    return [args[0], _SUBCOMMANDS[args[0]].canonical(args[1])]


def _help(path: Sequence[str]) -> str:
    """Where the help for a command is."""
    return f"See `{' '.join(['evofool', *path])} --help`."


def _unknown_word(words: Sequence[str], known: set[str], evolve: Evolve, path: Sequence[str]) -> str:
    """What is wrong with words that no option takes."""
    flag = next((word.partition("=")[0] for word in words if word.startswith("-")), None)
    if flag is None:
        return f"{shown(repr(words[0]))} belongs to no option."
    elsewhere = all_flags(evolve) - known if path == ["evolve"] else set()
    likely = likely_option(flag, sorted(known)) or likely_option(flag, sorted(elsewhere))
    if likely is None:
        return f"unknown option {shown(flag)}."
    choices = f" (with {needed(Evolve(), evolve, likely)})" if likely in elsewhere else ""
    return f"unknown option {shown(flag)}: did you mean {likely}{choices}?"


def _description(name: str, command: _Command, evolve: Evolve, args: Sequence[str]) -> str | None:
    """One line in the list of commands, the whole docstring on the command's own page."""
    if name not in args[:1]:
        return command.summary
    if command.example:
        return f"{command.summary}\n\nFor example: {command.example}"
    if name != "evolve":
        return None
    text = inspect.cleandoc((Evolve.__doc__ or "").partition("Attributes:")[0])
    examples = "\n".join(f"  evofool evolve {choice} --help" for choice in other_choices(evolve))
    return f"{text}\n\nTo see the options of another choice:\n{examples}"
