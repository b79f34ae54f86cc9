"""What an NVIDIA H200 would run, found by compiling for one that is only described.

XLA's CUDA plugin compiles without a GPU. Nothing is run, so there are no times; but the compiled program
tells how many kernels it launches, how many loops ask the host whether to go on, what devices exchange, and
how much memory its temporaries take. Autotuning needs a device and is off: on a real one single kernels may
differ.
"""

import importlib.util
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jaxlib
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks.harness import NotInstalledError
from evofool.numerics.platform import assumed
from evofool.search.sharding import AXIS

BYTES_PER_SECOND, LAUNCH, HOST_CHECK = 3.5e12, 2.5e-6, 10e-6
"""The model: memory bandwidth, the time to launch a kernel, and that for the host to look at a condition."""

_NEEDS = (
    "needs JAX_PLATFORMS=cpu, XLA's CUDA plugin and NVIDIA's assembler: pip install --no-deps "
    f"jax-cuda13-pjrt=={jaxlib.__version__} nvidia-cuda-nvcc nvidia-nvvm nvidia-nvjitlink nvidia-cuda-runtime"
)

_H200 = """
gpu_device_info {
  name: "NVIDIA H200" device_vendor: "NVIDIA Corporation" platform_version: "Compute Capability 9.0a"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 threads_per_warp: 32
  threads_per_block_limit: 1024 threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  shared_memory_per_core: 233472 shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  l2_cache_size: 52428800 memory_bandwidth: 4800000000000 device_memory_size: 151397597184
  pcie_bandwidth: 34359738368 device_address_bits: 64 ecc_enabled: true
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0"
  dnn_version: "9.12.0"
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 patch: 0 }
device_description_str: "NVIDIA H200"
"""


@cache
def described_mesh(devices: int = 1) -> Mesh:
    """The mesh of H200s that one can only compile for, with the population as its only axis.

    Raises:
        NotInstalledError: the CUDA plugin or NVIDIA's assembler is not installed.
    """
    _toolkit()
    try:
        # The plugin is loaded with the first backend, of whichever platform.
        jax.devices("cpu")
        described = topologies.get_topology_desc(
            "", "cuda", target_config=_H200, topology=f"1x1x{devices}"
        ).devices
    except NotImplementedError as error:
        raise NotInstalledError(_NEEDS) from error
    return Mesh(np.array(described), (AXIS,), axis_types=(AxisType.Auto,))


def compiled_for(mesh: Mesh, function: Callable[..., Any], *arguments: Any) -> Any:
    """A function, or the result of `jax.jit`, compiled for a described mesh that has a copy of all arguments.

    Args:
        mesh: a `described_mesh`.
        function: what to compile.
        arguments: arrays, or their shapes (`jax.ShapeDtypeStruct`).
    """
    whole = NamedSharding(mesh, PartitionSpec())
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=whole),
        jax.eval_shape(lambda: arguments),
    )
    jitted = function if hasattr(function, "lower") else jax.jit(function)
    with assumed("gpu"):
        lowered = jitted.lower(*shapes)
    return lowered.compile(
        compiler_options={"xla_gpu_autotune_level": 0, "xla_gpu_cuda_data_dir": str(_toolkit())}
    )


def _toolkit() -> Path:
    """The folder of NVIDIA's assembler and libraries."""
    try:
        found = importlib.util.find_spec("nvidia.cu13")
    except ModuleNotFoundError:
        found = None
    for folder in (found.submodule_search_locations or ()) if found else ():
        if Path(folder, "bin", "ptxas").exists():
            return Path(folder)
    raise NotInstalledError(_NEEDS)


@dataclass
class Costs:
    """What a compiled program costs beside its arithmetic.

    Attributes:
        kernels: launches; of a loop as often as it is passed through, of one of unknown length once, and of
            branches those of the longest.
        host_checked_loops: loops whose length the compiler does not know: the host looks before each pass.
        collectives: exchanges between devices.
        collectives_in_loops: those of them that are repeated.
        sent: bytes that each device sends to others, of a sum over all devices twice nearly all of it.
        seconds: at least, by bytes, launches and looks, with one pass of each loop of unknown length.
    """

    kernels: int = 0
    host_checked_loops: int = 0
    collectives: int = 0
    collectives_in_loops: int = 0
    sent: float = 0.0
    seconds: float = 0.0

    def add(self, other: "Costs", times: int = 1, *, in_loop: bool = False) -> None:
        """Add the costs of a part of the program that runs `times` times."""
        self.kernels += times * other.kernels
        self.host_checked_loops += other.host_checked_loops
        self.collectives += other.collectives
        self.collectives_in_loops += other.collectives if in_loop else other.collectives_in_loops
        self.sent += times * other.sent
        self.seconds += times * other.seconds


