"""Image classifiers as transformers and timm store them: a folder with config.json and model.safetensors.

transformers describes the preprocessing in preprocessor_config.json, timm in `pretrained_cfg` of config.json.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax import nnx

from evofool.classifiers.classifier import Activation, Classifier, ClassifierSpec
from evofool.classifiers.importers.layout import Arrays, fold_normalisation, from_channels_first
from evofool.classifiers.networks import NetworkLogits
from evofool.classifiers.networks.batch_normalised_resnet import BatchNormalisedResNet, BlockSizes
from evofool.classifiers.networks.layers import Normalisation
from evofool.classifiers.networks.vision_transformer import VisionTransformer, ViTSizes
from evofool.classifiers.released import imagenet_classes
from evofool.classifiers.weights import read_safetensors, with_weights
from evofool.errors import EvofoolError, UsageError, shown

CONFIG, PREPROCESSOR, WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"

FILES = (CONFIG, PREPROCESSOR, WEIGHTS)
"""The files of a model; the preprocessor is transformers' only."""

_BATCH_NORM_EPSILON = 1e-5  # of PyTorch
_TIMM_LAYER_NORM_EPSILON = 1e-6
_TIMM_HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16}
_NORMALISATION = ("weight", "bias", "running_mean", "running_var")
_ATTENTION = ("query", "key", "value")
_IMAGENET_CLASSES = 1000

_TIMM_VIT = re.compile(r"vit_(tiny|small|base|large)_patch\d+_\d+")
_TIMM_RESNET = re.compile(r"(wide_)?resnet(18|26|34|50|101|152)(_2)?")

Config = Mapping[str, Any]


class _Network(NamedTuple):
    """A network without weights, and its weights by our names."""

    build: Callable[[tuple[int, int, int], int, Normalisation, nnx.Rngs], nnx.Module]
    weights: dict[str, np.ndarray]


class _Description(NamedTuple):
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
    describe: Callable[[Config, Config | None, int], _Description]
    network: Callable[[Config, dict[str, np.ndarray]], _Network]


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


def _is_transformers(name: str) -> Callable[[Config], bool]:
    return lambda config: config.get("architectures") == [name]


def _is_timm(name: re.Pattern[str]) -> Callable[[Config], bool]:
    def recognises(config: Config) -> bool:
        return bool(name.fullmatch(str(config.get("architecture")))) and "pretrained_cfg" in config

    return recognises


def _described_by_transformers(config: Config, processor: Config | None, classes: int) -> _Description:
    if processor is None:
        raise ValueError(f"{PREPROCESSOR} is missing, which says how pixels are normalised")
    height, width = _sides(config, processor)
    channels = int(config.get("num_channels", 3))
    scale = (
        255 * float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 255.0
    )
    mean, deviation = (0.0,) * channels, (1.0,) * channels
    if processor.get("do_normalize", True):
        mean, deviation = (_per_channel(processor[name], channels) for name in ("image_mean", "image_std"))
    labels = config.get("id2label") or {str(index): f"LABEL_{index}" for index in range(classes)}
    if sorted(labels) != sorted(map(str, range(classes))):
        raise ValueError(f"id2label does not name its {classes} classes")
    several = config.get("problem_type") == "multi_label_classification"
    return _Description(
        (height, width, channels),
        Normalisation(mean, deviation, scale),
        tuple(str(labels[str(index)]) for index in range(classes)),
        "sigmoid" if several else "softmax",
    )


def _sides(config: Config, processor: Config) -> tuple[int, int]:
    """Height and width of the images that the preprocessor leaves, or that the network is made for."""
    cropped = processor.get("crop_size") if processor.get("do_center_crop") else None
    size = config.get("image_size") or cropped or processor["size"]
    if isinstance(size, Mapping):
        sides = (size["height"], size["width"]) if "height" in size else (size["shortest_edge"],) * 2
    else:
        sides = tuple(size) if isinstance(size, list) else (size, size)
    height, width = sides
    return int(height), int(width)


def _per_channel(values: Any, channels: int) -> tuple[float, ...]:
    listed = tuple(map(float, values)) if isinstance(values, list) else (float(values),) * channels
    if len(listed) != channels:
        raise ValueError(f"{len(listed)} numbers for {channels} channels")
    return listed


