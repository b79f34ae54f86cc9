"""PyTorch modules as classifiers, against PyTorch itself."""

from typing import Any

import jax
import numpy as np
import pytest

import evofool
from evofool import Preprocessing, UsageError

torch = pytest.importorskip("torch", reason="needs the extra torch")
pytest.importorskip("onnxscript", reason="needs the extra torch")
nn = torch.nn

IMAGES = jax.random.uniform(jax.random.key(0), (7, 16, 16, 3))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.second, self.down = nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(16, 32, 1, 2)
        self.dropout, self.last = nn.Dropout(), nn.Linear(32, 10)
        for values in (self.norm.running_mean, self.norm.weight.data, self.norm.bias.data):
            values.normal_()

    def forward(self, images: Any) -> Any:
        x = torch.relu(self.norm(self.first(images)))
        x = nn.functional.max_pool2d(torch.relu(self.second(x) + self.down(x)), 3, 2, 1)
        return self.last(self.dropout(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)))


class Transformer(nn.Module):
    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, width, 4, 4)
        self.first, self.place = (nn.Parameter(torch.randn(1, n, width)) for n in (1, 17))
        layer = nn.TransformerEncoderLayer(width, 4, 64, activation="gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.last = nn.Linear(width, 10)

    def forward(self, images: Any) -> Any:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.first.expand(len(x), -1, -1), x], 1) + self.place
        return self.last(self.encoder(x)[:, 0])


class Depthwise(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU())
        self.middle = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6())
        self.weigh = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(8, 8, 1), nn.Hardsigmoid())
        self.last = nn.Linear(8, 10)

    def forward(self, images: Any) -> Any:
        x = self.middle(self.first(images))
        return self.last(nn.functional.hardswish(x * self.weigh(x)).mean((2, 3))).softmax(1)


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(768, 10)

    def forward(self, images: Any) -> Any:
        return self.last(images.reshape(1, -1))


@pytest.mark.parametrize("kind", [Residual, Transformer, Depthwise, Fixed])
def test_a_module_gives_what_torch_gives(kind: Any) -> None:
    torch.manual_seed(0)
    module = kind()
    classifier = evofool.from_torch(module, input_shape=(16, 16, 3), preprocessing=Preprocessing(2.0, 0.5))
    assert repr(classifier) == f"Classifier('{kind.__name__}', 16x16x3, 10 classes, softmax)"
    assert module.training
    module.eval()
    given = torch.tensor((np.asarray(IMAGES) * 2 - 0.5).transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        expected = torch.cat([module(image[None]) for image in given]).numpy()
    found = classifier(IMAGES) if kind is Depthwise else classifier.logits(IMAGES)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(UsageError, match=r"takes a torch\.nn\.Module, not function"):
        evofool.from_torch(lambda images: images, input_shape=(16, 16, 3))
