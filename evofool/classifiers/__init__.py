"""What is fooled: the contract, networks, weights, and classifiers by name."""

from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec, subtract_mean
from evofool.classifiers.networks import NETWORKS, create_classifier
from evofool.classifiers.registry import CLASSIFIERS, load_classifier, weights_digest
from evofool.classifiers.weights import save_classifier

__all__ = [
    "CLASSIFIERS",
    "NETWORKS",
    "Activation",
    "Classifier",
    "ClassifierSpec",
    "create_classifier",
    "load_classifier",
    "save_classifier",
    "subtract_mean",
    "weights_digest",
]