def _described_by_timm(config: Config, processor: Config | None, classes: int) -> _Description:
    pretrained = config["pretrained_cfg"]
    channels, height, width = map(int, pretrained["input_size"])
    normalisation = Normalisation(
        _per_channel(pretrained["mean"], channels), _per_channel(pretrained["std"], channels)
    )
    names = config.get("label_names") or pretrained.get("label_names")
    if names is None and classes == _IMAGENET_CLASSES:
        names = imagenet_classes()
    if names is None:
        names = [f"class {index}" for index in range(classes)]
    return _Description((height, width, channels), normalisation, tuple(map(str, names)), "softmax")


def _vit_of_transformers(config: Config, arrays: dict[str, np.ndarray]) -> _Network:
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"its activation is {config['hidden_act']}, not gelu")
    sizes = ViTSizes(
        patch=int(config["patch_size"]),
        width=int(config["hidden_size"]),
        depth=int(config["num_hidden_layers"]),
        heads=int(config["num_attention_heads"]),
        hidden=int(config["intermediate_size"]),
        epsilon=float(config.get("layer_norm_eps", 1e-12)),
    )
    names = {
        "vit.embeddings.patch_embeddings.projection": "patches",
        "vit.layernorm": "norm",
        "classifier": "head",
    }
    for index in _blocks(sizes, arrays, "vit.encoder.layer."):
        theirs, ours = f"vit.encoder.layer.{index}", f"block{index}"
        names |= {
            **{f"{theirs}.attention.attention.{part}": f"{ours}.{part}" for part in _ATTENTION},
            f"{theirs}.attention.output.dense": f"{ours}.output",
            f"{theirs}.layernorm_before": f"{ours}.norm1",
            f"{theirs}.layernorm_after": f"{ours}.norm2",
            f"{theirs}.intermediate.dense": f"{ours}.wide",
            f"{theirs}.output.dense": f"{ours}.narrow",
        }
        if not config.get("qkv_bias", True):
            for part in _ATTENTION:
                arrays[f"{theirs}.attention.attention.{part}.bias"] = np.zeros(sizes.width, np.float32)
    arrays = {
        name: array
        for name, array in arrays.items()
        if not name.startswith("vit.pooler.") and name != "vit.embeddings.mask_token"
    }
    embeddings = {
        "token": arrays.pop("vit.embeddings.cls_token"),
        "positions": arrays.pop("vit.embeddings.position_embeddings"),
    }
    return _vit(sizes, embeddings | _our_names(arrays, names))


def _vit_of_timm(config: Config, arrays: dict[str, np.ndarray]) -> _Network:
    if config.get("global_pool", "token") != "token":
        raise ValueError(f"its global_pool is {config['global_pool']}, not token")
    width, _, _, patch = arrays["patch_embed.proj.weight"].shape
    sizes = ViTSizes(
        patch=patch,
        width=width,
        depth=1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("blocks.")),
        heads=_TIMM_HEADS[config["architecture"].split("_")[1]],
        hidden=len(arrays["blocks.0.mlp.fc1.bias"]),
        epsilon=_TIMM_LAYER_NORM_EPSILON,
    )
    names = {"patch_embed.proj": "patches", "norm": "norm", "head": "head"}
    for index in _blocks(sizes, arrays, "blocks."):
        theirs, ours = f"blocks.{index}", f"block{index}"
        for ending in ("weight", "bias"):
            for part, array in zip(
                _ATTENTION, np.split(arrays.pop(f"{theirs}.attn.qkv.{ending}"), 3), strict=True
            ):
                arrays[f"{theirs}.attn.{part}.{ending}"] = array
        names |= {
            **{f"{theirs}.attn.{part}": f"{ours}.{part}" for part in _ATTENTION},
            **{f"{theirs}.attn.proj": f"{ours}.output", f"{theirs}.norm1": f"{ours}.norm1"},
            **{f"{theirs}.norm2": f"{ours}.norm2", f"{theirs}.mlp.fc1": f"{ours}.wide"},
            f"{theirs}.mlp.fc2": f"{ours}.narrow",
        }
    embeddings = {"token": arrays.pop("cls_token"), "positions": arrays.pop("pos_embed")}
    return _vit(sizes, embeddings | _our_names(arrays, names))


def _blocks(sizes: ViTSizes, arrays: Arrays, prefix: str) -> range:
    """The numbers of the blocks, as many as the arrays have."""
    found = {name.removeprefix(prefix).split(".")[0] for name in arrays if name.startswith(prefix)}
    if found != set(map(str, range(len(found)))) or len(found) != sizes.depth:
        raise ValueError(f"it has {len(found)} blocks, not {sizes.depth}")
    return range(sizes.depth)


