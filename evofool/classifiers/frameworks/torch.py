"""Classifiers from PyTorch, through ONNX."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from evofool.classifiers.checks import cause
from evofool.classifiers.classifier import Activation, Classifier, Output, as_input_shape
from evofool.classifiers.frameworks.onnx import of_graph
from evofool.classifiers.frameworks.preprocessing import Preprocessing
from evofool.classifiers.onnx_graphs.reading import read_graph
from evofool.errors import EvofoolError, UsageError
from evofool.extras import extra


def from_torch(
    module: Any,
    *,
    input_shape: Sequence[int],
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    output: Output | None = None,
    activation: Activation | None = None,
    batch_size: int | None = None,
    name: str | None = None,
) -> Classifier:
    """A classifier of a PyTorch module, exported to ONNX for inference with a copy of its weights.

    Needs the extra `torch`. The module is left in the mode that it is in.

    Args:
        module: a `torch.nn.Module` of one batch of images.
        input_shape: height, width and channels of an image, in this order although the module takes channels
            first.
        class_names: one name per class; numbers from "0" on by default.
        preprocessing: what the module expects of images in [0, 1]; by default the images as they are,
            channels first.
        output: "logits", "probabilities" or "labels". By default it is found: probabilities if the module
            ends in a softmax or a sigmoid, else logits.
        activation: read the logits as "softmax" or "sigmoid"; by default sigmoid if the module ends in one.
        batch_size: the only number of images that the module takes; by default any, or one at a time if
            PyTorch cannot export it for any number.
        name: what the classifier is called; the name of the module's class by default.

    Raises:
        UsageError: this is no module, or does not fit what is said of it.
        EvofoolError: PyTorch is missing, or cannot export the module.
    """
    torch = extra("torch", "from_torch")
    extra("torch", "from_torch", "onnxscript")
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"from_torch takes a torch.nn.Module, not {type(module).__name__}")
    name = name or type(module).__name__
    height, width, channels = as_input_shape(input_shape)
    layout = preprocessing.layout if preprocessing is not None else None
    sides = (height, width, channels) if layout == "nhwc" else (channels, height, width)
    with _for_inference(module):
        content = _exported(torch, module, sides, batch_size, name)
    return of_graph(
        read_graph(content, name),
        name=name,
        input_shape=input_shape,
        class_names=class_names,
        preprocessing=preprocessing,
        output=output,
        activation=activation,
        batch_size=batch_size,
    )


def _exported(torch: Any, module: Any, sides: tuple[int, ...], batch_size: int | None, name: str) -> bytes:
    """The module as an ONNX file, for any number of images where PyTorch can."""
    problem: Exception | None = None
    for count in (None, 1) if batch_size is None else (batch_size,):
        first = next(module.parameters(), torch.zeros(()))
        # PyTorch takes a number of 1 for one that is always 1.
        images = torch.zeros((count or 2, *sides), dtype=first.dtype, device=first.device)
        shapes = None if count else ({0: torch.export.Dim.DYNAMIC},)
        file = io.BytesIO()
        try:
            with _quiet():
                torch.onnx.export(
                    *(module, (images,), file),
                    dynamo=True,
                    dynamic_shapes=shapes,
                    external_data=False,
                    verbose=False,
                )
        except Exception as error:
            problem = error
        else:
            return file.getvalue()
    raise EvofoolError(f"PyTorch cannot export {name} to ONNX: {cause(problem)}") from problem  # type: ignore[arg-type]


@contextlib.contextmanager
def _for_inference(module: Any) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what the exporter prints and warns of on the way."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
