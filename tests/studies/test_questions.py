"""Each study from the command line, its numbers computed again from its files by NumPy alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evofool import create_classifier, save_classifier
from evofool.datasets import load_dataset
from evofool.images import write_png
from evofool.studies.networks import Member, relation
from tests.studies.common import SoftmaxRegression, arrays, tables

Main = Callable[..., tuple[int, str, str]]
DIGITS = load_dataset("digits")
EPSILON = 26 / 255  # which rounding to 8 bits leaves as it is


def run(evofool_main: Main, *args: object) -> None:
    assert evofool_main("study", *args, "--quiet") == (0, "", "")


def share(condition: np.ndarray) -> float:
    return float(np.mean(condition))


def first_right(networks: list[SoftmaxRegression], count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first test images that all networks classify rightly, with their labels."""
    right = [network.classes(DIGITS.test_images) == DIGITS.test_labels for network in networks]
    chosen = np.flatnonzero(np.all(right, axis=0))[:count]
    return DIGITS.test_images[chosen], DIGITS.test_labels[chosen]


def test_transfer(evofool_main, tmp_path) -> None:
    out = tmp_path / "out"
    run(
        *(evofool_main, "transfer", "--networks", "linear", "--starts", 2, "--epochs", 2, "--count", 100),
        *("--ways", "fgsm", "--epsilon", EPSILON, "--magnify", 1, 2, "--out", out),
    )
    networks = [SoftmaxRegression(out / f"steps/networks/linear-{n}.safetensors") for n in (0, 1)]
    images, labels = first_right(networks, 100)
    assert len(images) == 100
    found = tables(out)
    rows = {(row["magnify"], row["relation"]): row for row in found.pop("Images shown to other classifiers")}
    assert len(rows) == 4
    for factor, matrix in zip((1.0, 2.0), found.values(), strict=True):
        shares: dict[str, list[np.ndarray]] = {"itself": [], "same network, other start": []}
        controls: dict[str, list[float]] = {name: [] for name in shares}
        for source, row in zip((0, 1), matrix, strict=True):
            # The step is as long as epsilon before it is multiplied, so it ends where its own pixel does.
            whole = np.clip(images / 255 + EPSILON * np.sign(networks[source].gradient(images, labels)), 0, 1)
            change = (whole - images / 255) * factor
            changed = np.rint(255 * np.clip(images / 255 + change, 0, 1)).astype(np.uint8)
            taken_for = networks[source].classes(images / 1.0 + 255 * change / factor)
            rms = np.sqrt(np.mean((changed / 255 - images / 255) ** 2, axis=(1, 2, 3), keepdims=True))
            noise = np.random.default_rng(0).normal(size=change.shape)
            noisy = np.rint(255 * np.clip(images / 255 + rms * noise, 0, 1))
            for target, network in enumerate(networks):
                seen = network.classes(changed)
                fooled, same = seen != labels, (seen != labels) & (seen == taken_for)
                assert row[f"linear {target}"] == f"{share(fooled):.0%} ({share(same):.0%})"
                name = "itself" if source == target else "same network, other start"
                confidences = network.confidences(changed).max(axis=1)
                shares[name].append(np.array([share(fooled), share(same), confidences.mean()]))
                controls[name].append(share(network.classes(noisy) != labels))
        for name, measured in shares.items():
            row = rows[factor, name]
            assert (row["pairs"], row["images"]) == (2, 200)
            cells = [row[key] for key in ("fooled", "same_class", "mean_confidence")]
            np.testing.assert_allclose(cells, np.mean(measured, axis=0), atol=1e-5)
            assert row["control"] == pytest.approx(np.mean(controls[name]))
    assert rows[1.0, "itself"]["fooled"] > rows[1.0, "itself"]["control"]
    assert rows[2.0, "itself"]["fooled"] >= rows[1.0, "itself"]["fooled"]


