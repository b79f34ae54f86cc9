"""Models that a text names: a file with or without options, or a function of the user's."""

import importlib
import os
import re
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evofool.classifiers.checks import cause
from evofool.classifiers.classifier import Activation, Classifier, Output
from evofool.classifiers.compositions import described
from evofool.classifiers.frameworks.keras import from_keras, read_keras
from evofool.classifiers.frameworks.onnx import from_onnx
from evofool.classifiers.frameworks.preprocessing import Channels, Layout, Preprocessing
from evofool.classifiers.hub import PREFIX, load_from_hub
from evofool.classifiers.importers import LAYOUTS
from evofool.classifiers.importers.repository import is_repository, load_repository
from evofool.classifiers.released import imagenet_classes
from evofool.classifiers.weights import array_shapes, load_weights_file
from evofool.errors import EvofoolError, UsageError, shown
from evofool.expressions import Numbers
from evofool.registry import Entry, NoOptions, Registry

_FACTORY = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")

_ZERO, _ONE = Numbers("0"), Numbers("1")

_EXPORT = {
    **dict.fromkeys(
        (".pt", ".pth", ".ckpt", ".bin"),
        'export the model with torch.onnx.export(model.eval(), (images,), "model.onnx", dynamo=True)',
    ),
    **dict.fromkeys((".h5", ".hdf5"), 'load it in Keras and write it with model.save("model.keras")'),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "export the model to ONNX"),
}
"""What to do with files that are not opened, because opening some of them runs code: by their ending."""


@dataclass(frozen=True)
class ModelOptions:
    """What a file may leave open about its model.

    Attributes:
        scale: see `Preprocessing`, as are the next four.
        mean: one number or one per channel, with blanks between them.
        std: in the same way.
        channels: rgb or bgr.
        layout: nhwc or nchw.
        output: logits, probabilities or labels.
        height: of an image, where the file does not say.
        width: of an image, where the file does not say.
        batch_size: the only number of images that the model takes.
    """

    scale: float = 1.0
    mean: Numbers = _ZERO
    std: Numbers = _ONE
    channels: Channels = "rgb"
    layout: Layout | None = None
    output: Output | None = None
    height: int | None = None
    width: int | None = None
    batch_size: int | None = None

    @property
    def preprocessing(self) -> Preprocessing:
        """As the importers take it."""
        mean, std = (tuple(map(float, numbers.split())) for numbers in (self.mean, self.std))
        return Preprocessing(self.scale, mean, std, self.channels, self.layout)

    @property
    def input_shape(self) -> tuple[int | None, int | None, None]:
        """As the importers take it."""
        return self.height, self.width, None


def kind_of(text: str) -> str | None:
    """Which of `MODELS` a text without options names; None if it names none of them.

    Raises:
        UsageError: it names a file that is never opened.

    Example:
        >>> kind_of("nets/mine.onnx"), kind_of("package.module:make"), kind_of("lenet-digits")
        ('onnx', 'factory', None)
    """
    if text.startswith(PREFIX):
        return "hf"
    if is_repository(text):
        return "folder"
    ending = Path(text).suffix.lower()
    if ending in _EXPORT:
        raise UsageError(
            f"{text} is not opened, because files ending in {ending} may hold code: {_EXPORT[ending]}"
        )
    if ending in (".onnx", ".keras"):
        return ending[1:]
    if _FACTORY.fullmatch(text):
        return "factory"
    return "safetensors" if ending == ".safetensors" or os.path.exists(text) or os.sep in text else None


def names_beside(file: str | os.PathLike[str]) -> list[str] | None:
    """The names of the classes in the text file beside a model: `net.classes.txt` of `net.onnx`, one a line.

    Returns:
        None if there is no such file.

    Raises:
        EvofoolError: it cannot be read.
    """
    beside = Path(file).with_suffix(".classes.txt")
    if not beside.exists():
        return None
    try:
        return beside.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvofoolError(f"cannot read {beside}, the names of the classes: {cause(error)}") from error


