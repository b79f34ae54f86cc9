"""The classifier that is audited, with the images that it should recognise."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from evofool.classifiers import AnyClassifier, ClassifierSpec, confidences_in_batches
from evofool.datasets import Dataset
from evofool.errors import UsageError
from evofool.images import from_uint8
from evofool.studies.audit.options import AuditOptions, Effort
from evofool.studies.pictures import of_dataset
from evofool.studies.work import Work


@dataclass(frozen=True)
class Audited:
    """What all parts of an audit share.

    Attributes:
        options: of the audit.
        work: of the audit.
        classifier: what is audited.
        dataset: its images.
        images: test images of the classifier's size, with 8 bits.
        labels: their classes, as indices of the classifier's.
        confidences: in every class.
        notes: sentences about the images.
    """

    options: AuditOptions
    work: Work
    classifier: AnyClassifier
    dataset: Dataset
    images: UInt8[np.ndarray, "n h w c"]
    labels: Int[np.ndarray, " n"]
    confidences: Float[np.ndarray, "n k"]
    notes: list[str]

    @classmethod
    def load(cls, options: AuditOptions, work: Work, most: int) -> "Audited":
        """Load the classifier and the images, and classify these.

        Args:
            options: of the audit.
            work: of the audit.
            most: the most images.

        Raises:
            UsageError: a name is unknown, or the dataset has other classes than the classifier.
            EvofoolError: something is missing or damaged.
        """
        classifier = work.load_any_classifier(options.classifier)
        dataset = work.load_dataset(options.dataset)
        indices, notes = class_indices(classifier.spec, dataset)
        pictures = of_dataset(dataset, count=min(options.effort.images, most))
        fitted = pictures.fitted(classifier)
        labels = indices[[dataset.class_names.index(str(name)) for name in pictures.classes]]

        def classify() -> dict[str, np.ndarray]:
            return {"confidences": np.asarray(confidences_in_batches(classifier, from_uint8(fitted.images)))}

        return cls(
            options,
            work,
            classifier,
            dataset,
            fitted.images,
            labels,
            work.arrays("accuracy", classify)["confidences"],
            [*notes, *fitted.notes],
        )

    @property
    def effort(self) -> Effort:
        """How much is done of everything."""
        return self.options.effort

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self.classifier.spec.class_names

    @property
    def epsilon(self) -> float:
        """The size of the changes that the summary quotes."""
        return self.options.size(self.classifier.spec.input_shape[2])

    @property
    def size_in_words(self) -> str:
        """The same as a reader sees it."""
        return f"{self.epsilon:.3g} ({255 * self.epsilon:.3g} levels of 255)"

    @property
    def right(self) -> Bool[np.ndarray, " n"]:
        """Whether each image is classified correctly."""
        return self.confidences.argmax(axis=1) == self.labels


def class_indices(spec: ClassifierSpec, dataset: Dataset) -> tuple[Int[np.ndarray, " k"], list[str]]:
    """The classes of a dataset as indices of a classifier's, with a note where their names differ.

    Raises:
        UsageError: the classifier lacks one, and has another number of classes.
    """
    try:
        return np.array([spec.class_index(name) for name in dataset.class_names]), []
    except UsageError as error:
        if len(spec.class_names) != len(dataset.class_names):
            raise UsageError(
                f"{spec.name} has {len(spec.class_names)} classes and {dataset.name} has "
                f"{len(dataset.class_names)} with other names: audit it on images of its own classes"
            ) from error
        note = (
            f"The classes of {spec.name} are called {spec.class_names[0]}, ... and those of {dataset.name} "
            f"{dataset.class_names[0]}, ...: they are taken to be the same, in the same order."
        )
        return np.arange(len(spec.class_names)), [note]
