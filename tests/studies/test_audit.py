"""The audit of a classifier, from the command line to the page."""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from evofool import create_classifier, save_classifier
from evofool.classifiers import BlackBox
from evofool.cli import main
from evofool.errors import UsageError
from evofool.images import read_png, write_png
from evofool.studies import work
from evofool.studies.audit.budget import Budget
from evofool.studies.certainty import auroc
from tests.studies.common import SoftmaxRegression, arrays

Main = Callable[..., tuple[int, str, str]]

CLASSES = ("<script>alert(1)<&", "<img src=x onerror=alert(1)>")
EPSILON = 20 / 255
SETTINGS = ("--quick", "--count", "40", "--epsilon", str(EPSILON))


class Setting(NamedTuple):
    """A finished audit of softmax regression with two classes, and what it was made from."""

    out: Path
    data: Path
    file: Path
    network: SoftmaxRegression
    images: np.ndarray
    labels: np.ndarray

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.out / "audit.json").read_text())

    @property
    def page(self) -> str:
        return (self.out / "report.html").read_text(encoding="utf-8")

    def table(self, section: str) -> list[dict[str, Any]]:
        (found,) = (each for each in self.record["sections"] if each["title"] == section)
        return next(iter(found["tables"].values()))

    @property
    def margins(self) -> np.ndarray:
        """By how much the logit of its label exceeds the other, for each image."""
        logits = self.images.reshape(len(self.images), -1) / 255 @ self.network.kernel + self.network.bias
        return np.where(self.labels == 0, 1, -1) * (logits[:, 0] - logits[:, 1])


def call(*args: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(arg) for arg in args])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Setting:
    """Grey images around one half, so that no change within epsilon leaves [0, 1]."""
    folder = tmp_path_factory.mktemp("audit")
    random = np.random.default_rng(0)
    template = random.normal(size=(8, 8, 1))
    template -= template.mean()
    data = folder / "data"
    for part, count in (("train", 30), ("test", 20)):
        for label, name in enumerate(CLASSES):
            (data / part / name).mkdir(parents=True)
            for number in range(count):
                noisy = 127 + (1 - 2 * label) * 6 * template + random.normal(0, 40, template.shape)
                image = np.clip(np.rint(noisy), 60, 195).astype(np.uint8)
                write_png(data / part / name / f"{number:02}.png", image)
    linear = create_classifier("linear", (8, 8, 1), CLASSES, name="<b>mine</b>")
    kernel = np.stack([template.ravel(), -template.ravel()], axis=1)
    params = jax.tree.map(
        lambda leaf: jnp.asarray(kernel if leaf.ndim == 2 else [0.1, -0.1], jnp.float32), linear.params
    )
    file = folder / "mine.safetensors"
    save_classifier(file, replace(linear, params=params), training_data="none", test_accuracy=0.5)
    out = folder / "out"
    assert call("audit", file, "--dataset", data, *SETTINGS, "--out", out, "--quiet") == 0
    files = [sorted((data / "test" / name).iterdir()) for name in sorted(CLASSES)]
    images = np.stack([read_png(path) for each in files for path in each])
    labels = np.repeat([CLASSES.index(name) for name in sorted(CLASSES)], 20)
    return Setting(out, data, file, SoftmaxRegression(file), images, labels)


# The figures


def test_accuracy_is_that_of_the_network_in_numpy(setting: Setting) -> None:
    right = setting.network.classes(setting.images) == setting.labels
    assert 0.7 < right.mean() < 1  # else this shows little
    assert setting.record["figures"]["clean_accuracy"] == right.mean()
    counts = {row["class"]: row["accuracy"] for row in setting.table("Test images")}
    assert counts == {name: right[setting.labels == label].mean() for label, name in enumerate(CLASSES)}


