"""Classifiers from ONNX, the format that every framework exports to."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from evofool.classifiers.classifier import Activation, Classifier, Output
from evofool.classifiers.frameworks.imported import filled_shape, imported
from evofool.classifiers.frameworks.preprocessing import Layout, Preprocessing
from evofool.classifiers.onnx_graphs.reading import ReadGraph, read_graph
from evofool.errors import EvofoolError, UsageError

_COLOURS = (1, 3)
"""The numbers of channels by which the axis of the channels is told."""


def from_onnx(
    path: str | os.PathLike[str],
    *,
    input_shape: Sequence[int | None] | None = None,
    class_names: Sequence[str] | None = None,
    preprocessing: Preprocessing | None = None,
    output: Output | None = None,
    activation: Activation | None = None,
    batch_size: int | None = None,
    name: str | None = None,
) -> Classifier:
    """A classifier of a model in an ONNX file, compiled by JAX like any other.

    Needs the extra `onnx`. Nothing in the file is run, and external data are read from its folder only.

    Args:
        path: the file.
        input_shape: height, width and channels of an image; what the file says by default, or where one is
            None.
        class_names: one name per class; by default those in the file's metadata, under `class_names` as a
            list in JSON, else numbers from "0" on.
        preprocessing: what the model expects of images in [0, 1]; by default the images as they are. Where it
            names no layout, the file's shape tells it: the axis of 1 or 3 channels, the second if both are.
        output: "logits", "probabilities" or "labels", of the first output. By default it is found:
            probabilities if the model ends in a softmax or a sigmoid, else logits.
        activation: read the logits as "softmax" or "sigmoid"; by default sigmoid if the model ends in one.
        batch_size: the only number of images that the model takes; what the file says by default.
        name: what the classifier is called; the file's name without its ending by default.

    Raises:
        EvofoolError: the file cannot be read or is damaged, or the package `onnx` is missing.
        UsageError: it has operators that are not supported, or does not fit what is said of it.
    """
    return of_graph(
        read_graph(path, str(path)),
        name=name or Path(path).stem,
        input_shape=input_shape,
        class_names=class_names,
        preprocessing=preprocessing,
        output=output,
        activation=activation,
        batch_size=batch_size,
    )


def of_graph(
    read: ReadGraph,
    *,
    name: str,
    input_shape: Sequence[int | None] | None,
    class_names: Sequence[str] | None,
    preprocessing: Preprocessing | None,
    output: Output | None,
    activation: Activation | None,
    batch_size: int | None,
) -> Classifier:
    """A classifier of a graph that has been read; see `from_onnx`."""
    if len(read.input_shape) != 4:
        raise UsageError(
            f"{name} takes inputs of the shape {_written(read.input_shape)}, not batches of images with "
            "height, width and channels"
        )
    stated_batch, *sides = read.input_shape
    layout = (preprocessing.layout if preprocessing is not None else None) or _layout(sides)
    stated = sides if layout == "nhwc" else [*sides[1:], sides[0]]
    return imported(
        read.graph,
        dict(read.weights),
        name=name,
        input_shape=filled_shape(input_shape, stated, name),
        class_names=class_names or _class_names(read, name),
        preprocessing=preprocessing,
        layout=layout,
        output=output,
        activation=activation,
        batch_size=batch_size or stated_batch,
    )


def _layout(sides: Sequence[int | None]) -> Layout:
    return "nhwc" if sides[0] not in _COLOURS and sides[2] in _COLOURS else "nchw"


def _class_names(read: ReadGraph, name: str) -> list[str] | None:
    text = read.metadata.get("class_names")
    if text is None:
        return None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise EvofoolError(
            f"the class_names in the metadata of {name} are no list in JSON: {error}"
        ) from error
    return names


def _written(shape: Sequence[int | None]) -> str:
    return "x".join("n" if side is None else str(side) for side in shape)
