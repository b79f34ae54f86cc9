"""Models of the Hugging Face hub: logits against NumPy and the original frameworks, and the hub's cache."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import save_file
from scipy.special import erf

import evofool
from evofool.classifiers import hub
from evofool.errors import EvofoolError, UsageError
from tests.runs.common import Main, one_line

constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra `hub`")

MEAN, DEVIATION = [0.5, 0.4, 0.3], [0.2, 0.3, 0.25]
FIRST, SECOND = "1" * 40, "2" * 40

Weights = dict[str, np.ndarray]


class Random(dict[str, np.ndarray]):
    """Random weights by name."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.numbers = np.random.default_rng(seed)

    def add(self, name: str, *shape: int) -> None:
        self[name] = (self.numbers.normal(size=shape) / math.sqrt(math.prod(shape[1:]))).astype(np.float32)

    def layer(self, name: str, *shape: int) -> None:
        self.add(f"{name}.weight", *shape)
        self.add(f"{name}.bias", shape[0])

    def normalisation(self, name: str, channels: int) -> None:
        self.layer(name, channels)
        self.add(f"{name}.running_mean", channels)
        self[f"{name}.running_var"] = self.numbers.uniform(0.5, 2, channels).astype(np.float32)
        self[f"{name}.num_batches_tracked"] = np.array(7)


PREPROCESSOR = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": MEAN}
VIT = {
    "architectures": ["ViTForImageClassification"],
    **{"image_size": 8, "patch_size": 4, "hidden_size": 12, "num_hidden_layers": 2},
    **{"num_attention_heads": 3, "intermediate_size": 20, "layer_norm_eps": 1e-12, "hidden_act": "gelu"},
    "id2label": {"0": "tench, Tinca tinca", "1": "goldfish", "2": "shark"},
}


def vit_weights(seed: int = 0) -> Random:
    weights = Random(seed)
    weights.add("vit.embeddings.cls_token", 1, 1, 12)
    weights.add("vit.embeddings.position_embeddings", 1, 5, 12)
    weights.layer("vit.embeddings.patch_embeddings.projection", 12, 3, 4, 4)
    for index in range(2):
        block = f"vit.encoder.layer.{index}"
        for part in ("attention.attention.query", "attention.attention.key", "attention.attention.value"):
            weights.layer(f"{block}.{part}", 12, 12)
        weights.layer(f"{block}.attention.output.dense", 12, 12)
        weights.layer(f"{block}.intermediate.dense", 20, 12)
        weights.layer(f"{block}.output.dense", 12, 20)
        weights.layer(f"{block}.layernorm_before", 12)
        weights.layer(f"{block}.layernorm_after", 12)
    weights.layer("vit.layernorm", 12)
    weights.layer("classifier", 3, 12)
    return weights


def write(folder: Path, config: dict[str, Any], weights: Weights, **preprocessor: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if "architectures" in config:
        values = {**PREPROCESSOR, "image_std": DEVIATION, "size": {"height": 8, "width": 8}, **preprocessor}
        (folder / "preprocessor_config.json").write_text(json.dumps(values))
    save_file(dict(weights), folder / "model.safetensors")
    return folder


def normalised(images: np.ndarray) -> np.ndarray:
    return (images.astype(np.float64) - MEAN) / DEVIATION


def vit_in_numpy(w: Weights, images: np.ndarray) -> np.ndarray:
    def layer(name: str, x: np.ndarray) -> np.ndarray:
        return x @ w[f"{name}.weight"].T.astype(np.float64) + w[f"{name}.bias"]

    def norm(name: str, x: np.ndarray) -> np.ndarray:
        z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)
        return z * w[f"{name}.weight"] + w[f"{name}.bias"]

    projection = "vit.embeddings.patch_embeddings.projection"
    patches = [
        np.einsum("nhwc,ochw->no", normalised(images)[:, y : y + 4, x : x + 4], w[f"{projection}.weight"])
        + w[f"{projection}.bias"]
        for y in (0, 4)
        for x in (0, 4)
    ]
    token = np.broadcast_to(w["vit.embeddings.cls_token"][0], (len(images), 12))
    x = np.stack([token, *patches], axis=1) + w["vit.embeddings.position_embeddings"]
    for index in range(2):
        block = f"vit.encoder.layer.{index}"
        y, heads = norm(f"{block}.layernorm_before", x), []
        query, key, value = (
            layer(f"{block}.attention.attention.{part}", y) for part in ("query", "key", "value")
        )
        for head in range(3):
            own = slice(4 * head, 4 * head + 4)
            scores = np.exp(query[..., own] @ key[..., own].transpose(0, 2, 1) / 2)
            heads.append(scores / scores.sum(-1, keepdims=True) @ value[..., own])
        x = x + layer(f"{block}.attention.output.dense", np.concatenate(heads, -1))
        z = layer(f"{block}.intermediate.dense", norm(f"{block}.layernorm_after", x))
        x = x + layer(f"{block}.output.dense", z * (1 + erf(z / math.sqrt(2))) / 2)
    return layer("classifier", norm("vit.layernorm", x)[:, 0])


