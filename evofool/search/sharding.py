"""Splitting a population over the devices of a mesh."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PyTree, Shaped

from evofool.errors import UsageError

AXIS = "population"


def population_mesh(devices: int | None = None) -> Mesh:
    """A mesh of the first `devices` devices, or of all, with the population as its only axis.

    In several processes these are the devices of all of them.

    Raises:
        UsageError: there are fewer devices, or several processes and more than these.

    Example:
        >>> population_mesh(1).size
        1
    """
    available = jax.devices()
    count = len(available) if devices is None else devices
    if not 1 <= count <= len(available):
        raise UsageError(f"devices must be 1 to {len(available)} ({available[0].platform}), not {count}")
    if count < len(available) and jax.process_count() > 1:
        raise UsageError(f"several processes use all of their {len(available)} devices, not {count}")
    return Mesh(available[:count], (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def over_population(function: Callable[..., PyTree], mesh: Mesh | None) -> Callable[..., PyTree]:
    """Split `function(rows, *shared)` over the devices of a mesh, in equal parts.

    Each device gets a part of the leading axis of `rows` and all of `shared`. The results are concatenated
    along their leading axis, which is that of the rows or a fixed multiple of it. If the parts would not be
    equal, the last row is computed several times. Without a mesh the function is returned unchanged.
    """
    if mesh is None:
        return function

    def split(rows: PyTree, *shared: PyTree) -> PyTree:
        count = len(jax.tree.leaves(rows)[0])
        surplus = -count % mesh.size
        results = jax.shard_map(
            function,
            mesh=mesh,
            in_specs=(PartitionSpec(AXIS), *(PartitionSpec() for _ in shared)),
            out_specs=PartitionSpec(AXIS),
            check_vma=False,
        )(jax.tree.map(lambda leaf: _filled(leaf, surplus), rows), *shared)
        if surplus == 0:
            return results
        return jax.tree.map(
            lambda leaf: leaf[: len(leaf) // (count + surplus) * count], replicated(results, mesh)
        )

    return split


def _filled(leaf: Shaped[Array, "n *_"], surplus: int) -> Shaped[Array, "m *_"]:
    return jnp.concatenate([leaf, jnp.repeat(leaf[-1:], surplus, axis=0)]) if surplus else leaf


def replicated(tree: PyTree, mesh: Mesh | None) -> PyTree:
    """A pytree with a full copy on every device of the mesh."""
    if mesh is None:
        return tree
    sharding = NamedSharding(mesh, PartitionSpec())
    return jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, sharding), tree)
