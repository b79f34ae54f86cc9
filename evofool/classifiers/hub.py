"""Classifiers of the Hugging Face hub by name, as in `hf:OWNER/NAME@REVISION`."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from evofool.classifiers.classifier import Classifier
from evofool.classifiers.importers.repository import CONFIG, FILES, PREPROCESSOR, load_repository
from evofool.errors import EvofoolError, UsageError, root_cause, shown
from evofool.extras import extra

PREFIX = "hf:"

_NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


class _Snapshot(NamedTuple):
    """The files of a model at one commit."""

    folder: Path
    repository: str
    commit: str


def load_from_hub(name: str) -> Classifier:
    """Load an image classifier of the Hugging Face hub.

    Files that are in the hub's cache (`HF_HOME`) already are not downloaded again, and `HF_HUB_OFFLINE=1`
    uses these only. Weights are read from model.safetensors; nothing is unpickled and no code is run.

    Args:
        name: `hf:OWNER/NAME`, or `hf:OWNER/NAME@REVISION` with a branch, a tag or a commit.

    Raises:
        UsageError: it is no such name.
        EvofoolError: huggingface_hub is not installed, the model cannot be downloaded, or its architecture is
            not supported.
    """
    snapshot = _snapshot(name)
    return load_repository(snapshot.folder, snapshot.repository)


def pinned(name: str) -> str:
    """The name of a model with the commit that it stands for now, which is what `load_from_hub` loads.

    Raises:
        UsageError: it is no name of a model.
        EvofoolError: the model cannot be downloaded.
    """
    snapshot = _snapshot(name)
    return f"{PREFIX}{snapshot.repository}@{snapshot.commit}"


@lru_cache
def _snapshot(name: str) -> _Snapshot:
    """The files of a model. A name stands for the same commit as long as this process lives."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise UsageError(
            f"a model of the hub is named hf:OWNER/NAME or hf:OWNER/NAME@REVISION, not {shown(name)}"
        )
    download = extra("hub", name, "huggingface_hub").hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    repository, revision = found["repository"], found["revision"]
    path, commit = Path(), revision
    for file in FILES:
        try:
            with _without_warnings():
                path = Path(download(repository, file, revision=commit))
        except LocalEntryNotFoundError as error:
            if file == PREPROCESSOR:
                continue
            raise EvofoolError(
                f"cannot download {file} of {name}, and it is not in the cache: {_reason(error)}"
            ) from error
        except EntryNotFoundError as error:
            if file == PREPROCESSOR:  # timm has none
                continue
            raise EvofoolError(f"{name} has no {file}: it cannot be loaded without unpickling") from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise EvofoolError(f"cannot download {file} of {name}: {_reason(error)}") from error
        if file == CONFIG:
            commit = path.parent.name
    return _Snapshot(path.parent, repository, path.parent.name)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep the hub's library from logging what is raised as an error as well."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """The first sentence of what the hub's library says, which are several lines with advice."""
    return root_cause(error).split(". ")[0].rstrip(".")