RESNET = {
    "architectures": ["ResNetForImageClassification"],
    **{"layer_type": "bottleneck", "hidden_act": "relu", "num_channels": 3},
    **{"downsample_in_first_stage": False, "downsample_in_bottleneck": False},
    "id2label": {"0": "even", "1": "odd"},
}


def resnet_weights() -> tuple[dict[str, Any], Random]:
    """Two stages of a bottleneck, 4 to 8 and 8 to 12 channels, as transformers names them."""
    weights = Random(1)

    def unit(name: str, *shape: int) -> None:
        weights.add(f"{name}.convolution.weight", *shape)
        weights.normalisation(f"{name}.normalization", shape[0])

    unit("resnet.embedder.embedder", 4, 3, 7, 7)
    for stage, (inputs, inner, outputs) in enumerate([(4, 2, 8), (8, 3, 12)]):
        block = f"resnet.encoder.stages.{stage}.layers.0"
        unit(f"{block}.layer.0", inner, inputs, 1, 1)
        unit(f"{block}.layer.1", inner, inner, 3, 3)
        unit(f"{block}.layer.2", outputs, inner, 1, 1)
        unit(f"{block}.shortcut", outputs, inputs, 1, 1)
    weights.layer("classifier.1", 2, 12)
    return RESNET, weights


def as_timm(weights: Weights) -> Weights:
    """The same network by timm's names."""
    named = {"resnet.embedder.embedder.convolution": "conv1", "resnet.embedder.embedder.normalization": "bn1"}
    for stage in (0, 1):
        theirs, block = f"layer{stage + 1}.0", f"resnet.encoder.stages.{stage}.layers.0"
        for part in (0, 1, 2):
            named[f"{block}.layer.{part}.convolution"] = f"{theirs}.conv{part + 1}"
            named[f"{block}.layer.{part}.normalization"] = f"{theirs}.bn{part + 1}"
        named[f"{block}.shortcut.convolution"] = f"{theirs}.downsample.0"
        named[f"{block}.shortcut.normalization"] = f"{theirs}.downsample.1"
    named["classifier.1"] = "fc"
    layers = (name.rpartition(".") for name in weights)
    return {f"{named[layer]}.{kind}": weights[f"{layer}.{kind}"] for layer, _, kind in layers}