def test_defences(evofool_main, tmp_path) -> None:
    out = tmp_path / "out"
    defences = ("plain", "rejecting(plain, 0.5)", "eight_bit(plain, 2)", "adversarial")
    run(
        *(evofool_main, "defences", "--network", "linear", "--epochs", 2, "--count", 50),
        *("--ways", "fgsm", "--epsilon", EPSILON, "--defences", *defences, "--out", out),
    )
    plain, adversarial = (
        SoftmaxRegression(out / f"steps/seed-0/{name}.safetensors") for name in ("plain", "adversarial")
    )
    images, labels = first_right([plain], 50)

    def rejecting(images: np.ndarray) -> np.ndarray:
        confidences = plain.confidences(images)
        return np.where(confidences.max(axis=1) < 0.5, 10, confidences.argmax(axis=1))

    def two_levels(images: np.ndarray) -> np.ndarray:
        return plain.classes(255 * (images > 127))

    found = tables(out)
    judges = dict(zip(defences, (plain.classes, rejecting, two_levels, adversarial.classes), strict=True))
    clean = {row["defence"]: row for row in found["What defences cost"]}
    for name, judge in judges.items():
        taken_for = judge(DIGITS.test_images)
        assert clean[name]["error"] == pytest.approx(share(taken_for != DIGITS.test_labels)), name
        assert clean[name]["rejected"] == pytest.approx(share(taken_for == 10)), name

    rows = {(row["defence"], row["way"]): row for row in found["What defences stop"]}
    assert len(rows) == 4
    changed = plain.fgsm(images, labels, EPSILON)
    for name, judge in judges.items():
        carried = judge(changed)
        expected = share((carried != labels) & (carried < 10))
        assert rows[name, "fgsm"]["carried"] == pytest.approx(expected), name
    assert rows["plain", "fgsm"]["adaptive"] == rows["plain", "fgsm"]["carried"]
    adaptive = adversarial.fgsm(images, labels, EPSILON)
    expected = share(adversarial.classes(adaptive) != labels)
    assert rows["adversarial", "fgsm"]["adaptive"] == pytest.approx(expected)


@pytest.mark.slow
def test_defences_against_images_of_nothing(evofool_main, tmp_path) -> None:
    out = tmp_path / "out"
    run(
        *(evofool_main, "defences", "--network", "linear", "--epochs", 2, "--count", 50, "--runs", 2),
        *("--ways", "direct", "--generations", 3, "--batch-size", 10),
        *("--defences", "plain", "adversarial", "--out", out),
    )
    names = ("plain", "adversarial")
    plain, adversarial = (SoftmaxRegression(out / f"steps/seed-0/{name}.safetensors") for name in names)
    rows = {row["defence"]: row for row in tables(out)["What defences stop"]}
    made = {
        "plain": arrays(out, "seed-0/direct-for-plain"),
        "adversarial": arrays(out, "seed-0/direct-for-defence-1"),
    }
    for name, network in zip(names, (plain, adversarial), strict=True):
        for column, images in (("carried", made["plain"]["images"]), ("adaptive", made[name]["images"])):
            assert images.shape == (2, 10, 28, 28, 1)
            sure = network.confidences(images.reshape(-1, 28, 28, 1)).max(axis=1)
            assert rows[name][column] == pytest.approx(share(sure > 0.5)), (name, column)
    assert (made["plain"]["generation_over_99"] == -1).all()  # so small is the budget
    assert rows["plain"]["evaluations"] is None


