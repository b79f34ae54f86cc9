"""AlexNet, CaffeNet, GoogLeNet and VGG against PyTorch, layer by layer, with random weights in its layout."""

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from evofool import Classifier, create_classifier, load_classifier
from evofool.classifiers.networks.layers import Dense
from tests.classifiers.golden_networks import (
    CLASSES,
    GOLDEN,
    SIDES,
    folder_of_weights,
    random_images,
    random_weights,
)

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")
tnn = torch.nn


class TorchAlexNet(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = tnn.Sequential(
            *(tnn.Conv2d(3, 64, 11, stride=4, padding=2), tnn.ReLU(), tnn.MaxPool2d(3, 2)),
            *(tnn.Conv2d(64, 192, 5, padding=2), tnn.ReLU(), tnn.MaxPool2d(3, 2)),
            *(tnn.Conv2d(192, 384, 3, padding=1), tnn.ReLU()),
            *(tnn.Conv2d(384, 256, 3, padding=1), tnn.ReLU()),
            *(tnn.Conv2d(256, 256, 3, padding=1), tnn.ReLU(), tnn.MaxPool2d(3, 2)),
        )
        self.avgpool = tnn.AdaptiveAvgPool2d((6, 6))
        self.classifier = tnn.Sequential(
            *(tnn.Dropout(), tnn.Linear(256 * 6 * 6, 4096), tnn.ReLU()),
            *(tnn.Dropout(), tnn.Linear(4096, 4096), tnn.ReLU()),
            tnn.Linear(4096, len(CLASSES)),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(torch.flatten(self.avgpool(self.features(imagenet_normalised(x))), 1))


class TorchCaffeNet(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = tnn.Conv2d(3, 96, 11, stride=4)
        self.conv2 = tnn.Conv2d(96, 256, 5, padding=2, groups=2)
        self.conv3 = tnn.Conv2d(256, 384, 3, padding=1)
        self.conv4 = tnn.Conv2d(384, 384, 3, padding=1, groups=2)
        self.conv5 = tnn.Conv2d(384, 256, 3, padding=1, groups=2)
        self.fc6 = tnn.Linear(256 * 6 * 6, 4096)
        self.fc7 = tnn.Linear(4096, 4096)
        self.fc8 = tnn.Linear(4096, len(CLASSES))
        self.pool = tnn.MaxPool2d(3, 2, ceil_mode=True)
        self.norm = tnn.LocalResponseNorm(5, alpha=1e-4, beta=0.75, k=1.0)

    def forward(self, x: Any) -> Any:
        blue_green_red = 255 * x.flip(1) - per_channel(104.00698793, 116.66876762, 122.67891434)
        x = self.norm(self.pool(torch.relu(self.conv1(blue_green_red))))
        x = self.norm(self.pool(torch.relu(self.conv2(x))))
        x = torch.relu(self.conv4(torch.relu(self.conv3(x))))
        x = torch.flatten(self.pool(torch.relu(self.conv5(x))), 1)
        return self.fc8(torch.relu(self.fc7(torch.relu(self.fc6(x)))))


class BasicConv(tnn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, **options: int) -> None:
        super().__init__()
        self.conv = tnn.Conv2d(inputs, outputs, size, bias=False, **options)
        self.bn = tnn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.bn(self.conv(x)))


class TorchInception(tnn.Module):
    def __init__(self, inputs: int, a: int, b0: int, b: int, c0: int, c: int, d: int) -> None:
        super().__init__()
        self.branch1 = BasicConv(inputs, a, 1)
        self.branch2 = tnn.Sequential(BasicConv(inputs, b0, 1), BasicConv(b0, b, 3, padding=1))
        self.branch3 = tnn.Sequential(BasicConv(inputs, c0, 1), BasicConv(c0, c, 3, padding=1))
        pool = tnn.MaxPool2d(3, stride=1, padding=1, ceil_mode=True)
        self.branch4 = tnn.Sequential(pool, BasicConv(inputs, d, 1))

    def forward(self, x: Any) -> Any:
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class TorchGoogLeNet(tnn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = BasicConv(3, 64, 7, stride=2, padding=3)
        self.conv2 = BasicConv(64, 64, 1)
        self.conv3 = BasicConv(64, 192, 3, padding=1)
        self.inception3a = TorchInception(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = TorchInception(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = TorchInception(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = TorchInception(512, 160, 112, 224, 24, 64, 64)
        self.inception4c = TorchInception(512, 128, 128, 256, 24, 64, 64)
        self.inception4d = TorchInception(512, 112, 144, 288, 32, 64, 64)
        self.inception4e = TorchInception(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = TorchInception(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = TorchInception(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = tnn.ModuleDict({"conv": BasicConv(512, 128, 1), "fc2": tnn.Linear(4, len(CLASSES))})
        self.fc = tnn.Linear(1024, len(CLASSES))
        self.pool3 = tnn.MaxPool2d(3, 2, ceil_mode=True)
        self.pool2 = tnn.MaxPool2d(2, 2, ceil_mode=True)

    def forward(self, x: Any) -> Any:
        # What torchvision's transform_input makes of normalised images.
        deviation, mean = per_channel(0.229, 0.224, 0.225), per_channel(0.485, 0.456, 0.406)
        x = imagenet_normalised(x) * (deviation / 0.5) + (mean - 0.5) / 0.5
        x = self.pool3(self.conv3(self.conv2(self.pool3(self.conv1(x)))))
        x = self.pool3(self.inception3b(self.inception3a(x)))
        x = self.inception4c(self.inception4b(self.inception4a(x)))
        x = self.pool2(self.inception4e(self.inception4d(x)))
        x = self.inception5b(self.inception5a(x))
        return self.fc(x.mean(dim=(2, 3)))


class TorchVGG(tnn.Module):
    def __init__(self, configuration: str) -> None:
        super().__init__()
        layers: list[Any] = []
        inputs = 3
        for outputs in configuration.split():
            if outputs == "M":
                layers.append(tnn.MaxPool2d(2, 2))
            else:
                layers += [tnn.Conv2d(inputs, int(outputs), 3, padding=1), tnn.ReLU()]
                inputs = int(outputs)
        self.features = tnn.Sequential(*layers)
        self.avgpool = tnn.AdaptiveAvgPool2d((7, 7))
        self.classifier = tnn.Sequential(
            *(tnn.Linear(512 * 7 * 7, 4096), tnn.ReLU(), tnn.Dropout()),
            *(tnn.Linear(4096, 4096), tnn.ReLU(), tnn.Dropout()),
            tnn.Linear(4096, len(CLASSES)),
        )

    def forward(self, x: Any) -> Any:
        return self.classifier(torch.flatten(self.avgpool(self.features(imagenet_normalised(x))), 1))


def per_channel(*values: float) -> Any:
    return torch.tensor(values).reshape(1, 3, 1, 1)


def imagenet_normalised(x: Any) -> Any:
    return (x - per_channel(0.485, 0.456, 0.406)) / per_channel(0.229, 0.224, 0.225)


def alexnet_layer(name: str) -> str:
    names = ("features.0", "features.3", "features.6", "features.8", "features.10")
    layers = dict(zip(names, ("conv1", "conv2", "conv3", "conv4", "conv5"), strict=True))
    return (layers | {"classifier.1": "fc6", "classifier.4": "fc7", "classifier.6": "fc8"})[name]


VGG_CONFIGURATIONS = {
    "vgg16": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "vgg19": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}
VGG_LAYERS = {
    "vgg16": {
        **{
            0: "conv1_1",
            2: "conv1_2",
            5: "conv2_1",
            7: "conv2_2",
            10: "conv3_1",
            12: "conv3_2",
            14: "conv3_3",
        },
        **{17: "conv4_1", 19: "conv4_2", 21: "conv4_3", 24: "conv5_1", 26: "conv5_2", 28: "conv5_3"},
    },
    "vgg19": {
        **{
            0: "conv1_1",
            2: "conv1_2",
            5: "conv2_1",
            7: "conv2_2",
            10: "conv3_1",
            12: "conv3_2",
            14: "conv3_3",
        },
        **{16: "conv3_4", 19: "conv4_1", 21: "conv4_2", 23: "conv4_3", 25: "conv4_4"},
        **{28: "conv5_1", 30: "conv5_2", 32: "conv5_3", 34: "conv5_4"},
    },
}


def vgg_layer(name: str, network: str) -> str:
    part, index = name.split(".")
    dense = {0: "fc6", 3: "fc7", 6: "fc8"}
    return (dense if part == "classifier" else VGG_LAYERS[network])[int(index)]


def googlenet_layer(name: str) -> str:
    """Ours ends where torchvision's batch normalisation does."""
    name = name.removesuffix(".bn")
    for theirs, ours in (("2.0", "2_reduce"), ("2.1", "2"), ("3.0", "3_reduce"), ("3.1", "3"), ("4.1", "4")):
        name = name.replace(f"branch{theirs}", f"branch{ours}")
    return name


class Case(NamedTuple):
    model: Callable[[], Any]
    layer: Callable[[str], str]
    compared: tuple[type, ...]


CASES = {
    "alexnet": Case(TorchAlexNet, alexnet_layer, (tnn.Conv2d, tnn.Linear)),
    "caffenet": Case(TorchCaffeNet, str, (tnn.Conv2d, tnn.Linear)),
    "googlenet": Case(TorchGoogLeNet, googlenet_layer, (tnn.BatchNorm2d, tnn.Linear)),
    **{
        name: Case(
            partial(TorchVGG, configuration), partial(vgg_layer, network=name), (tnn.Conv2d, tnn.Linear)
        )
        for name, configuration in VGG_CONFIGURATIONS.items()
    },
}


class Loaded(NamedTuple):
    name: str
    model: Any
    classifier: Classifier


@pytest.fixture(scope="module", params=CASES)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    """A network of PyTorch with random weights, and what is loaded from its state dict."""
    folder = tmp_path_factory.mktemp("data")
    model, weights = with_random_weights(request.param)
    folder_of_weights(folder, request.param, weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVOFOOL_DATA", str(folder))
        yield Loaded(request.param, model, load_classifier(request.param))
        (folder / "weights" / f"{request.param}.safetensors").unlink()


def with_random_weights(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """A network of PyTorch with random weights, and these."""
    model = CASES[name].model().eval()
    weights = random_weights({layer: tuple(tensor.shape) for layer, tensor in model.state_dict().items()})
    model.load_state_dict({layer: torch.from_numpy(array) for layer, array in weights.items()})
    return model, weights


def logits_of_torch(model: Any, images: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()


def activations_of_torch(model: Any, compared: tuple[type, ...], images: np.ndarray) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, name=name: found.update({name: output.numpy()}))
        for name, module in model.named_modules()
        if isinstance(module, compared)
    ]
    with torch.no_grad():
        model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    for hook in hooks:
        hook.remove()
    return {name: each.transpose(0, 2, 3, 1) if each.ndim == 4 else each for name, each in found.items()}


def activations_of_flax(
    classifier: Classifier, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray]:
    made: list[tuple[Any, Any]] = []

    def recording(call: Callable[..., Any]) -> Callable[..., Any]:
        def recorded(module: Any, *arguments: Any, **options: Any) -> Any:
            output = call(module, *arguments, **options)
            made.append((module, output))
            return output

        return recorded

    for kind in (nnx.Conv, nnx.Linear, Dense):
        monkeypatch.setattr(kind, "__call__", recording(kind.__call__))

    @jax.jit
    def run(params: Any, images: Any) -> dict[str, Any]:
        network = nnx.merge(classifier.logits_function.graphdef, params)
        paths = {id(module): ".".join(map(str, path)) for path, module in nnx.iter_modules(network)}
        network(images)
        return {paths[id(module)]: output for module, output in made}

    return {name: np.asarray(output) for name, output in run(classifier.params, jnp.asarray(images)).items()}


def test_every_layer_is_that_of_torch(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES[loaded.name]
    images = random_images(SIDES[loaded.name])
    theirs = activations_of_torch(loaded.model, case.compared, images)
    ours = activations_of_flax(loaded.classifier, images, monkeypatch)
    assert ours.keys() == {case.layer(name) for name in theirs}
    for name, expected in theirs.items():
        found = ours[case.layer(name)]
        assert found.shape == expected.shape, name
        assert expected.std() > 0.1, name
        assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max(), name


@pytest.mark.exact
def test_logits_are_those_of_torch_and_do_not_depend_on_the_batch(loaded: Loaded) -> None:
    side = SIDES[loaded.name]
    images = np.random.default_rng(1).random((9, side, side, 3), np.float32)
    logits = jax.jit(lambda classifier, images: classifier.logits(images))
    together = np.asarray(logits(loaded.classifier, images))
    expected = logits_of_torch(loaded.model, images[:2])
    assert np.abs(together[:2] - expected).max() < 2e-5 * np.abs(expected).max()
    np.testing.assert_array_equal(np.asarray(logits(loaded.classifier, images[:8])), together[:8])


def test_the_golden_logits_are_those_of_torch(loaded: Loaded) -> None:
    expected = golden_arrays(loaded.name, loaded.model)
    with np.load(GOLDEN) as golden:
        for what in ("names", "shapes"):
            np.testing.assert_array_equal(golden[f"{loaded.name}.{what}"], expected[f"{loaded.name}.{what}"])
        logits = expected[f"{loaded.name}.logits"]
        assert np.abs(golden[f"{loaded.name}.logits"] - logits).max() < 2e-5 * np.abs(logits).max()


def golden_arrays(name: str, model: Any) -> dict[str, np.ndarray]:
    """What the golden file holds of a network; shapes are filled up with zeros."""
    shapes = {layer: tuple(tensor.shape) for layer, tensor in model.state_dict().items()}
    return {
        f"{name}.names": np.array(list(shapes)),
        f"{name}.shapes": np.array([(*shape, *[0] * (4 - len(shape))) for shape in shapes.values()]),
        f"{name}.logits": logits_of_torch(model, random_images(SIDES[name])),
    }


@pytest.mark.parametrize("loaded", ["googlenet"], indirect=True)
def test_a_path_loads_the_same_as_a_name(loaded: Loaded) -> None:
    path = Path(os.environ["EVOFOOL_DATA"], "weights", f"{loaded.name}.safetensors")
    found = load_classifier(path)
    assert found.spec == loaded.classifier.spec
    jax.tree.map(np.testing.assert_array_equal, found.params, loaded.classifier.params)


@pytest.mark.parametrize(
    ("loaded", "shape"),
    [("alexnet", (63, 140, 3)), ("alexnet", (200, 111, 3)), ("vgg16", (33, 260, 3))],
    indirect=["loaded"],
)
def test_tiles_of_images_of_other_sizes_are_averaged_as_by_torch(
    loaded: Loaded, shape: tuple[int, int, int]
) -> None:
    classifier = create_classifier(loaded.name, shape, CLASSES, seed=None)
    images = np.random.default_rng(2).random((1, *shape), np.float32)
    found = jax.jit(classifier.logits_function)(loaded.classifier.params, images)
    expected = logits_of_torch(loaded.model, images)
    assert np.abs(np.asarray(found) - expected).max() < 2e-5 * np.abs(expected).max()


if __name__ == "__main__":
    np.savez_compressed(
        GOLDEN,
        **{
            key: array
            for name in CASES
            for key, array in golden_arrays(name, with_random_weights(name)[0]).items()
        },
    )