def resnet_in_numpy(w: Weights, images: np.ndarray) -> np.ndarray:
    def unit(name: str, x: np.ndarray, stride: int = 1) -> np.ndarray:
        kernel, bn = w[f"{name}.convolution.weight"].astype(np.float64), f"{name}.normalization"
        pad = kernel.shape[2] // 2
        x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
        windows = sliding_window_view(x, kernel.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
        x = np.einsum("nyxchw,ochw->nyxo", windows, kernel) - w[f"{bn}.running_mean"]
        x = x / np.sqrt(w[f"{bn}.running_var"] + 1e-5) * w[f"{bn}.weight"] + w[f"{bn}.bias"]
        return x

    x = np.maximum(unit("resnet.embedder.embedder", normalised(images), 2), 0)
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    x = sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-2, -1))
    for stage, stride in enumerate((1, 2)):
        block = f"resnet.encoder.stages.{stage}.layers.0"
        y = np.maximum(unit(f"{block}.layer.0", x), 0)
        y = np.maximum(unit(f"{block}.layer.1", y, stride), 0)
        x = np.maximum(unit(f"{block}.layer.2", y) + unit(f"{block}.shortcut", x, stride), 0)
    return x.mean(axis=(1, 2)) @ w["classifier.1.weight"].T + w["classifier.1.bias"]


def pictures(side: int, count: int = 3) -> np.ndarray:
    return np.random.default_rng(3).random((count, side, side, 3), np.float32)


def logits_of(folder: Path, images: np.ndarray) -> np.ndarray:
    return np.asarray(evofool.load_classifier(folder).logits(jnp.asarray(images)))


def test_a_vision_transformer_has_the_logits_of_numpy(tmp_path: Path) -> None:
    weights, images = vit_weights(), pictures(8)
    folder = write(tmp_path / "my vit", VIT, weights | {"vit.pooler.dense.bias": np.ones(12, np.float32)})
    classifier = evofool.load_classifier(folder)
    assert classifier.spec.name == "my vit"
    assert classifier.spec.class_names == ("tench, Tinca tinca", "goldfish", "shark")
    np.testing.assert_allclose(
        classifier.logits(jnp.asarray(images)), vit_in_numpy(weights, images), atol=1e-5
    )
    alone = classifier.logits(jnp.asarray(images[:2]))
    np.testing.assert_array_equal(alone, classifier.logits(jnp.asarray(images))[:2])


def test_a_residual_network_has_the_logits_of_numpy_by_either_programs_names(tmp_path: Path) -> None:
    config, weights = resnet_weights()
    images = pictures(24)
    expected = resnet_in_numpy(weights, images)
    folder = write(tmp_path / "a", config, weights, size={"shortest_edge": 24})
    np.testing.assert_allclose(logits_of(folder, images), expected, atol=1e-5)
    timm = {
        "architecture": "resnet50",
        "pretrained_cfg": {"mean": MEAN, "std": DEVIATION, "input_size": [3, 24, 24]},
    }
    folder = write(tmp_path / "b", timm, as_timm(weights))
    np.testing.assert_allclose(logits_of(folder, images), expected, atol=1e-5)
    assert evofool.load_classifier(folder).spec.class_names == ("class 0", "class 1")