def test_retrain(evofool_main, tmp_path) -> None:
    out = tmp_path / "out"
    run(
        *(evofool_main, "retrain", "--network", "linear", "--iterations", 2, "--runs", 6, "--seeds", 1),
        *("--generations", 3, "--batch-size", 10, "--epochs", 1, "--out", out),
    )
    (rows,) = tables(out).values()
    assert [row["iteration"] for row in rows] == [1, 2]
    assert [row["trained_on"] for row in rows] == [1442, 1442 + 5 * 10]  # the fifth run is held out
    evolved = {}
    for number, row in enumerate(rows, 1):
        step = f"seed-0/iteration-{number:02}"
        network = SoftmaxRegression(out / f"steps/{step}-network.safetensors")
        evolved[number] = arrays(out, f"{step}-direct")
        images = evolved[number]["images"]
        assert images.shape == (6, 10, 28, 28, 1)
        confidences = network.confidences(images.reshape(-1, 28, 28, 1)).reshape(6, 10, -1)
        own = np.diagonal(confidences, axis1=1, axis2=2)
        np.testing.assert_allclose(evolved[number]["confidences"], own, rtol=1e-4)
        assert row["median_confidence"] == pytest.approx(np.median(own), rel=1e-4)
        assert row["over_9999"] == share(own > 0.9999)
        error = share(network.classes(DIGITS.test_images) != DIGITS.test_labels)
        assert row["test_error"] == pytest.approx(error, abs=1e-4)
    unseen = evolved[1]["images"][4]
    assert rows[0]["recall"] is None
    assert rows[1]["recall"] == pytest.approx(share(network.classes(unseen) == 10))


