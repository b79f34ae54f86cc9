"""The networks of timm: `pretrained_cfg` of config.json says how pixels are normalised."""

import re
from collections.abc import Callable

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
from evofool.classifiers.released import imagenet_classes

_LAYER_NORM_EPSILON = 1e-6
_HEADS = {"tiny": 3, "small": 6, "base": 12, "large": 16}
_IMAGENET_CLASSES = 1000

_VIT = re.compile(r"vit_(tiny|small|base|large)_patch\d+_\d+")
_RESNET = re.compile(r"(wide_)?resnet(18|26|34|50|101|152)(_2)?")


def _is_timm(name: re.Pattern[str]) -> Callable[[Config], bool]:
    def recognises(config: Config) -> bool:
        return bool(name.fullmatch(str(config.get("architecture")))) and "pretrained_cfg" in config

    return recognises


def _described(config: Config, processor: Config | None, classes: int) -> Description:
    pretrained = config["pretrained_cfg"]
    channels, height, width = map(int, pretrained["input_size"])
    normalisation = Normalisation(
        per_channel(pretrained["mean"], channels), per_channel(pretrained["std"], channels)
    )
    names = config.get("label_names") or pretrained.get("label_names")
    if names is None and classes == _IMAGENET_CLASSES:
        names = imagenet_classes()
    if names is None:
        names = [f"class {index}" for index in range(classes)]
    return Description((height, width, channels), normalisation, tuple(map(str, names)), "softmax")


def _vit(config: Config, arrays: dict[str, np.ndarray]) -> Network:
    if config.get("global_pool", "token") != "token":
        raise ValueError(f"its global_pool is {config['global_pool']}, not token")
    width, _, _, patch = arrays["patch_embed.proj.weight"].shape
    sizes = ViTSizes(
        patch=patch,
        width=width,
        depth=1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("blocks.")),
        heads=_HEADS[config["architecture"].split("_")[1]],
        hidden=len(arrays["blocks.0.mlp.fc1.bias"]),
        epsilon=_LAYER_NORM_EPSILON,
    )
    names = {"patch_embed.proj": "patches", "norm": "norm", "head": "head"}
    for index in blocks_of(sizes, arrays, "blocks."):
        theirs, ours = f"blocks.{index}", f"block{index}"
        for ending in ("weight", "bias"):
            for part, array in zip(
                ATTENTION, np.split(arrays.pop(f"{theirs}.attn.qkv.{ending}"), 3), strict=True
            ):
                arrays[f"{theirs}.attn.{part}.{ending}"] = array
        names |= {
            **{f"{theirs}.attn.{part}": f"{ours}.{part}" for part in ATTENTION},
            **{f"{theirs}.attn.proj": f"{ours}.output", f"{theirs}.norm1": f"{ours}.norm1"},
            **{f"{theirs}.norm2": f"{ours}.norm2", f"{theirs}.mlp.fc1": f"{ours}.wide"},
            f"{theirs}.mlp.fc2": f"{ours}.narrow",
        }
    embeddings = {"token": arrays.pop("cls_token"), "positions": arrays.pop("pos_embed")}
    return vit(sizes, embeddings | our_names(arrays, names))


def _resnet(config: Config, arrays: dict[str, np.ndarray]) -> Network:
    names = {"conv1": ("bn1", "stem")}
    blocks: list[BlockSizes] = []
    for stage, depth in enumerate(depths_of(arrays, "layer", 0), start=1):
        for index in range(depth):
            theirs, ours = f"layer{stage}.{index}", f"block{len(blocks)}"
            parts = range(1, 4 if f"{theirs}.conv3.weight" in arrays else 3)
            names |= {f"{theirs}.conv{part}": (f"{theirs}.bn{part}", f"{ours}.conv{part}") for part in parts}
            names[f"{theirs}.downsample.0"] = (f"{theirs}.downsample.1", f"{ours}.shortcut")
            blocks.append(
                block_sizes(
                    [arrays[f"{theirs}.conv{part}.weight"] for part in parts],
                    2 if index == 0 and stage > 1 else 1,
                    False,
                    f"{theirs}.downsample.0.weight" in arrays,
                )
            )
    return resnet(arrays, names, "fc", blocks)


ARCHITECTURES: dict[str, Architecture] = {
    "timm's vit_SIZE_patchP_S": Architecture(_is_timm(_VIT), _described, _vit),
    "timm's resnetN": Architecture(_is_timm(_RESNET), _described, _resnet),
}
"""The architectures, described."""
