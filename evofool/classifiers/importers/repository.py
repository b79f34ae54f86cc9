"""Image classifiers as transformers and timm store them: a folder with config.json and model.safetensors."""

import json
from pathlib import Path

from flax import nnx

from evofool.classifiers.classifier import Classifier, ClassifierSpec
from evofool.classifiers.importers import timm, transformers
from evofool.classifiers.importers.architecture import Config
from evofool.classifiers.networks import NetworkLogits
from evofool.classifiers.weights import read_safetensors, with_weights
from evofool.errors import EvofoolError, UsageError, shown

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"

FILES = (CONFIG, PREPROCESSOR, WEIGHTS)
"""The files of a model; the preprocessor is transformers' only."""

ARCHITECTURES = {**transformers.ARCHITECTURES, **timm.ARCHITECTURES}
"""The architectures that such a folder may hold."""


def is_repository(path: str) -> bool:
    """Whether a path is a folder with a config.json."""
    return Path(path, CONFIG).is_file()


def load_repository(folder: Path, name: str) -> Classifier:
    """The classifier in a folder that transformers or timm wrote.

    Args:
        folder: with config.json, model.safetensors and, of transformers, preprocessor_config.json.
        name: what the classifier is called.

    Raises:
        EvofoolError: a file is missing or damaged, or it holds another architecture.
    """
    config = _read_json(folder / CONFIG)
    architecture = _architecture(config, folder)
    if not (folder / WEIGHTS).is_file():
        raise EvofoolError(f"{folder} has no {WEIGHTS}: only weights in one safetensors file are read")
    arrays = read_safetensors(folder / WEIGHTS)[0]
    processor = _read_json(folder / PREPROCESSOR) if (folder / PREPROCESSOR).is_file() else None
    try:
        network = ARCHITECTURES[architecture].network(config, dict(arrays))
        classes = network.weights["head.kernel"].shape[-1]
        described = ARCHITECTURES[architecture].describe(config, processor, classes)
        spec = ClassifierSpec(name, described.input_shape, described.class_names, described.activation)

        def build() -> nnx.Module:
            return network.build(spec.input_shape, classes, described.normalisation, nnx.Rngs(0))

        graphdef, params = nnx.split(nnx.eval_shape(build))
        classifier = Classifier(params, NetworkLogits(architecture, graphdef), spec)
    except UsageError as error:
        raise EvofoolError(f"{folder} is not usable: {error}") from error
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise EvofoolError(f"{folder} is not a whole {architecture}: {shown(repr(error))}") from error
    return with_weights(classifier, network.weights, folder / WEIGHTS)


def _read_json(path: Path) -> Config:
    try:
        values = json.loads(path.read_bytes())
    except OSError as error:
        raise EvofoolError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise EvofoolError(f"{path} is damaged: {error}") from error
    if not isinstance(values, dict):
        raise EvofoolError(f"{path} is damaged: it holds no object")
    return values


def _architecture(config: Config, folder: Path) -> str:
    for name, architecture in ARCHITECTURES.items():
        if architecture.recognises(config):
            return name
    named = config.get("architectures") or config.get("architecture") or config.get("model_type")
    named = ", ".join(map(str, named)) if isinstance(named, list) else named
    raise EvofoolError(
        f"{folder} holds {shown(named or 'no architecture')}; supported are {', '.join(ARCHITECTURES)}"
    )
