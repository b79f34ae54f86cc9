"""The device, its driver and libraries, versions and flags."""

import os
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions

import jax

from benchmarks.accelerator.sections import Step
from benchmarks.harness import Effort, Table, device_name
from evofool.numerics.platform import memory_bytes

_PACKAGES = re.compile(
    r"(jax|jaxlib|jax-cuda.*|nvidia-.*|flax|numpy|optax|orbax-checkpoint|safetensors|triton)$"
)
_VARIABLES = re.compile(r"(XLA_.*|JAX_.*|CUDA_.*|NVIDIA_TF32_OVERRIDE|TF_CPP_.*|EVOFOOL_DATA)$")


def steps(effort: Effort) -> Mapping[str, Step]:
    """What runs here."""
    return {"versions": lambda: Table("The machine", [{"name": k, "value": v} for k, v in _facts()])}


def _facts() -> Iterator[tuple[str, str]]:
    device = jax.devices()[0]
    yield "device", device_name()
    yield "platform", device.platform
    yield "devices", str(len(jax.devices()))
    yield "compute capability", str(getattr(device, "compute_capability", "none"))
    yield "memory for JAX", f"{memory_bytes() / 2**30:.1f} GiB"
    yield "runtime", " ".join(device.client.platform_version.split())
    yield "nvidia-smi", _nvidia_smi()
    yield "Python", platform.python_version()
    yield "system", platform.platform()
    yield "processor cores", str(os.cpu_count())
    installed = {each.metadata["Name"]: each.version for each in distributions()}
    for name in sorted(filter(_PACKAGES.match, filter(None, installed))):
        yield name, installed[name]
    for name in sorted(filter(_VARIABLES.match, os.environ)):
        # A path says nothing about the machine, and may say something about its user.
        yield name, "set" if name == "EVOFOOL_DATA" or "DIR" in name else os.environ[name]


def _nvidia_smi() -> str:
    query = "name,driver_version,memory.total,clocks.max.sm,clocks.sm,power.limit,persistence_mode"
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return f"none ({type(error).__name__})"
    return done.stdout.strip()
