"""What is fooled: the contract, networks, weights, and classifiers by name."""

from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec, subtract_mean
from evofool.classifiers.networks import NETWORKS, create_classifier
from evofool.classifiers.precision import Precision, with_precision
from evofool.classifiers.registry import CLASSIFIERS, load_classifier, weights_digest
from evofool.classifiers.weights import save_classifier
from evofool.classifiers.wrappers import resized, ten_crop

__all__ = [
    "CLASSIFIERS",
    "NETWORKS",
    "Activation",
    "Classifier",
    "ClassifierSpec",
    "Precision",
    "create_classifier",
    "load_classifier",
    "resized",
    "save_classifier",
    "subtract_mean",
    "ten_crop",
    "weights_digest",
    "with_precision",
]