def safetensors(file: str, *, activation: Activation | None = None) -> Classifier:
    """The classifier in a .safetensors file: a network of evofool's, or of ImageNet in a known layout."""
    shapes = array_shapes(file)
    layout = next((layout for layout in LAYOUTS.values() if layout.recognises(shapes)), None)
    classifier = load_weights_file(file)[0] if layout is None else layout.load(file, imagenet_classes())
    return classifier.with_activation(activation)


def folder(path: str, *, activation: Activation | None = None) -> Classifier:
    """The classifier in a folder that transformers or timm wrote."""
    return load_repository(Path(path), Path(path).resolve().name).with_activation(activation)


def hf(name: str, *, activation: Activation | None = None) -> Classifier:
    """A classifier of the Hugging Face hub."""
    return load_from_hub(name).with_activation(activation)


def onnx(file: str, *, activation: Activation | None = None, **options: Any) -> Classifier:
    """The classifier in an ONNX file; the options are those of `ModelOptions`."""
    return _with_options(partial(from_onnx, file), file, activation, options)


def keras(file: str, *, activation: Activation | None = None, **options: Any) -> Classifier:
    """The classifier in a .keras file; the options are those of `ModelOptions`."""
    load = partial(from_keras, read_keras(file), name=Path(file).stem)
    return _with_options(load, file, activation, options)


def factory(function: str, *, activation: Activation | None = None) -> Classifier:
    """The classifier that a function of the user's returns; it is imported, from the current folder too.

    Args:
        function: `package.module:name`, of no arguments.
        activation: read the logits as "softmax" or "sigmoid".

    Raises:
        EvofoolError: there is no such function, it fails, or it returns something else.
    """
    if not _FACTORY.fullmatch(function):
        raise UsageError(f"a factory is written package.module:function, not {function!r}")
    module, _, name = function.partition(":")
    print(f"evofool: running the code of {function}", file=sys.stderr)
    here = os.getcwd()
    sys.path.insert(0, here)
    try:
        made = getattr(importlib.import_module(module), name)()
    except EvofoolError:
        raise
    except Exception as error:
        raise EvofoolError(f"{function} cannot be run: {cause(error)}") from error
    finally:
        sys.path.remove(here)
    if not isinstance(made, Classifier):
        raise EvofoolError(
            f"{function} does not return an evofool.Classifier, but {shown(repr(made))}: let it return "
            "evofool.from_flax(model, ...), for example"
        )
    return made.with_activation(activation)


def _with_options(load: Any, file: str, activation: Activation | None, options: dict[str, Any]) -> Classifier:
    chosen = ModelOptions(**options)
    return load(
        input_shape=chosen.input_shape,
        class_names=names_beside(file),
        preprocessing=chosen.preprocessing,
        output=chosen.output,
        activation=activation,
        batch_size=chosen.batch_size,
    )


_OPTIONS = ", ".join(described(ModelOptions))

MODELS = Registry(
    "kind of model",
    {
        "safetensors": Entry(
            "FILE.safetensors: evofool's networks, and some of ImageNet's", NoOptions, safetensors
        ),
        "onnx": Entry(
            f"FILE.onnx, from any framework; needs the extra `onnx`. Options: {_OPTIONS}", ModelOptions, onnx
        ),
        "keras": Entry(
            "FILE.keras, of Keras 3; needs the extra `keras`. Options: those of onnx", ModelOptions, keras
        ),
        "folder": Entry(
            "FOLDER with config.json and model.safetensors, from transformers or timm: ViT or ResNet",
            NoOptions,
            folder,
        ),
        "hf": Entry(
            "hf:OWNER/NAME[@REVISION], such a folder on the Hugging Face hub; needs the extra `hub`",
            NoOptions,
            hf,
        ),
        "factory": Entry(
            "MODULE:FUNCTION, which is imported and run, and returns an `evofool.Classifier`",
            NoOptions,
            factory,
        ),
    },
)
"""The kinds of models that a text names; with options, and for any ending, as `kind(FILE, option=value)`."""
