"""The pictures of a run."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import evofool
from evofool import (
    Classifier,
    CPPNOptions,
    DirectOptions,
    StrategyOptions,
    StudentOptions,
    create_classifier,
    load_classifier,
    save_classifier,
)
from evofool.classifiers import resized
from evofool.images import from_uint8, round_to_8_bits
from evofool.runs import RunSettings
from evofool.runs.job import Job
from evofool.runs.pictures import draw, reported_median, score_again
from evofool.search import empty_archive


def test_a_run_is_compared_with_what_is_reported_of_such_a_run(tmp_path: Path) -> None:
    sklearn_digits = load_classifier("lenet-digits")
    linear = create_classifier("linear", (28, 28, 1), sklearn_digits.spec.class_names)
    file, data = tmp_path / "it.safetensors", "mnist, 60000 images, 10 epochs"
    save_classifier(file, linear, training_data=data, test_accuracy=0.9)
    digits = resized(load_classifier(file), 56, 56)
    names = tuple(f"class {index}" for index in range(1000))
    imagenet = create_classifier("googlenet", (32, 32, 3), names, seed=None)
    grey = create_classifier("linear", (8, 8, 1), names, seed=None)

    def reported(classifier: Classifier, *targets: int, **settings: Any) -> float | None:
        classes = targets or tuple(range(len(classifier.spec.class_names)))
        job = Job(classifier, classifier, None, None, classes)  # type: ignore[arg-type]
        found = reported_median(RunSettings(**settings), job)
        return None if found is None else found.confidence

    assert reported(digits) == reported(digits, encoding=CPPNOptions()) == 0.9999
    assert reported(sklearn_digits) is None
    assert reported(imagenet) == 0.2159
    assert reported(imagenet, encoding=CPPNOptions()) == 0.8811
    assert reported(grey) is None
    assert reported(digits, 3, 7) is None
    assert reported(digits, encoding=StudentOptions(), search=StrategyOptions()) is None
    assert reported(digits, encoding=DirectOptions(), search=StrategyOptions()) is None


def test_elites_are_drawn_and_scored_alike_in_batches_and_at_once() -> None:
    names = tuple(f"class {index}" for index in range(150))  # more than two batches, and not a multiple
    classifier = create_classifier("linear", (8, 8, 1), names)
    encoding = evofool.direct((8, 8, 1))
    search = evofool.map_elites(encoding, evofool.MapElitesOptions(30))
    genomes = encoding.init(jax.random.split(jax.random.key(0), 150))
    archive = empty_archive(genomes[0], niches=150)
    archive = archive._replace(pool=genomes, generations=jnp.ones(150, jnp.int32).at[3].set(0))
    images = draw(archive, search)
    expected = round_to_8_bits(search.render(archive.genomes))
    np.testing.assert_array_equal(from_uint8(images), expected)
    job = Job(classifier, classifier, None, search, tuple(range(150)))  # type: ignore[arg-type]
    scored = score_again(archive, images, job.classifier, job.targets).confidences
    assert scored[3] == -np.inf
    own = classifier(expected).diagonal()
    np.testing.assert_allclose(np.delete(scored, 3), np.delete(own, 3), rtol=1e-6)
