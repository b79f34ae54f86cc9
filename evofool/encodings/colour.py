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
    hue = hls[..., 0] * (6 / HUES)
    hue = jnp.where(hue >= 6, hue - 6, hue)
    # The minimum changes no value. It keeps a compiler from fusing these products with the differences below:
    # OpenCV rounds in between, and a few colours would be one level off.
    lightness, saturation = jnp.minimum(hls[..., 1] / 255, 1), jnp.minimum(hls[..., 2] / 255, 1)
    brightest = jnp.where(
        lightness <= 0.5,
        lightness * (1 + saturation),
        lightness + saturation - lightness * saturation,
    )
    darkest = 2 * lightness - brightest
    # The position of each channel between darkest and brightest: trapezoids of the hue, two sectors wide.
    share = jnp.clip(
        jnp.stack([jnp.abs(hue - 3) - 1, 2 - jnp.abs(hue - 2), 2 - jnp.abs(hue - 4)], axis=-1), 0, 1
    )
    rgb = darkest[..., None] + (brightest - darkest)[..., None] * share
    return jnp.round(jnp.clip(255 * rgb, 0, 255))