def _vit(sizes: ViTSizes, weights: dict[str, np.ndarray]) -> _Network:
    def build(
        shape: tuple[int, int, int], classes: int, normalisation: Normalisation, rngs: nnx.Rngs
    ) -> nnx.Module:
        return VisionTransformer(shape, classes, sizes, normalisation, rngs=rngs)

    return _Network(build, weights)


def _our_names(arrays: Arrays, layers: Mapping[str, str]) -> dict[str, np.ndarray]:
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


def _resnet_of_transformers(config: Config, arrays: dict[str, np.ndarray]) -> _Network:
    if config.get("hidden_act", "relu") != "relu":
        raise ValueError(f"its activation is {config['hidden_act']}, not relu")
    bottleneck = config.get("layer_type", "bottleneck") == "bottleneck"
    layers = {"resnet.embedder.embedder": "stem"}
    blocks: list[BlockSizes] = []
    for stage, depth in enumerate(_depths(arrays, "resnet.encoder.stages.", 1)):
        for index in range(depth):
            theirs, ours = f"resnet.encoder.stages.{stage}.layers.{index}", f"block{len(blocks)}"
            parts = range(3 if bottleneck else 2)
            layers |= {f"{theirs}.layer.{part}": f"{ours}.conv{part + 1}" for part in parts}
            layers[f"{theirs}.shortcut"] = f"{ours}.shortcut"
            halves = index == 0 and (stage > 0 or config.get("downsample_in_first_stage", False))
            blocks.append(
                _sizes(
                    [arrays[f"{theirs}.layer.{part}.convolution.weight"] for part in parts],
                    2 if halves else 1,
                    bool(config.get("downsample_in_bottleneck", False)),
                    f"{theirs}.shortcut.convolution.weight" in arrays,
                )
            )
    names = {f"{theirs}.convolution": (f"{theirs}.normalization", ours) for theirs, ours in layers.items()}
    return _resnet(arrays, names, "classifier.1", blocks)


def _resnet_of_timm(config: Config, arrays: dict[str, np.ndarray]) -> _Network:
    names = {"conv1": ("bn1", "stem")}
    blocks: list[BlockSizes] = []
    for stage, depth in enumerate(_depths(arrays, "layer", 0), start=1):
        for index in range(depth):
            theirs, ours = f"layer{stage}.{index}", f"block{len(blocks)}"
            parts = range(1, 4 if f"{theirs}.conv3.weight" in arrays else 3)
            names |= {f"{theirs}.conv{part}": (f"{theirs}.bn{part}", f"{ours}.conv{part}") for part in parts}
            names[f"{theirs}.downsample.0"] = (f"{theirs}.downsample.1", f"{ours}.shortcut")
            blocks.append(
                _sizes(
                    [arrays[f"{theirs}.conv{part}.weight"] for part in parts],
                    2 if index == 0 and stage > 1 else 1,
                    False,
                    f"{theirs}.downsample.0.weight" in arrays,
                )
            )
    return _resnet(arrays, names, "fc", blocks)


def _depths(arrays: Arrays, prefix: str, first: int) -> list[int]:
    """How many blocks each stage has, from names as in `layer1.0.conv1` or `stages.0.layers.0.layer`."""
    found: dict[int, int] = {}
    for name in arrays:
        if name.startswith(prefix):
            words = name.removeprefix(prefix).split(".")
            stage, block = int(words[0]), int(words[1 + first])
            found[stage] = max(found.get(stage, 0), block + 1)
    return [found[stage] for stage in sorted(found)]


def _sizes(kernels: list[np.ndarray], stride: int, first: bool, shortcut: bool) -> BlockSizes:
    channels = (kernels[0].shape[1], *(len(kernel) for kernel in kernels))
    return BlockSizes(channels, stride, first, shortcut)


def _resnet(
    arrays: dict[str, np.ndarray], names: Mapping[str, tuple[str, str]], head: str, blocks: list[BlockSizes]
) -> _Network:
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

    return _Network(build, weights | rest)


ARCHITECTURES: dict[str, Architecture] = {
    "ViTForImageClassification": Architecture(
        _is_transformers("ViTForImageClassification"), _described_by_transformers, _vit_of_transformers
    ),
    "ResNetForImageClassification": Architecture(
        _is_transformers("ResNetForImageClassification"), _described_by_transformers, _resnet_of_transformers
    ),
    "timm's vit_SIZE_patchP_S": Architecture(_is_timm(_TIMM_VIT), _described_by_timm, _vit_of_timm),
    "timm's resnetN": Architecture(_is_timm(_TIMM_RESNET), _described_by_timm, _resnet_of_timm),
}
"""The architectures by the names that they have in config.json."""
