"""What the folders of transformers and timm hold: a network, its weights, and what is said of them."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from evofool.classifiers.classifier import Activation
from evofool.classifiers.importers.layout import Arrays, fold_normalisation, from_channels_first
from evofool.classifiers.networks.batch_normalised_resnet import BatchNormalisedResNet, BlockSizes
from evofool.classifiers.networks.layers import Normalisation
from evofool.classifiers.networks.vision_transformer import VisionTransformer, ViTSizes

_BATCH_NORM_EPSILON = 1e-5  # of PyTorch
_NORMALISATION = ("weight", "bias", "running_mean", "running_var")

ATTENTION = ("query", "key", "value")
"""The layers of an attention."""

Config = Mapping[str, Any]


class Network(NamedTuple):
    """A network without weights, and its weights by our names."""

    build: Callable[[tuple[int, int, int], int, Normalisation, nnx.Rngs], nnx.Module]
    weights: dict[str, np.ndarray]


class Description(NamedTuple):
    """What a folder says of its classifier beside the network."""

    input_shape: tuple[int, int, int]
    normalisation: Normalisation
    class_names: tuple[str, ...]
    activation: Activation


class Architecture(NamedTuple):
    """A kind of network in such folders.

    Attributes:
        recognises: whether a config.json is of this kind.
        describe: its images and classes, from config.json, the preprocessor and the number of outputs.
        network: the network, from config.json and the arrays.
    """

    recognises: Callable[[Config], bool]
    describe: Callable[[Config, Config | None, int], Description]
    network: Callable[[Config, dict[str, np.ndarray]], Network]


def per_channel(values: Any, channels: int) -> tuple[float, ...]:
    """One number for all channels, or a list of one for each, as one for each; else `ValueError`."""
    listed = tuple(map(float, values)) if isinstance(values, list) else (float(values),) * channels
    if len(listed) != channels:
        raise ValueError(f"{len(listed)} numbers for {channels} channels")
    return listed


def blocks_of(sizes: ViTSizes, arrays: Arrays, prefix: str) -> range:
    """The numbers of the blocks, as many as the arrays have."""
    found = {name.removeprefix(prefix).split(".")[0] for name in arrays if name.startswith(prefix)}
    if found != set(map(str, range(len(found)))) or len(found) != sizes.depth:
        raise ValueError(f"it has {len(found)} blocks, not {sizes.depth}")
    return range(sizes.depth)


def vit(sizes: ViTSizes, weights: dict[str, np.ndarray]) -> Network:
    """A Vision Transformer of these weights, by our names."""

    def build(
        shape: tuple[int, int, int], classes: int, normalisation: Normalisation, rngs: nnx.Rngs
    ) -> nnx.Module:
        return VisionTransformer(shape, classes, sizes, normalisation, rngs=rngs)

    return Network(build, weights)


def our_names(arrays: Arrays, layers: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Arrays by our names of their layers, with kernels in our order; `weight` of a norm is `scale`."""
    converted: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        layer, _, kind = name.rpartition(".")
        ours = layers.get(layer, layer)
        if kind == "weight" and array.ndim == 1:
            converted[f"{ours}.scale"] = array
        elif kind == "weight" and array.ndim == 4:
            converted[f"{ours}.kernel"] = array.transpose(2, 3, 1, 0)
        else:
            converted |= from_channels_first({f"{ours}.{kind}": array})
    return converted


def depths_of(arrays: Arrays, prefix: str, first: int) -> list[int]:
    """How many blocks each stage has, from names as in `layer1.0.conv1` or `stages.0.layers.0.layer`."""
    found: dict[int, int] = {}
    for name in arrays:
        if name.startswith(prefix):
            words = name.removeprefix(prefix).split(".")
            stage, block = int(words[0]), int(words[1 + first])
            found[stage] = max(found.get(stage, 0), block + 1)
    return [found[stage] for stage in sorted(found)]


def block_sizes(kernels: list[np.ndarray], stride: int, first: bool, shortcut: bool) -> BlockSizes:
    """The sizes of a residual block with these kernels, in the order of PyTorch; see `BlockSizes`."""
    channels = (kernels[0].shape[1], *(len(kernel) for kernel in kernels))
    return BlockSizes(channels, stride, first, shortcut)


def resnet(
    arrays: dict[str, np.ndarray], names: Mapping[str, tuple[str, str]], head: str, blocks: list[BlockSizes]
) -> Network:
    """A residual network from its convolutions, each with its batch normalisation and our name."""
    rest = {name: array for name, array in arrays.items() if not name.endswith("num_batches_tracked")}
    weights = from_channels_first({f"head.{kind}": rest.pop(f"{head}.{kind}") for kind in ("weight", "bias")})
    for convolution, (normalisation, ours) in names.items():
        if f"{convolution}.weight" not in rest:
            continue  # a block without a shortcut
        kernel = rest.pop(f"{convolution}.weight").transpose(2, 3, 1, 0)
        kernel, bias = fold_normalisation(
            kernel,
            *(rest.pop(f"{normalisation}.{name}") for name in _NORMALISATION),
            epsilon=_BATCH_NORM_EPSILON,
        )
        if kernel.shape[:2] == (1, 1):
            kernel, ours = kernel[0, 0], f"{ours}.product"
        weights |= {f"{ours}.kernel": kernel, f"{ours}.bias": bias}

    def build(
        shape: tuple[int, int, int], classes: int, normalisation: Normalisation, rngs: nnx.Rngs
    ) -> nnx.Module:
        stem = weights["stem.kernel"].shape[-1]
        return BatchNormalisedResNet(shape, classes, stem, tuple(blocks), normalisation, rngs=rngs)

    return Network(build, weights | rest)