def test_universal(evofool_main, tmp_path) -> None:
    out = tmp_path / "out"
    run(
        *(evofool_main, "universal", "--networks", "linear", "--starts", 1, "--epochs", 1, "--passes", 2),
        *("--count", 64, "--held-out", 50, "--epsilon", EPSILON, "--rounds", 1, "--fine-tuning", 1),
        *("--seeds", 2, "--seed", 3, "--out", out),
    )
    held_out = DIGITS.test_images[np.arange(50) * 355 // 50]
    network = SoftmaxRegression(out / "steps/networks/linear-0.safetensors")
    tuned = SoftmaxRegression(out / "steps/linear-0/round-1-network.safetensors")

    def altered(network: SoftmaxRegression, change: np.ndarray) -> float:
        changed = np.rint(np.clip(held_out + 255 * change, 0, 255))
        return share(network.classes(changed) != network.classes(held_out))

    def signs(seed: int) -> np.ndarray:
        return EPSILON * np.random.default_rng(seed).choice([-1, 1], (28, 28, 1))

    changes = [arrays(out, f"linear-0/seed-{seed}")["change"] for seed in (3, 4)]
    assert np.abs(changes).max() <= EPSILON + 1e-6
    found = tables(out)
    made, control = found["Held-out images whose class one change alters"]
    for row, each in ((made, changes), (control, [signs(3), signs(4)])):
        rates = [altered(network, change) for change in each]
        assert [row[f"linear 0{end}"] for end in ("", "_low", "_high")] == pytest.approx(
            [np.mean(rates), min(rates), max(rates)]
        )
    before = arrays(out, "linear-0/round-0")["change"]
    np.testing.assert_array_equal(before, changes[0])
    first, second = found["Fine-tuned on changed images"]
    assert (first["round"], second["round"]) == ("0 times", "1 times")
    assert first["fooled"] == pytest.approx(altered(network, before))
    assert second["fooled"] == pytest.approx(altered(tuned, arrays(out, "linear-0/round-1")["change"]))
    assert second["before"] == pytest.approx(altered(tuned, before))
    assert (first["signs"], second["signs"]) == pytest.approx(
        (altered(network, signs(3)), altered(tuned, signs(3)))
    )
    error = share(tuned.classes(DIGITS.test_images) != DIGITS.test_labels)
    assert second["test_error"] == pytest.approx(error, abs=1e-4)
    assert "computed on 64 images and tried on 50 others" in (out / "tables.md").read_text()


def test_one_change_is_tried_on_classifiers_of_other_sizes(evofool_main, tmp_path) -> None:
    (tmp_path / "digits").mkdir()
    for number, image in enumerate(DIGITS.test_images[:6]):
        write_png(tmp_path / "digits" / f"{number}.png", image)
    for side in (20, 28):
        linear = create_classifier("linear", (side, side, 1), tuple("ab"), name=f"of {side}", seed=side)
        save_classifier(tmp_path / f"{side}.safetensors", linear, training_data="none", test_accuracy=0.5)
    files = [tmp_path / f"{side}.safetensors" for side in (20, 28)]
    out = tmp_path / "out"
    run(
        *(evofool_main, "universal", "--networks", "--classifiers", *files, "--dataset", tmp_path / "digits"),
        *("--passes", 1, "--out", out),
    )
    ((small, large, signs),) = tables(out).values()
    assert [row["made for"] for row in (small, large, signs)] == ["of 20", "of 28", "random signs"]
    thirds = 3 * np.array([[row["of 20"], row["of 28"]] for row in (small, large, signs)])
    np.testing.assert_allclose(thirds, np.rint(thirds), atol=1e-6)
    assert thirds.max() <= 3
    assert [path.name for path in (out / "figures").iterdir()] == [
        "Universal_changes_of_at_most_0_2_per_pixel.png"
    ]


def test_substitute(evofool_main, tmp_path) -> None:
    out = tmp_path / "out"
    run(
        *(evofool_main, "substitute", "--networks", "linear", "--starts", 1, "--epochs", 1, "--first", 20),
        *("--substitutes", "linear", "--rounds", 2, "--substitute-epochs", 2, "--epsilon", EPSILON),
        *("--out", out),
    )
    ((row,),) = tables(out).values()
    asked = SoftmaxRegression(out / "steps/networks/linear-0.safetensors")
    learnt = SoftmaxRegression(out / "steps/linear-0/linear-2.safetensors")
    others, labels = DIGITS.test_images[20:], DIGITS.test_labels[20:]
    assert row["queries"] == 20 * 2**2
    assert row["agreement"] == pytest.approx(share(learnt.classes(others) == asked.classes(others)))
    attacked = learnt.fgsm(others, labels, EPSILON)
    assert row["substitute_fooled"] == pytest.approx(share(learnt.classes(attacked) != labels))
    assert row["fooled"] == pytest.approx(share(asked.classes(attacked) != labels))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classifiers and folders that studies cannot use."""
    folder = tmp_path_factory.mktemp("files")
    for name, shape in (("small", (8, 8, 1)), ("colour", (28, 28, 3)), ("parity", (28, 28, 1))):
        linear = create_classifier("linear", shape, ("even", "odd"), name=name)
        file = folder / f"{name}.safetensors"
        save_classifier(file, linear, training_data="none", test_accuracy=0.5)
    (folder / "empty").mkdir()
    return folder


SHORT = ("--networks", "linear", "--epochs", "1", "--starts", "1")
NO_NETWORKS = ("--networks", "--classifiers", "lenet-digits")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("transfer --networks lennet", "did you mean 'lenet'"),
        ("transfer --networks linear linear", "networks must name each network once"),
        ("transfer --networks", "one or more networks or classifiers"),
        ("transfer SHORT --dataset digitz", "did you mean 'digits'"),
        ("transfer SHORT --dataset FILES/empty", "needs a folder of images for each of two"),
        ("transfer SHORT --dataset FILES/absent", "there is no folder"),
        ("transfer NO_NETWORKS --dataset FILES/empty", "has no images"),
        ("transfer SHORT --classifiers FILES/parity.safetensors", "has other classes than"),
        ("transfer SHORT --ways fgsm fgsm", "each once"),
        ("transfer SHORT --ways", "ways must be one or more of direct, cppn"),
        ("transfer SHORT --ways fgms", "fgms"),
        ("transfer SHORT --count 0", "count must be above zero"),
        ("transfer SHORT --runs 0", "runs must be above zero"),
        ("transfer SHORT --generations -1", "generations must be above zero"),
        ("transfer SHORT --batch-size 0", "batch_size must be above zero"),
        ("transfer SHORT --starts 0", "starts must be above zero"),
        ("transfer SHORT --seeds 0", "seeds must be above zero"),
        ("transfer SHORT --epsilon 2", "epsilon must be between 0 and 1"),
        ("transfer SHORT --magnify", "magnify must be one or more factors"),
        ("transfer SHORT --magnify 1 -2", "magnify must be above zero"),
        ("defences --network lennet", "did you mean 'lenet'"),
        ("defences --defences", "defences must name one or more"),
        ("defences --network linear --defences bluured(plain)", "did you mean 'blurred'"),
        ("defences --network linear --defences blurred(plane)", "did you mean 'plain'"),
        ("defences --network linear --defences blurred(plain,", "cannot be read"),
        ("defences --seeds 0", "seeds must be above zero"),
        ("defences --ways lbfgs lbfgs", "each once"),
        ("retrain --network lennet", "did you mean 'lenet'"),
        ("retrain --encoding pixels", "pixels"),
        ("retrain --iterations 0", "iterations must be above zero"),
        ("retrain --runs 0", "runs must be above zero"),
        ("retrain --seed 999 --seeds 2", "the last seed up to 1000"),
        ("retrain --dataset digitz", "did you mean 'digits'"),
        ("universal SHORT --rounds -1", "rounds must be 0 or more"),
        ("universal SHORT --count 0", "count must be above zero"),
        ("universal SHORT --held-out 0", "held_out must be above zero"),
        ("universal SHORT --improvement newton", "newton"),
        ("universal NO_NETWORKS --dataset FILES/empty", "has no images"),
        ("universal SHORT --classifiers FILES/colour.safetensors", "channels (1 grey, 3 RGB)"),
        ("substitute SHORT --substitutes", "substitutes must name one or more networks"),
        ("substitute SHORT --substitutes lennet", "did you mean 'lenet'"),
        ("substitute SHORT --substitutes mlp mlp", "substitutes must name each network once"),
        ("substitute SHORT --first 0", "first must be above zero"),
        ("substitute SHORT --first 355", "first must be below 355"),
        ("substitute SHORT --epsilon 1.5", "epsilon must be between 0 and 1"),
        ("substitute --networks --classifiers FILES/small.safetensors", "not (28, 28, 1)"),
    ],
)
def test_what_a_study_cannot_do_ends_in_one_line(evofool_main, files, tmp_path, command, message) -> None:
    words = command.replace("FILES", str(files)).split()
    for name, options in (("SHORT", SHORT), ("NO_NETWORKS", NO_NETWORKS)):
        if name in words:
            at = words.index(name)
            words[at : at + 1] = options
    code, printed, errors = evofool_main("study", *words, "--out", tmp_path / "out")
    assert (code in (1, 2), printed, errors.count("\n")) == (True, "", 1), errors
    assert errors.startswith("evofool: ")
    assert message in errors
    assert {path.name for path in tmp_path.glob("out/*")} <= {".lock"}  # nothing was begun


@pytest.mark.parametrize(
    ("network", "data", "part", "words"),
    [
        ("lenet", "mnist", "first half", "same network, other start"),
        ("lenet", "mnist", "second half", "same network, other half"),
        ("lenet", "mnist", "all", "same network, other training images"),
        ("mlp", "mnist", "first half", "other network"),
        ("mlp", "mnist", "second half", "other network, other half"),
        ("mlp", "digits", "second half", "other network, other training images"),
    ],
)
def test_networks_are_related_by_what_they_are_and_have_learnt(
    network: str, data: str, part: str, words: str
) -> None:
    linear = create_classifier("linear", (4, 4, 1), ("even", "odd"))
    source = Member("source", "source", linear, "lenet", "mnist", "first half")
    assert relation(source, Member("target", "target", linear, network, data, part)) == words
