"""The networks that `evofool train` trains, in PyTorch with the same weights, for peers of that framework."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx, traverse_util

from benchmarks.peers import needs
from evofool import Classifier
from evofool.classifiers.networks import network_of
from evofool.errors import UsageError

Tensor = Any
Weights = Mapping[str, Tensor]

_LARGEST_DIFFERENCE = 1e-4


@needs("torch")
def as_torch(classifier: Classifier, images: Any) -> Any:
    """A `torch.nn.Module` with the weights of a classifier, from images `[n, c, h, w]` to logits.

    Args:
        classifier: one of evofool's networks for small images.
        images: some to compare the logits on.

    Raises:
        UsageError: another network.
        RuntimeError: the logits of the two differ by more than 1e-4.
    """
    import torch

    network = network_of(classifier)
    if network not in _FORWARD:
        raise UsageError(f"{network} has no form in PyTorch here: choose one of {', '.join(_FORWARD)}")
    pure = traverse_util.flatten_dict(nnx.to_pure_dict(classifier.params), sep="_")
    weights = {name: _arranged(torch.tensor(np.asarray(each))) for name, each in pure.items()}

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterDict(weights).requires_grad_(False)

        def forward(self, images: Tensor) -> Tensor:
            return _FORWARD[network](self.weights, images)

    module = Network().eval()
    with torch.no_grad():
        theirs = module(to_torch(images)).numpy()
    apart = float(np.abs(theirs - np.asarray(classifier.logits(images))).max())
    if apart > _LARGEST_DIFFERENCE:
        raise RuntimeError(f"the logits of {classifier.spec.name} in PyTorch differ by {apart:.2g}")
    return module


def to_torch(images: Any) -> Tensor:
    """Images `[n, h, w, c]` as a tensor `[n, c, h, w]`."""
    import torch

    return torch.tensor(np.asarray(images)).permute(0, 3, 1, 2).contiguous()


def torch_labels(labels: Any) -> Tensor:
    """Labels in the type that PyTorch's losses take."""
    import torch

    return torch.tensor(np.asarray(labels)).long()


def from_torch(images: Tensor) -> np.ndarray:
    """A tensor `[n, c, h, w]` as images `[n, h, w, c]`."""
    return np.asarray(images.permute(0, 2, 3, 1).contiguous().detach().numpy())


def _arranged(weights: Tensor) -> Tensor:
    """Kernels with the outputs first."""
    order = {4: (3, 2, 0, 1), 2: (1, 0)}.get(weights.ndim)
    return weights if order is None else weights.permute(order).contiguous()


def _conv(weights: Weights, name: str, x: Tensor, padding: int = 0) -> Tensor:
    from torch.nn import functional

    return functional.conv2d(x, weights[f"{name}_kernel"], weights[f"{name}_bias"], padding=padding)


def _dense(weights: Weights, name: str, x: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.linear(x, weights[f"{name}_kernel"], weights[f"{name}_bias"])


def _pool(x: Tensor) -> Tensor:
    from torch.nn import functional

    return functional.max_pool2d(x, 2)


def _flat(x: Tensor) -> Tensor:
    # The order of images whose channels come last.
    return x.permute(0, 2, 3, 1).flatten(1)


def _lenet(weights: Weights, x: Tensor) -> Tensor:
    x = _pool(_conv(weights, "conv1", x * (255 / 256)))
    x = _pool(_conv(weights, "conv2", x))
    return _dense(weights, "fc2", _dense(weights, "fc1", _flat(x)).relu())


def _cnn(weights: Weights, x: Tensor) -> Tensor:
    x = _conv(weights, "conv1", x).relu()
    x = _pool(_conv(weights, "conv2", x).relu())
    return _dense(weights, "fc2", _dense(weights, "fc1", _flat(x)).relu())


def _mlp(weights: Weights, x: Tensor) -> Tensor:
    x = _dense(weights, "fc1", _flat(x)).relu()
    return _dense(weights, "fc3", _dense(weights, "fc2", x).relu())


def _maxout(weights: Weights, x: Tensor) -> Tensor:
    x = _dense(weights, "fc1", _flat(x)).reshape(-1, 240, 5).amax(2)
    return _dense(weights, "fc3", _dense(weights, "fc2", x).reshape(-1, 240, 5).amax(2))


def _linear(weights: Weights, x: Tensor) -> Tensor:
    return _dense(weights, "fc", _flat(x))


def _resnet(weights: Weights, x: Tensor) -> Tensor:
    x = _conv(weights, "conv1", 4 * x - 2, 1).relu()
    x = _conv(weights, "conv2", _pool(x), 1).relu()
    x = _conv(weights, "conv3", _pool(x), 1).relu()
    change = _conv(weights, "block_conv2", _conv(weights, "block_conv1", x, 1).relu(), 1)
    x = x + weights["block_factor"] * change.relu()
    x = _conv(weights, "conv4", _pool(x), 1).relu()
    return _dense(weights, "fc", x.mean((2, 3)))


_FORWARD: dict[str, Callable[[Weights, Tensor], Tensor]] = {
    "lenet": _lenet,
    "cnn": _cnn,
    "mlp": _mlp,
    "maxout": _maxout,
    "linear": _linear,
    "resnet": _resnet,
}
