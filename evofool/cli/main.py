"""One dataclass per command; whatever goes wrong ends in one line and the right exit code."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from evofool.cli.attack import attack_command
from evofool.cli.evolve import Evolve
from evofool.cli.fetch import Fetch
from evofool.cli.list import List
from evofool.cli.study import study_command
from evofool.cli.train import Train
from evofool.datasets import cache_folder
from evofool.errors import EvofoolError

_DESCRIPTION = "Evolve images that a classifier is certain about and a person is not."


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit: 0 if it succeeded, 1 if it failed, 2 if it was asked for wrongly.

    Args:
        args: the words after `evofool`; those of this process if not given.
    """
    args = sys.argv[1:] if args is None else list(args)
    try:
        _keep_compiled_programs()
        command = tyro.cli(_commands(), prog="evofool", description=_DESCRIPTION, args=args)
        if isinstance(command, Evolve) and command.resume is not None:
            # Parsed again with the settings of the run as defaults, to tell what was given from what was not.
            command = tyro.cli(
                Evolve, prog="evofool evolve", args=args[1:], default=Evolve.of_run(command.resume)
            )
        sys.exit(command.run())
    except EvofoolError as error:
        print(f"evofool: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("evofool: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again when it closes the stream.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _commands() -> Any:
    """The union of all commands, as tyro parses it."""
    attack = tyro.conf.subcommand("attack", description="Attack images by the gradient of a classifier.")
    study = tyro.conf.subcommand("study", description="Answer a question of the papers.")
    return (
        Annotated[Evolve, tyro.conf.subcommand("evolve")]
        | Annotated[attack_command(), attack]
        | Annotated[study_command(), study]
        | Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Fetch, tyro.conf.subcommand("fetch")]
        | Annotated[List, tyro.conf.subcommand("list")]
    )


def _keep_compiled_programs() -> None:
    """Let a second start compile nothing."""
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or cache_folder() / "compiled")
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
