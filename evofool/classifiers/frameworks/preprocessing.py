"""From images in [0, 1] to what a model was trained on."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from evofool.errors import UsageError, require_choice, require_positive, shown

Number = float | int

Channels = Literal["rgb", "bgr"]
"""The order of a model's channels."""

Layout = Literal["nhwc", "nchw"]
"""Where the channels of a batch are: on the last axis or on the second."""


@dataclass(frozen=True)
class Preprocessing:
    """What a model expects of its images, given images in [0, 1] with channels last, RGB if in colour.

    The model sees `(images * scale - mean) / std`, in its own order of channels and of axes.

    Attributes:
        scale: 255 for a model of pixels in [0, 255].
        mean: subtracted from scaled values: one for all channels, or one for each in the model's order.
        std: divides the difference, in the same way.
        channels: "rgb", or "bgr" for blue first.
        layout: "nhwc" for channels last, "nchw" for channels first; None for what the model's framework uses.

    Raises:
        UsageError: a scale or deviation that is not positive, a mean that is no number, or an unknown order.

    Example:
        >>> caffe = Preprocessing(255, mean=(104, 117, 124), channels="bgr", layout="nchw")
        >>> caffe(jnp.ones((1, 2, 2, 3)))[0, :, 0, 0].tolist()
        [151.0, 138.0, 131.0]
    """

    scale: Number = 1.0
    mean: Number | tuple[Number, ...] = 0.0
    std: Number | tuple[Number, ...] = 1.0
    channels: Channels = "rgb"
    layout: Layout | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _numbers("scale", self.scale)[0])
        require_positive(scale=self.scale)
        for name in ("mean", "std"):
            numbers = _numbers(name, getattr(self, name))
            object.__setattr__(self, name, numbers[0] if len(numbers) == 1 else numbers)
        for deviation in _numbers("std", self.std):
            require_positive(std=deviation)
        require_choice(("rgb", "bgr"), channels=self.channels)
        if self.layout is not None:
            require_choice(("nhwc", "nchw"), layout=self.layout)

    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n _ _ _"]:
        """The images as the model expects them."""
        if self.channels == "bgr":
            images = images[..., ::-1]
        images = (images * self.scale - jnp.float32(self.mean)) / jnp.float32(self.std)
        return images.transpose(0, 3, 1, 2) if self.layout == "nchw" else images

    def require_channels(self, channels: int) -> None:
        """Raise `UsageError` unless this can be done to images of so many channels."""
        for name in ("mean", "std"):
            count = len(_numbers(name, getattr(self, name)))
            if count not in (1, channels):
                raise UsageError(
                    f"{name} has {count} values, but images have {channels} channel(s): give one value, or "
                    "one per channel"
                )


def _numbers(name: str, value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    try:
        numbers = tuple(float(each) for each in values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} must be a number, or one per channel, not {shown(repr(value))}") from error
    if not numbers or not np.isfinite(numbers).all():
        raise UsageError(f"{name} must be finite, not {shown(repr(value))}")
    return numbers
