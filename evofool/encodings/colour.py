"""OpenCV's 8-bit conversion from hue, lightness and saturation to RGB, which the source uses."""

import jax.numpy as jnp
from jaxtyping import Array, Float

HUES = 180
"""Steps of a full circle in OpenCV's 8-bit hue; the source writes 0..255 into it, so hues wrap around."""


def hls_to_rgb(hls: Float[Array, "*image 3"]) -> Float[Array, "*image 3"]:
    """RGB of 8-bit hue, lightness and saturation, as `cv2.cvtColor(hls, cv2.COLOR_HLS2RGB)` gives it.

    Args:
        hls: whole numbers 0..255, hue first. A hue of 180 is the same as 0.

    Returns:
        Whole numbers 0..255.

    Example:
        >>> hls_to_rgb(jnp.array([[0.0, 128.0, 255.0], [60.0, 128.0, 255.0], [17.0, 200.0, 0.0]])).tolist()
        [[255.0, 1.0, 1.0], [1.0, 255.0, 1.0], [200.0, 200.0, 200.0]]
    """
    return jnp.round(jnp.stack(rgb_channels(hls[..., 0], hls[..., 1], hls[..., 2]), axis=-1))


def rgb_channels(
    hue: Float[Array, "*image"], lightness: Float[Array, "*image"], saturation: Float[Array, "*image"]
) -> tuple[Float[Array, "*image"], Float[Array, "*image"], Float[Array, "*image"]]:
    """Red, green and blue of `hls_to_rgb` before they are rounded, each by itself.

    Example:
        >>> rgb_channels(jnp.array([17.0]), jnp.array([200.0]), jnp.array([0.0]))[0].round().tolist()
        [200.0]
    """
    hue = hue * (6 / HUES)
    hue = jnp.where(hue >= 6, hue - 6, hue)
    # The minimum changes no value. It keeps a compiler from fusing these products with the differences below:
    # OpenCV rounds in between, and a few colours would be one level off.
    lightness, saturation = jnp.minimum(lightness / 255, 1), jnp.minimum(saturation / 255, 1)
    brightest = jnp.where(
        lightness <= 0.5,
        lightness * (1 + saturation),
        lightness + saturation - lightness * saturation,
    )
    darkest = 2 * lightness - brightest

    def channel(position: Float[Array, "*image"]) -> Float[Array, "*image"]:
        return jnp.clip(255 * (darkest + (brightest - darkest) * jnp.clip(position, 0, 1)), 0, 255)

    # The position of each channel between darkest and brightest: trapezoids of the hue, two sectors wide.
    return channel(jnp.abs(hue - 3) - 1), channel(2 - jnp.abs(hue - 2)), channel(2 - jnp.abs(hue - 4))
