"""Where platforms differ: each question has its function here.

They are answered when a program is traced, for the default device.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import jax

_CACHE_BYTES = 24e6
_ASSUMED_BYTES = 139 * 2**30
"""The memory of an H200, which an assumed accelerator has."""

_ASSUMED = jax.make_user_context()


@contextmanager
def assumed(platform: str) -> Iterator[None]:
    """Programs that are traced inside are made for this platform: "cpu", "gpu" or "tpu".

    It serves to compile for a device that is not there. JAX tells these programs from others.
    """
    with _ASSUMED(platform):
        yield


def computes_in_order() -> bool:
    """Whether independent parts are fastest one after the other, because one fills the processor."""
    return _on_cpu()


def policies_in_a_block(policies: int) -> int:
    """How many of a class's policies an evolution strategy draws and sums together at most.

    A CPU is fastest with large blocks that fit its cache. Elsewhere sixteen blocks of a class can be split
    over many devices, and their sums are few enough to be sent to all.
    """
    return 1024 if _on_cpu() else max(64, -(-policies // 16))


def convolves_best_ungrouped() -> bool:
    """Whether only plain convolutions are fast, without groups and with their axes in the usual order.

    XLA hands these to a fast library on CPU. Inside a loop it does not put the axes in order by itself.
    """
    return _on_cpu()


def cache_bytes() -> float | None:
    """The room in the last cache, where a batch that fits it is faster than a large one; else None."""
    return _CACHE_BYTES if _on_cpu() else None


def may_be_cuda() -> bool:
    """Whether what is traced now may run on an NVIDIA GPU, so that kernels for it are worth importing.

    It may run elsewhere all the same: `jax.lax.platform_dependent` decides that.
    """
    return platform() == "gpu"


def name_of_tensorfloat32() -> str:
    """The name by which `jax.default_matmul_precision` gets TensorFloat32 arithmetic.

    On GPUs it is "default". What JAX calls "tensorfloat32" reaches XLA as "high", which its own kernels for
    matrix products there take for all bits of float32.
    """
    return "default" if platform() == "gpu" else "tensorfloat32"


def shares_memory_with_host() -> bool:
    """Whether copies that the host makes of a state take the memory that the device computes in."""
    return _on_cpu()


def branch_taken(branches: Sequence[Sequence[str] | None]) -> int:
    """Which branch of `jax.lax.platform_dependent` runs here, of branches for platforms; None is the default.

    Example:
        >>> branch_taken([("a", "b"), None])
        1
    """
    here = {"gpu": ("cuda", "rocm")}.get(platform(), (platform(),))
    named = (index for index, names in enumerate(branches) if names and set(names) & set(here))
    return next(named, len(branches) - 1)


def memory_bytes() -> int:
    """The memory of the device."""
    if _ASSUMED.value not in (None, "cpu"):
        return _ASSUMED_BYTES
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"]
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _on_cpu() -> bool:
    return platform() == "cpu"


def platform() -> str:
    """The platform that programs are traced for."""
    return _ASSUMED.value or jax.default_backend()