def test_robust_accuracy_is_what_margins_say(setting: Setting) -> None:
    norm = np.abs(setting.network.kernel[:, 0] - setting.network.kernel[:, 1]).sum()
    rows = setting.table("Accuracy against the size of the change")
    assert [255 * row["epsilon"] for row in rows] == pytest.approx([5, 10, 20])
    for row in rows:
        assert row["accuracy"] == pytest.approx(np.mean(setting.margins > row["epsilon"] * norm))
        assert row["computed"] == row["accuracy"]
    assert setting.record["figures"]["robust_accuracy"] == rows[-1]["accuracy"]
    assert rows[-1]["accuracy"] < rows[0]["accuracy"] < setting.record["figures"]["clean_accuracy"]


def test_the_smallest_changes_are_the_distances_to_the_boundary(setting: Setting) -> None:
    right = setting.margins > 0
    lengths = setting.margins[right] / np.linalg.norm(setting.network.kernel @ [1, -1])
    median = setting.record["figures"]["median_smallest_l2"]
    assert median == pytest.approx(1.02 * np.median(lengths), rel=0.01)
    (smallest, *_, largest) = setting.table("The smallest changes")
    assert smallest["l2"] == pytest.approx(1.02 * lengths.min(), rel=0.05, abs=5e-4)
    assert largest["l2"] == pytest.approx(1.02 * lengths.max(), rel=0.01)


@pytest.mark.parametrize("encoding", ["direct", "cppn"])
def test_evolved_images_have_the_confidences_of_the_table(setting: Setting, encoding: str) -> None:
    title = {"direct": "Evolved pixels", "cppn": "Evolved patterns"}[encoding]
    rows = setting.table(title)
    (section,) = (each for each in setting.record["sections"] if each["title"] == title)
    (groups,) = section["galleries"].values()
    assert len(rows) == len(groups) == 2
    for row, (picture,) in zip(rows, groups, strict=True):
        confidences = setting.network.confidences(read_png(setting.out / picture["file"])[None])[0]
        assert confidences[CLASSES.index(row["class"])] == pytest.approx(row["confidence"], abs=1e-5)
        assert picture["lines"][0] == row["class"]
        assert 0 < row["queries"] <= 10_000
    median = np.median([row["confidence"] for row in rows])
    assert setting.record["figures"][f"{encoding}_median_confidence"] == pytest.approx(median)


def test_the_warning_is_that_of_scikit_learn(setting: Setting) -> None:
    data = setting.network.confidences(setting.images).max(axis=1)
    threshold = np.quantile(data, 0.05)
    warned = []
    for encoding in ("direct", "cppn"):
        evolved = arrays(setting.out, encoding)["confidences"][0]
        truth = [*np.ones(len(data)), *np.zeros(len(evolved))]
        expected = roc_auc_score(truth, [*data, *evolved])
        assert setting.record["figures"][f"auroc_{encoding}"] == pytest.approx(expected, abs=1e-6)
        warned += [confidence < threshold for confidence in evolved]
    assert setting.record["figures"]["warned"] == np.mean(warned)


scores = st.lists(st.integers(0, 6), min_size=1, max_size=40)


@given(scores, scores)
def test_auroc_is_that_of_scikit_learn_with_any_ties(higher: list[int], lower: list[int]) -> None:
    expected = roc_auc_score([1] * len(higher) + [0] * len(lower), higher + lower)
    assert auroc(np.array(higher, float), np.array(lower, float)) == pytest.approx(expected, abs=1e-12)


def test_auroc_needs_both_kinds() -> None:
    with pytest.raises(UsageError, match="both kinds"):
        auroc(np.array([0.5]), np.array([]))


def test_every_table_is_there_as_csv_too(setting: Setting) -> None:
    for section in setting.record["sections"]:
        for title, rows in section["tables"].items():
            file = setting.out / "tables" / f"{title.replace(' ', '_').replace('?', '')}.csv"
            with file.open(newline="", encoding="utf-8") as opened:
                assert [each["source"] for each in csv.DictReader(opened)] == [
                    each["source"] for each in rows
                ]
    assert len(list((setting.out / "figures").iterdir())) == 2


