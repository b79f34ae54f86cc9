"""Classifiers to fool: the contract, networks, weights, and classifiers by name."""

from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec
from evofool.classifiers.extra_class import with_extra_class
from evofool.classifiers.known import CLASSIFIERS, load_classifier
from evofool.classifiers.networks import NETWORKS, create_classifier, network_of
from evofool.classifiers.weights import save_classifier, weights_digest
from evofool.classifiers.wrappers import (
    Precision,
    resized,
    subtract_mean,
    ten_crop,
    with_dropout,
    with_precision,
)

__all__ = [
    "CLASSIFIERS",
    "NETWORKS",
    "Activation",
    "Classifier",
    "ClassifierSpec",
    "Precision",
    "create_classifier",
    "load_classifier",
    "network_of",
    "resized",
    "save_classifier",
    "subtract_mean",
    "ten_crop",
    "weights_digest",
    "with_dropout",
    "with_extra_class",
    "with_precision",
]
