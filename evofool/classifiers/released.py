"""Weights that others have released: where they are, and what their files are called here."""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from safetensors.numpy import save as serialise_safetensors

from evofool.classifiers.importers.caffemodel import read_caffemodel
from evofool.classifiers.networks.mobilenet import WIDTHS
from evofool.datasets.downloads import Download, cache_folder, data_path, download_all
from evofool.errors import EvofoolError, unknown_name


@dataclass(frozen=True)
class Released:
    """The weights of a network.

    Attributes:
        file: what the file is called in the folder `weights/`.
        source: how to make that file, if it cannot be fetched.
        licence: of weights that can be fetched.
        download: what to fetch, if that is possible.
    """

    file: str
    source: str = ""
    licence: str = ""
    download: Download | None = None


def _from_caffe(content: bytes, layers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The safetensors file of a .caffemodel, with parts of the names of its layers replaced."""
    arrays: dict[str, np.ndarray] = {}
    for name, array in read_caffemodel(content).items():
        for theirs, ours in layers:
            name = name.replace(theirs, ours)
        arrays[name] = array
    return serialise_safetensors(arrays)


def _class_names(content: bytes) -> bytes:
    """The names of ImageNet's classes, one a line, of the JSON that Keras publishes."""
    index = json.loads(content)
    return "\n".join(index[str(number)][1].replace("_", " ") for number in range(len(index))).encode()


CLASS_NAMES = Download(
    "imagenet_classes.txt",
    ("https://storage.googleapis.com/download.tensorflow.org/data/imagenet_class_index.json",),
    # As in keras/applications/imagenet_utils.py.
    "md5:c2c37ea517e94d9795004a39431a14cb",
    _class_names,
)
"""The names of ImageNet's 1,000 classes."""

_SQUEEZENET = Download(
    "squeezenet_v1.0.safetensors",
    (
        "https://github.com/forresti/SqueezeNet/raw/a47b6f13d30985279789d08053d37013d67d131b/SqueezeNet_v1.0/"
        "squeezenet_v1.0.caffemodel",
        "https://storage.openvinotoolkit.org/repositories/open_model_zoo/public/2022.1/squeezenet1.0/"
        "squeezenet_v1.0.caffemodel",
    ),
    # As in models/public/squeezenet1.0/model.yml of the Open Model Zoo.
    "sha384:b8dc96393e093b4f23390b70f01fe37330d629759db59c1da3c15f846d0b1b1751b6ad841570c2e303c86829c750a745",
    partial(
        _from_caffe,
        layers=(
            ("/squeeze1x1", ".conv1x1_1"),
            ("/expand1x1", ".conv1x1_2"),
            ("/expand3x3", ".conv3x3_2"),
            ("conv10", "conv_final"),
        ),
    ),
)

_CAFFENET = Download(
    "caffenet.safetensors",
    ("http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",),
    # As several packagings of Caffe pin it for their tests; its SHA-1 is in the readme of the model.
    "sha256:472d4a06035497b180636d8a82667129960371375bd10fcb6df5c6c7631f25e0",
    _from_caffe,
)

_LENET = Released(
    "lenet_nguyen2015.safetensors",
    source="convert the LeNet of https://github.com/Evolving-AI-Lab/fooling to safetensors, with the arrays "
    "conv1.weight, conv1.bias, the same of conv2, fc1 and fc2, and mean_image",
)

_KERAS_WIDTHS = {0.25: "2_5", 0.5: "5_0", 0.75: "7_5", 1.0: "1_0"}


def _torchvision(name: str) -> Released:
    return Released(
        f"{name}.safetensors",
        source="with torchvision run safetensors.torch.save_file(torchvision.models."
        f'{name}(weights="DEFAULT").state_dict(), "{name}.safetensors")',
    )


def _mobilenet(width: float) -> Released:
    return Released(
        f"mobilenet_v1_{width}_224.safetensors",
        source="convert https://github.com/fchollet/deep-learning-models/releases/download/v0.6/"
        f"mobilenet_{_KERAS_WIDTHS[width]}_224_tf.h5 to safetensors, with the arrays conv1.kernel, "
        "conv1_bn.gamma, conv_dw_1.depthwise_kernel and so on, as Keras names them",
    )


RELEASED: dict[str, Released] = {
    "lenet-nguyen2015": _LENET,
    "lenet-nguyen2015-mean": _LENET,
    "squeezenet-1.0": Released(
        _SQUEEZENET.name,
        licence="BSD (https://github.com/forresti/SqueezeNet/blob/master/LICENSE)",
        download=_SQUEEZENET,
    ),
    "caffenet": Released(
        _CAFFENET.name,
        licence="unrestricted use (models/bvlc_reference_caffenet/readme.md of https://github.com/BVLC/caffe)",
        download=_CAFFENET,
    ),
    **{name: _torchvision(name) for name in ("alexnet", "googlenet", "vgg16", "vgg19")},
    **{f"mobilenet-v1-{width}": _mobilenet(width) for width in WIDTHS},
}
"""The weights that classifiers need, by the name of the classifier."""


def released_weights(name: str) -> Path:
    """The file of a classifier's weights under `$EVOFOOL_DATA`, or in the cache that `fetch_weights` fills.

    Raises:
        EvofoolError: it is in neither.
    """
    released = RELEASED[name]
    how = f", or run `evofool fetch {name}`" if released.download else f". To make it, {released.source}"
    return data_path("weights", released.file, how=how)


def imagenet_classes() -> tuple[str, ...]:
    """The names of ImageNet's classes, from `$EVOFOOL_DATA` or the cache.

    Raises:
        EvofoolError: the file is in neither, or cannot be read.
    """
    path = data_path(CLASS_NAMES.name, how=", or run `evofool fetch squeezenet-1.0`, which brings it")
    try:
        return tuple(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise EvofoolError(f"cannot read the class names in {path}: {error}") from error


def fetch_weights(name: str, base_url: str | None = None, *, quiet: bool = False) -> Path:
    """Download the weights of a classifier, and the names of its classes, into the user's cache.

    Each file is checked against its published checksum and converted before it takes its place. A file that
    is already there is not downloaded again.

    Args:
        name: of the classifier.
        base_url: the address of a folder with the files, instead of the public addresses.
        quiet: show no progress bar.

    Returns:
        The file of the weights.

    Raises:
        UsageError: the name is unknown.
        EvofoolError: these weights cannot be fetched, which the message says how to make, or a file could not
            be downloaded or stored, or is not the right one.
    """
    if name not in RELEASED:
        raise unknown_name("download", name, RELEASED)
    released = RELEASED[name]
    if released.download is None:
        raise EvofoolError(
            f"the weights of {name} cannot be fetched: {released.source}. Put the file into weights/ of the "
            f"folder EVOFOOL_DATA, as {released.file}"
        )
    folder = cache_folder() / "weights"
    download_all([_from(base_url, released.download)], folder, quiet=quiet)
    download_all([_from(base_url, CLASS_NAMES)], cache_folder(), quiet=quiet)
    return folder / released.file


def _from(base_url: str | None, download: Download) -> Download:
    return download if base_url is None else download.at(base_url)
