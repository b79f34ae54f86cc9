"""Classifiers to fool: the contract, networks, weights, and classifiers by name."""

from evofool.classifiers.black_box import AnyClassifier, AskingOptions, BlackBox, QueryCounts
from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec, Output
from evofool.classifiers.compositions import (
    COMPOSITIONS,
    Precision,
    resized,
    subtract_mean,
    ten_crop,
    with_extra_class,
    with_precision,
)
from evofool.classifiers.dropout import with_dropout
from evofool.classifiers.frameworks import (
    Preprocessing,
    from_callable,
    from_flax,
    from_keras,
    from_onnx,
    from_torch,
)
from evofool.classifiers.known import CLASSIFIERS, load_classifier
from evofool.classifiers.models import MODELS
from evofool.classifiers.networks import NETWORKS, create_classifier, network_of
from evofool.classifiers.scoring import confidences_in_batches
from evofool.classifiers.service import is_service, service, serving
from evofool.classifiers.weights import save_classifier, weights_digest

__all__ = [
    "CLASSIFIERS",
    "COMPOSITIONS",
    "MODELS",
    "NETWORKS",
    "Activation",
    "AnyClassifier",
    "AskingOptions",
    "BlackBox",
    "Classifier",
    "ClassifierSpec",
    "Output",
    "Precision",
    "Preprocessing",
    "QueryCounts",
    "confidences_in_batches",
    "create_classifier",
    "from_callable",
    "from_flax",
    "from_keras",
    "from_onnx",
    "from_torch",
    "is_service",
    "load_classifier",
    "network_of",
    "resized",
    "save_classifier",
    "service",
    "serving",
    "subtract_mean",
    "ten_crop",
    "weights_digest",
    "with_dropout",
    "with_extra_class",
    "with_precision",
]
