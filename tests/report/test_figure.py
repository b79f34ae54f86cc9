"""Figures wrap their titles, are saved atomically, and load matplotlib only when drawn."""

import subprocess
import sys

import numpy as np
import pytest

from evofool.images import read_png
from evofool.report.figure import figure


def test_titles_wrap_and_a_failed_drawing_keeps_the_old_file(tmp_path):
    file = tmp_path / "figure.png"
    title = "Images evolved for a classifier of a very long name " * 3
    with figure(file, title, size=(6, 3)) as drawn:
        drawn.subplots().plot([0, 1])
    whole = file.read_bytes()
    ink = np.nonzero((read_png(file) < 100).all(-1))[1]
    assert ink.max() < 6 * 150 - 5
    with pytest.raises(RuntimeError), figure(file, size=(6, 3)) as drawn:
        raise RuntimeError("while it was drawn")
    assert file.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [file]


def test_importing_reports_does_not_import_matplotlib():
    code = "import sys, evofool.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
