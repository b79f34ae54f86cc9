"""The pictures of a run."""


def test_a_run_is_compared_with_what_is_reported_of_such_a_run(tmp_path: Path) -> None:
    sklearn_digits = load_classifier("lenet-digits")
    linear = create_classifier("linear", (28, 28, 1), sklearn_digits.spec.class_names)
    file, data = tmp_path / "it.safetensors", "mnist, 60000 images, 10 epochs"
    save_classifier(file, linear, training_data=data, test_accuracy=0.9)
    digits = resized(load_classifier(file), 56, 56)
    names = tuple(f"class {index}" for index in range(1000))
    imagenet = create_classifier("googlenet", (32, 32, 3), names, seed=None)
    grey = create_classifier("linear", (8, 8, 1), names, seed=None)

    def reported(classifier: Classifier, *targets: int, **settings: str) -> float | None:
        classes = targets or tuple(range(len(classifier.spec.class_names)))
        job = Job(classifier, classifier, None, None, classes)  # type: ignore[arg-type]
        found = reported_median(RunSettings(**settings), job)
        return None if found is None else found.confidence

    assert reported(digits) == reported(digits, encoding="cppn") == 0.9999
    assert reported(sklearn_digits) is None
    assert reported(imagenet) == 0.2159
    assert reported(imagenet, encoding="cppn") == 0.8811
    assert reported(grey) is None
    assert reported(digits, 3, 7) is None
    assert reported(digits, encoding="student", algorithm="es") is None
    assert reported(digits, encoding="direct", algorithm="es") is None