def test_the_preprocessor_is_followed(tmp_path: Path) -> None:
    weights, images = vit_weights(), pictures(8)
    folder = write(tmp_path, VIT, weights, do_normalize=False, rescale_factor=2 / 255)
    as_if = (2 * images.astype(np.float64)) * DEVIATION + MEAN
    np.testing.assert_allclose(logits_of(folder, images), vit_in_numpy(weights, as_if), atol=1e-5)
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(EvofoolError, match=r"preprocessor_config.json is missing"):
        evofool.load_classifier(folder)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_logits_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="needs torch")
    transformers = pytest.importorskip("transformers", reason="needs transformers")
    import torch

    torch.manual_seed(0)
    images = pictures(64)
    if kind == "vit":
        config = transformers.ViTConfig(
            hidden_size=24, num_hidden_layers=3, num_attention_heads=3, image_size=64, num_labels=5
        )
        model = transformers.ViTForImageClassification(config).eval()
    else:
        config = transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[16, 32], depths=[2, 1], layer_type="basic", num_labels=5
        )
        model = transformers.ResNetForImageClassification(config).eval()
    model.save_pretrained(tmp_path)
    preprocessor = {**PREPROCESSOR, "image_std": DEVIATION, "size": {"height": 64, "width": 64}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    with torch.no_grad():
        pixels = torch.from_numpy(normalised(images).transpose(0, 3, 1, 2).astype(np.float32))
        expected = model(pixels).logits.numpy()
    np.testing.assert_allclose(logits_of(tmp_path, images), expected, atol=1e-5)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, laid out as its library does, with a model at two commits; there is no network."""
    folder = tmp_path / "hub" / "models--someone--tiny-vit"
    for commit, seed in ((FIRST, 0), (SECOND, 1)):
        write(folder / "snapshots" / commit, VIT, vit_weights(seed))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(FIRST)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub._snapshot.cache_clear()
    return folder


def test_a_model_of_the_hub_is_fooled_and_its_run_keeps_the_commit(
    cache: Path, tmp_path: Path, evofool_main: Main
) -> None:
    images = pictures(8)
    first = evofool.load_classifier("hf:someone/tiny-vit")
    np.testing.assert_allclose(
        first.logits(jnp.asarray(images)), vit_in_numpy(vit_weights(), images), atol=1e-5
    )
    second = evofool.load_classifier(f"hf:someone/tiny-vit@{SECOND}")
    expected = vit_in_numpy(vit_weights(1), images)
    np.testing.assert_allclose(second.logits(jnp.asarray(images)), expected, atol=1e-5)
    options = ("--batch-size", 4, "--quiet", "--out", tmp_path / "run")
    assert evofool_main("evolve", "--classifier", "hf:someone/tiny-vit", "--generations", 2, *options)[0] == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["settings"]["classifier"] == f"hf:someone/tiny-vit@{FIRST}"
    assert config["classifier"]["class_names"] == ["tench, Tinca tinca", "goldfish", "shark"]
    assert config["classifier"]["name"] == "someone/tiny-vit"
    # The branch moves on; the run stays.
    (cache / "refs" / "main").write_text(SECOND)
    hub._snapshot.cache_clear()
    assert evofool_main("evolve", "--resume", tmp_path / "run", "--generations", 3, "--quiet")[0] == 0
    code, _, err = evofool_main("evolve", "--resume", tmp_path / "run", "--classifier", "hf:someone/tiny-vit")
    assert code == 1
    assert "weights of someone/tiny-vit are not those" in one_line(err)


def without_weights(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (cache / "snapshots" / FIRST / "model.safetensors").unlink()
    return "hf:someone/tiny-vit"


def without_the_library(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    return "hf:someone/tiny-vit"


def of_another_architecture(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write(cache / "snapshots" / FIRST, {**VIT, "architectures": ["SwinForImageClassification"]}, {})
    return "hf:someone/tiny-vit"


def of_other_sizes(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write(cache / "snapshots" / FIRST, {**VIT, "intermediate_size": 21}, vit_weights())
    return "hf:someone/tiny-vit"


def of_other_labels(cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write(cache / "snapshots" / FIRST, {**VIT, "id2label": {"0": "one"}}, vit_weights())
    return "hf:someone/tiny-vit"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            without_weights,
            "cannot download model.safetensors of hf:someone/tiny-vit, and it is not",
        ),
        (
            without_the_library,
            r"needs the package huggingface_hub, which is not installed: run `pip install 'evofool\[hub\]'",
        ),
        (of_another_architecture, "SwinForImageClassification; supported are ViTForImageClassification, Res"),
        (of_other_sizes, "for block0.narrow.kernel it has .20, 12., needed is .21, 12."),
        (of_other_labels, "id2label does not name its 3 classes"),
        (
            lambda cache, patch: "hf:someone/else",
            "cannot download config.json of hf:someone/else, and it",
        ),
        (lambda cache, patch: "hf:someone", "named hf:OWNER/NAME"),
        (lambda cache, patch: "hf:some..one/-x@", "named hf:OWNER/NAME"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_one_line(
    change: Callable[[Path, pytest.MonkeyPatch], str],
    words: str,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises((EvofoolError, UsageError), match=words) as error:
        evofool.load_classifier(change(cache, monkeypatch))
    assert "\n" not in str(error.value)
