"""Splitting a population over the devices of a mesh."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from evofool.errors import UsageError

AXIS = "population"


def population_mesh(devices: int | None = None) -> Mesh:
    """A mesh over the first `devices` devices, or all, whose one axis is the population.

    Raises:
        UsageError: there are not that many devices.

    Example:
        >>> population_mesh(1).size
        1
    """
    available = jax.devices()
    count = len(available) if devices is None else devices
    if not 1 <= count <= len(available):
        raise UsageError(f"devices must be 1 to {len(available)} ({available[0].platform}), not {count}")
    return Mesh(available[:count], (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def over_population(function: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """`function(individuals, *shared)` computed in equal parts by the devices of a mesh.

    Each device sees its own part of the leading axis of `individuals` and all of `shared`; the results are
    joined along their leading axis. Without a mesh the function is returned as it is.
    """
    if mesh is None:
        return function

    def split(individuals: Any, *shared: Any) -> Any:
        return jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(PartitionSpec(AXIS), *(PartitionSpec() for _ in shared)),
            out_specs=PartitionSpec(AXIS),
            check_vma=False,
        )(individuals, *shared)

    return split


def replicated(tree: Any, mesh: Mesh | None) -> Any:
    """A pytree with a whole copy on every device of the mesh, inside of a compiled function or outside."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), tree)