def test_what_was_audited_and_how_is_said(setting: Setting) -> None:
    record = setting.record
    assert record["command"].startswith("evofool audit ")
    assert "--quick" in record["command"]
    about = record["about"]
    assert len(about["weights, SHA-256"]) == 64
    assert "jax" in about["versions"]
    assert record["options"]["quick"] is True
    for words in (*about.values(), record["command"]):
        assert words.replace("<", "&lt;").replace(">", "&gt;").replace("&lt;&", "&lt;&amp;") in (
            setting.page.replace("&#39;", "'").replace("&#34;", '"')
        )


# The page


class Page(HTMLParser):
    """The elements of a page and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def require_harmless(text: str) -> Page:
    """A page whose elements run nothing and ask for nothing outside of it."""
    page = Page(text)
    for tag, attributes in page.elements:
        assert tag not in ("script", "iframe", "object", "embed", "form", "base", "b")
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/png;base64,")
            assert attributes["alt"]
        if tag == "a":
            assert (attributes["href"] or "").startswith("#")
        if tag == "link":
            assert attributes["href"] == "data:,"
    assert "url(" not in text
    assert "@import" not in text
    return page


def test_names_are_text_and_the_page_asks_for_nothing(setting: Setting) -> None:
    page = require_harmless(setting.page)
    for name in (*CLASSES, "<b>mine</b>"):
        assert name in page.text
    pictures = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(pictures) > 30
    ids = {attributes["id"] for _, attributes in page.elements if "id" in attributes}
    links = {(attributes["href"] or "")[1:] for tag, attributes in page.elements if tag == "a"}
    assert links
    assert links <= ids


def chromium(*args: object) -> subprocess.CompletedProcess[str]:
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium (Debian: apt-get install chromium)")
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--dump-dom")
    command = [program, *options, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def test_a_browser_shows_the_page_without_complaints_at_any_width(setting: Setting, tmp_path: Path) -> None:
    shown = chromium(f"file://{setting.out / 'report.html'}")
    assert "CONSOLE" not in shown.stderr
    assert "How easily is &lt;b&gt;mine&lt;/b&gt; fooled?</h1>" in shown.stdout

    frames = "".join(
        f'<iframe src="file://{setting.out / "report.html"}" width="{width}" height="900"></iframe>'
        for width in (400, 1400)
    )
    measuring = tmp_path / "measuring.html"
    measuring.write_text(
        f"""{frames}<p></p><script>
        addEventListener("load", () => {{
            const documents = [...document.querySelectorAll("iframe")].map((frame) => frame.contentDocument);
            const roots = documents.map((page) => page.documentElement);
            const beyond = roots.map((root) => root.scrollWidth - root.clientWidth);
            const pictures = documents.flatMap((page) => [...page.images]).map((each) => each.naturalWidth);
            document.querySelector("p").textContent = `beyond ${{beyond}}, ${{Math.min(...pictures)}}`;
        }});
        </script>"""
    )
    measured = chromium(
        "--allow-file-access-from-files", "--virtual-time-budget=10000", f"file://{measuring}"
    )
    # Nothing is wider than the frame, but tables that scroll in it; every picture is drawn.
    assert "<p>beyond 0,0, 8</p>" in measured.stdout


# Limits, comparisons, and going on


def test_a_figure_beyond_its_limit_fails(setting: Setting, evofool_main: Main) -> None:
    robust = setting.record["figures"]["robust_accuracy"]
    again = ("audit", "--resume", setting.out, "--quiet")
    met = ("--fail-under", f"robust_accuracy={robust}", "clean_accuracy=0.1")
    assert evofool_main(*again, *met) == (0, "", "")
    missed = ("--fail-under", "clean_accuracy=0.1", "robust_accuracy=0.99", "robust_accuracy_asked=0.1")
    code, _, errors = evofool_main(*again, *missed, "--fail-over", "direct_above_99=0.5", "warned=1")
    assert code == 1
    assert errors == (
        f"evofool: robust_accuracy_asked was not measured; robust_accuracy is {robust:.4g}, below 0.99; "
        "direct_above_99 is 1, above 0.5\n"
    )


class Killed(BaseException):
    """What no code of an audit catches, as a killed process runs no code."""


def test_an_audit_that_was_killed_goes_on(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evofool_main: Main
) -> None:
    out = tmp_path / "out"
    move = os.replace

    def move_or_end(source: Any, target: Any) -> None:
        if str(target).endswith("smallest.npz"):
            raise Killed
        move(source, target)

    words = ("audit", setting.file, "--dataset", setting.data, *SETTINGS, "--out", out, "--quiet")
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", move_or_end)
        with pytest.raises(Killed):
            main([str(word) for word in words])
    assert not (out / "report.html").exists()
    code, _, errors = evofool_main("audit", "--compare", setting.out, out, "--out", tmp_path / "both")
    assert (code, errors) == (
        2,
        f"evofool: the audit in {out} is not finished: go on with evofool audit --resume {out}\n",
    )
    kept = {path: path.stat().st_mtime_ns for path in out.glob("steps/**/*.npz")}
    assert len(kept) >= 5
    assert evofool_main("audit", "--resume", out, "--quiet") == (0, "", "")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    record = json.loads((out / "audit.json").read_text())
    assert record.pop("command") != setting.record["command"]
    assert record == {name: value for name, value in setting.record.items() if name != "command"}
    assert (out / "report.html").stat().st_size > 50_000


def test_two_audits_are_put_side_by_side(setting: Setting, tmp_path: Path, evofool_main: Main) -> None:
    other, both = tmp_path / "other", tmp_path / "both"
    assert evofool_main(
        *("audit", setting.file, "--dataset", setting.data, *SETTINGS, "--max-queries", "3000"),
        *("--out", other, "--quiet"),
    ) == (0, "", "")
    second = json.loads((other / "audit.json").read_text())
    code, printed, errors = evofool_main("audit", "--compare", setting.out, other, "--out", both)
    assert (code, errors) == (0, "")
    assert "clean_accuracy: " in printed
    page = require_harmless((both / "comparison.html").read_text(encoding="utf-8"))
    assert CLASSES[0] in page.text
    values = json.loads((both / "comparison.json").read_text())["figures"]
    for name, (mine, theirs) in values.items():
        assert mine == setting.record["figures"].get(name)
        assert theirs == second["figures"].get(name)
    # A budget is kept, and what it left out is named.
    queries = int(second["about"]["queries"].split()[0].replace(",", ""))
    assert queries <= 3000
    assert {each["part"] for each in second["not_run"]} >= {
        "Along the gradient",
        "The smallest changes",
    }
    reasons = {"a quick audit follows gradients instead"}
    assert all(each["reason"] in reasons or "out of budget" in each["reason"] for each in second["not_run"])
    assert "robust_accuracy" not in second["figures"]
    assert values["robust_accuracy"][1] is None


def test_a_black_box_is_audited_by_what_only_asks(
    setting: Setting, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evofool_main: Main
) -> None:
    asked = []

    def answer(images: np.ndarray) -> np.ndarray:
        asked.append(len(images))
        return setting.network.confidences(255 * images)

    box = BlackBox(answer, (8, 8, 1), CLASSES, name="far away", cache=0)
    monkeypatch.setattr(work, "service", lambda url: box)
    out = tmp_path / "out"
    few = ("--quick", "--count", "12", "--epsilon", EPSILON, "--max-queries", "990")
    words = ("audit", "http://far.away", "--dataset", setting.data, *few, "--out", out, "--quiet")
    assert evofool_main(*words) == (0, "", "")
    record = json.loads((out / "audit.json").read_text())
    reasons = [each["reason"] for each in record["not_run"]]
    assert reasons.count("the classifier gives no gradients") == 3
    evolution = "out of budget: it needs 1,000 queries, and 978 are left"  # which tests of searches ask
    assert reasons.count(evolution) == 2
    assert "the classifier gives no gradients" in (out / "report.html").read_text()
    figures, margins = record["figures"], setting.margins[np.arange(12) * 40 // 12]
    assert figures["clean_accuracy"] == np.mean(margins > 0)
    # It cannot do better than the gradient, which is the same everywhere.
    norm = np.abs(setting.network.kernel[:, 0] - setting.network.kernel[:, 1]).sum()
    assert np.mean(margins > EPSILON * norm) <= figures["robust_accuracy"] < figures["clean_accuracy"]
    assert figures["robust_accuracy"] == figures["robust_accuracy_asked"]
    queries = int(record["about"]["queries"].split()[0].replace(",", ""))
    assert 400 < sum(asked) <= queries <= 990
    asked.clear()
    assert evofool_main("audit", "--resume", out, "--quiet")[0] == 0
    assert asked == []


@given(
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(1, 10**6), st.integers(1, 10**5), st.integers(1, 10)), min_size=1),
)
def test_a_budget_is_never_exceeded(total: int, parts: list[tuple[int, int, int]]) -> None:
    budget = Budget(total, [share for _, _, share in parts])
    granted = [budget.grant(max(wanted, least), least) for wanted, least, _ in parts]
    assert sum(granted) == total - budget.left <= total
    for queries, (wanted, least, _) in zip(granted, parts, strict=True):
        assert queries == 0 or least <= queries <= max(wanted, least)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lenet-digitz",), "did you mean 'lenet-digits'"),
        (("--dataset", "digitz"), "did you mean 'digits'"),
        (("--count", "0"), "count must be above zero"),
        (("--epsilon", "2"), "epsilon must be between 0 and 1"),
        (("--max-queries", "0"), "max_queries must be above zero"),
        (("--fail-under", "robust_acuracy=0.4"), "did you mean 'robust_accuracy'"),
        (("--fail-under", "robust_accuracy"), "takes a figure and a number, as in robust_accuracy=0.4"),
        (("--fail-over", "warned=much"), "takes a figure and a number, as in warned=0.4"),
        (("--compare", "a"), "--compare takes the directories of two audits, not 1"),
        (("--compare", "a", "b"), "a does not hold an audit"),
        (("--compare", "a", "b", "--quick"), "--compare takes two finished audits and nothing else"),
        (("--resume", "a"), "a does not hold an audit"),
        (("--squick",), "unknown option --squick: did you mean --quick?"),
        (("lenet-digits", "--dataset", "{data}"), "has 10 classes and data has 2 with other names"),
    ],
)
def test_what_does_not_fit_ends_in_one_line(
    setting: Setting, evofool_main: Main, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words, message
) -> None:
    monkeypatch.chdir(tmp_path)
    code, printed, errors = evofool_main("audit", *(word.format(data=setting.data) for word in words))
    assert (code, printed, errors.count("\n")) == (2, "", 1)
    assert message in errors


def test_a_record_that_is_damaged_is_said_to_be(setting: Setting, tmp_path: Path, evofool_main: Main) -> None:
    out = tmp_path / "out"
    shutil.copytree(setting.out, out)
    record = setting.record
    (elsewhere := json.loads(json.dumps(record)))["sections"][1]["galleries"] = {
        "x": [[{"file": "../secret.png", "alt": "", "lines": []}]]
    }
    for text in (
        "",
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        json.dumps({**record, "sections": 5}),
        json.dumps(elsewhere),
    ):
        (out / "audit.json").write_text(text)
        code, _, errors = evofool_main("audit", "--compare", out, setting.out, "--out", tmp_path / "both")
        assert (code in (1, 2), errors.count("\n")) == (True, 1), errors
        assert "Traceback" not in errors
    for text in ("", "{}", json.dumps({**record, "options": {"quick": 1}})):
        (out / "audit.json").write_text(text)
        code, _, errors = evofool_main("audit", "--resume", out)
        assert (code, errors.count("\n")) == (1, 1)
        assert "is damaged" in errors
