"""What a result was computed with."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("evofool", "jax", "jaxlib", "flax", "numpy")


def provenance() -> dict[str, Any]:
    """The versions and the device of this process, for a config.json.

    Example:
        >>> found = provenance()
        >>> list(found), list(found["versions"])
        (['versions', 'device'], ['python', 'evofool', 'jax', 'jaxlib', 'flax', 'numpy'])
    """
    versions = {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}
    return {"versions": versions, "device": _device()}


def _device() -> str:
    """The device that JAX computes on, as in "NVIDIA H100 (gpu)" or "AMD EPYC 7B13 (cpu)"."""
    device = jax.devices()[0]
    return f"{_processor() if device.platform == 'cpu' else device.device_kind} ({device.platform})"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), "") or platform.processor() or platform.machine()
