"""Train the embedded classifier: a LeNet for scikit-learn's digits, stored in half precision.

    python scripts/train_embedded.py

The weights are stored in 16 bits to stay below 1 MB. The accuracy in the file is that of the stored weights.
"""

import numpy as np
from run import run

from evofool.classifiers import create_classifier, save_classifier
from evofool.classifiers.known import EMBEDDED
from evofool.classifiers.weights import load_weights_file
from evofool.datasets import load_dataset
from evofool.training import TrainingOptions, test_accuracy, train


def main() -> None:
    """Train, store, and store again with the accuracy of the stored weights."""
    digits = load_dataset("digits")
    classifier = create_classifier("lenet", (28, 28, 1), digits.class_names, name="lenet-digits")
    options = TrainingOptions(epochs=30, batch_size=64, learning_rate=1e-3)
    trained = train(classifier, digits, options).classifier
    data = "scikit-learn's digits, enlarged to 28x28, four fifths"
    save_classifier(EMBEDDED, trained, training_data=data, test_accuracy=0.0, dtype=np.float16)
    stored, _ = load_weights_file(EMBEDDED)
    accuracy = test_accuracy(stored, digits.test_images, digits.test_labels)
    save_classifier(EMBEDDED, stored, training_data=data, test_accuracy=accuracy, dtype=np.float16)
    print(f"{EMBEDDED}: {EMBEDDED.stat().st_size / 1e6:.2f} MB, test accuracy {100 * accuracy:.2f}%")


if __name__ == "__main__":
    run(main)
