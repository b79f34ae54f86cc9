"""The networks of transformers: preprocessor_config.json says how pixels are normalised."""

from collections.abc import Callable, Mapping

import numpy as np

from evofool.classifiers.importers.architecture import (
    ATTENTION,
    Architecture,
    Config,
    Description,
    Network,
    block_sizes,
    blocks_of,
    depths_of,
    our_names,
    per_channel,
    resnet,
    vit,
)
from evofool.classifiers.networks.batch_normalised_resnet import BlockSizes
from evofool.classifiers.networks.layers import Normalisation
from evofool.classifiers.networks.vision_transformer import ViTSizes


def _is_transformers(name: str) -> Callable[[Config], bool]:
    return lambda config: config.get("architectures") == [name]


def _described(config: Config, processor: Config | None, classes: int) -> Description:
    if processor is None:
        raise ValueError("preprocessor_config.json is missing, which says how pixels are normalised")
    height, width = _sides(config, processor)
    channels = int(config.get("num_channels", 3))
    scale = (
        255 * float(processor.get("rescale_factor", 1 / 255)) if processor.get("do_rescale", True) else 255.0
    )
    mean, deviation = (0.0,) * channels, (1.0,) * channels
    if processor.get("do_normalize", True):
        mean, deviation = (per_channel(processor[name], channels) for name in ("image_mean", "image_std"))
    labels = config.get("id2label") or {str(index): f"LABEL_{index}" for index in range(classes)}
    if sorted(labels) != sorted(map(str, range(classes))):
        raise ValueError(f"id2label does not name its {classes} classes")
    several = config.get("problem_type") == "multi_label_classification"
    return Description(
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


def _vit(config: Config, arrays: dict[str, np.ndarray]) -> Network:
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
    for index in blocks_of(sizes, arrays, "vit.encoder.layer."):
        theirs, ours = f"vit.encoder.layer.{index}", f"block{index}"
        names |= {
            **{f"{theirs}.attention.attention.{part}": f"{ours}.{part}" for part in ATTENTION},
            f"{theirs}.attention.output.dense": f"{ours}.output",
            f"{theirs}.layernorm_before": f"{ours}.norm1",
            f"{theirs}.layernorm_after": f"{ours}.norm2",
            f"{theirs}.intermediate.dense": f"{ours}.wide",
            f"{theirs}.output.dense": f"{ours}.narrow",
        }
        if not config.get("qkv_bias", True):
            for part in ATTENTION:
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
    return vit(sizes, embeddings | our_names(arrays, names))


def _resnet(config: Config, arrays: dict[str, np.ndarray]) -> Network:
    if config.get("hidden_act", "relu") != "relu":
        raise ValueError(f"its activation is {config['hidden_act']}, not relu")
    bottleneck = config.get("layer_type", "bottleneck") == "bottleneck"
    layers = {"resnet.embedder.embedder": "stem"}
    blocks: list[BlockSizes] = []
    for stage, depth in enumerate(depths_of(arrays, "resnet.encoder.stages.", 1)):
        for index in range(depth):
            theirs, ours = f"resnet.encoder.stages.{stage}.layers.{index}", f"block{len(blocks)}"
            parts = range(3 if bottleneck else 2)
            layers |= {f"{theirs}.layer.{part}": f"{ours}.conv{part + 1}" for part in parts}
            layers[f"{theirs}.shortcut"] = f"{ours}.shortcut"
            halves = index == 0 and (stage > 0 or config.get("downsample_in_first_stage", False))
            blocks.append(
                block_sizes(
                    [arrays[f"{theirs}.layer.{part}.convolution.weight"] for part in parts],
                    2 if halves else 1,
                    bool(config.get("downsample_in_bottleneck", False)),
                    f"{theirs}.shortcut.convolution.weight" in arrays,
                )
            )
    names = {f"{theirs}.convolution": (f"{theirs}.normalization", ours) for theirs, ours in layers.items()}
    return resnet(arrays, names, "classifier.1", blocks)


ARCHITECTURES: dict[str, Architecture] = {
    name: Architecture(_is_transformers(name), _described, network)
    for name, network in (("ViTForImageClassification", _vit), ("ResNetForImageClassification", _resnet))
}
"""The architectures by the names that they have in config.json."""