def costs(program: str) -> Costs:
    """The costs of a program, given as the text of its optimised HLO.

    Example:
        >>> found = costs('''
        ... ENTRY %main (x: f32[7000000]) -> f32[7000000] {
        ...   %x = f32[7000000]{0} parameter(0)
        ...   ROOT %y = f32[7000000]{0} negate(%x)
        ... }
        ... ''')
        >>> found.kernels, found.collectives, found.seconds
        (1, 0, 1.6e-05)
    """
    computations, entry = _parsed(program)
    parts = re.search(r"num_partitions=(\d+)", program)
    return _costs(computations, entry, int(parts[1]) if parts else 1)


_FREE = frozenset(
    {
        "add-dependency",
        "after-all",
        "bitcast",
        "constant",
        "get-tuple-element",
        "opt-barrier",
        "optimization-barrier",
        "parameter",
        "partition-id",
        "replica-id",
        "tuple",
    }
)
"""What takes no kernel."""

_COLLECTIVES = ("all-", "reduce-scatter", "collective-", "ragged-all-")


@dataclass(frozen=True)
class _Instruction:
    name: str
    shape: str
    operation: str
    rest: str  # operands and attributes


def _parsed(program: str) -> tuple[dict[str, list[_Instruction]], str]:
    """The instructions of each computation, and the name of the first one to run."""
    computations: dict[str, list[_Instruction]] = {}
    current: list[_Instruction] = []
    entry = ""
    for line in program.splitlines():
        if begins := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{\s*$", line):
            current = computations.setdefault(begins[2], [])
            entry = begins[2] if begins[1] else entry
        # A shape is one word, or a tuple in parentheses.
        elif found := re.match(
            r"\s+(?:ROOT )?%?([\w.\-]+) = (\((?:[^()]|\([^()]*\))*\)|\S+) ([\w\-]+)\((.*)$", line
        ):
            current.append(_Instruction(*found.groups()))
    return computations, entry


def _costs(computations: dict[str, list[_Instruction]], name: str, devices: int) -> Costs:
    total = Costs()
    shapes = {each.name: each.shape for each in computations[name]}
    for each in computations[name]:
        inner = [_costs(computations, called, devices) for called in _called(each)]
        if each.operation == "while":
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', each.rest)
            total.add(inner[0], int(known[1]) if known else 1, in_loop=True)
            total.host_checked_loops += not known
            total.seconds += 0 if known else 2 * HOST_CHECK
        elif each.operation == "conditional":
            total.add(max(inner, key=lambda branch: branch.seconds))
        elif each.operation == "call":
            total.add(inner[0])
        elif each.operation not in _FREE and not each.operation.endswith("-done"):
            given = sum(_bytes(shapes.get(used, "")) for used in _operands(each))
            exchanges = each.operation.startswith(_COLLECTIVES)
            sent = given * _times_sent(each.operation, devices) if exchanges else 0.0
            seconds = max(LAUNCH, (_bytes(each.shape) + given) / BYTES_PER_SECOND)
            total.add(Costs(1, 0, exchanges, 0, sent, seconds))
    return total


def _times_sent(operation: str, devices: int) -> float:
    """How often a device sends what it gives to a collective, in a ring of all devices."""
    if operation.startswith("collective-permute"):
        return 1
    if operation.startswith("all-gather"):
        return devices - 1
    return (2 if operation.startswith("all-reduce") else 1) * (devices - 1) / devices


def _called(instruction: _Instruction) -> list[str]:
    """The computations that a loop, a conditional or a call runs; a fusion is one kernel."""
    keys = {
        "while": "body",
        "call": "to_apply",
        "conditional": "branch_computations|(?:true|false)_computation",
    }
    if instruction.operation not in keys:
        return []
    found = re.findall(rf"(?:{keys[instruction.operation]})=(\{{[^}}]*\}}|%?[\w.\-]+)", instruction.rest)
    return re.findall(r"[\w.\-]+", " ".join(found))


def _operands(instruction: _Instruction) -> list[str]:
    """The names before the parenthesis that closes the operands."""
    depth = 0
    for end, letter in enumerate(instruction.rest):
        depth += (letter in "({[") - (letter in ")}]")
        if depth < 0:
            return re.findall(r"%([\w.\-]+)", instruction.rest[:end])
    return []


def _bytes(shape: str) -> int:
    """Of an array or of all arrays of a tuple."""
    return sum(
        _width(kind) * int(np.prod([int(side) for side in sides.split(",") if side], initial=1)) // 8
        for kind, sides in re.findall(r"\b([a-z]+\d*\w*)\[([\d,]*)\]", shape)
    )


def _width(kind: str) -> int:
    """Bits of an element."""
    digits = re.search(r"\d+", kind)
    return int(digits[0]) if digits else 8
