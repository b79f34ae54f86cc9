"""The run that the tests of runs compare with."""

from pathlib import Path

import pytest

from evofool.cli import main
from tests.runs.common import SMALL


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 60 generations that was never interrupted. Tests that change it use a copy."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.raises(SystemExit) as ended:
        main([*map(str, ("evolve", "--generations", 60, *SMALL, "--out", path)), "--quiet"])
    assert ended.value.code == 0
    return path
