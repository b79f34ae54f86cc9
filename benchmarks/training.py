"""An epoch of training beside the bare forward and backward passes over the same images."""

import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.harness import Effort, Side, Table, compiled, rates, say, timed
from evofool import Classifier, create_classifier
from evofool.datasets import load_dataset
from evofool.errors import EvofoolError
from evofool.training import TrainingOptions, train

_BARE = "forward and backward passes"
_BATCH = 128


def training(effort: Effort) -> Iterator[Table]:
    """An epoch of training a LeNet, beside the bare forward and backward passes of its batches."""
    try:
        data = load_dataset(effort.size("mnist", "digits"))
    except EvofoolError:
        data = load_dataset("digits")
    count = min(effort.size(12_800, 256), len(data.train_images)) // _BATCH * _BATCH
    data = data._replace(train_images=data.train_images[:count], train_labels=data.train_labels[:count])
    network = create_classifier("lenet", data.train_images.shape[1:], data.class_names)
    images = jnp.asarray(data.train_images, jnp.float32).reshape(-1, _BATCH, *data.train_images.shape[1:])
    labels = jnp.asarray(data.train_labels).reshape(-1, _BATCH)
    bare = compiled(_passes, network, images / 255, labels, evaluations=count)
    sides = {_BARE: bare, "evofool": Side(lambda: None, evaluations=count)}
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    started = time.perf_counter()

    def on_epoch(epoch: int, loss: float) -> None:
        """Time the other side between two epochs."""
        nonlocal started
        seconds["evofool"].append(time.perf_counter() - started)
        timed(bare)
        seconds[_BARE].append(timed(bare))
        say(f"    epoch {epoch}: {seconds['evofool'][-1]:.3f} s, {_BARE} {seconds[_BARE][-1]:.3f} s")
        started = time.perf_counter()

    options = TrainingOptions(epochs=1 + effort.repeats(7), batch_size=_BATCH)
    train(network, data, options, on_epoch=on_epoch)
    # The first epoch compiles.
    measured = {name: np.array(values[1:]) for name, values in seconds.items()}
    first = seconds["evofool"][0]
    sides["evofool"].compile_seconds = max(0.0, first - float(np.median(measured["evofool"])))
    yield rates(f"Training a LeNet, {count:,} images per epoch, batch {_BATCH}", sides, measured, _BARE)


def _passes(network: Classifier, images: Any, labels: Any) -> Any:
    """The gradients of all batches, one after the other."""

    def loss(network: Classifier, images: Any, labels: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(network.logits(images), labels).mean()

    def step(gradients: Any, batch: Any) -> Any:
        # The barrier makes the weights depend on the last gradients, so the compiler cannot drop a pass.
        weights, _ = jax.lax.optimization_barrier((network, gradients))
        return jax.grad(loss)(weights, *batch), None

    return jax.lax.scan(step, jax.tree.map(jnp.zeros_like, network), (images, labels))[0]
