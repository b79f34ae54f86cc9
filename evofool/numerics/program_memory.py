"""The memory that a program needs, estimated from its jaxpr without compiling it."""

from collections.abc import Sequence

import jax
from jax.extend import core
from jaxtyping import PyTree

from evofool.numerics.platform import branch_taken

_STORED = frozenset(
    {
        "concatenate",
        "conv_general_dilated",
        "cummax",
        "cumsum",
        "dot_general",
        "dynamic_update_slice",
        "random_bits",
        "reduce_window_max",
        "scatter",
        "scatter-add",
        "scatter-max",
        "sort",
        "threefry2x32",
    }
)
"""Operations whose results are stored. The results of others are computed where they are used."""

_CALLS = frozenset({"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vmap_call"})
_LOOPS = frozenset({"scan", "while"})


def peak_bytes(program: core.ClosedJaxpr) -> int:
    """The most bytes that a program holds at once, its arguments included.

    The program is walked through once, and every array that is stored is counted from the operation that
    makes it to the last one that uses it. Compilers fuse more than this knows of, so that small programs need
    less.

    Example:
        >>> import jax.numpy as jnp
        >>> product = jax.make_jaxpr(jnp.dot)(jnp.ones((10, 20)), jnp.ones((20, 30)))
        >>> peak_bytes(product) == 4 * (10 * 20 + 20 * 30 + 10 * 30)
        True
    """
    return _peak_bytes(program.jaxpr)


def tree_bytes(tree: PyTree) -> int:
    """The bytes of all arrays of a pytree, or of their shapes (`jax.ShapeDtypeStruct`).

    Example:
        >>> tree_bytes({"a": jax.ShapeDtypeStruct((3, 2), "float32"), "b": jax.ShapeDtypeStruct((), "int8")})
        25
    """
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def _peak_bytes(program: core.Jaxpr) -> int:
    stored = _variables(program.outvars)
    for equation in program.eqns:
        if not _is_fused(equation):
            stored |= _variables([*equation.invars, *equation.outvars])
    arguments = {*program.invars, *program.constvars}
    ends = _ends(program, stored)

    held = peak = _bytes_of(arguments)
    for index, equation in enumerate(program.eqns):
        made = _bytes_of(_variables(equation.outvars) & stored)
        # Beyond the arguments of a body, which are counted out here.
        inner = max(
            (_peak_bytes(body) - _bytes_of({*body.invars, *body.constvars}) for body in _bodies(equation)),
            default=0,
        )
        # The results of a call are among what its body holds; a loop keeps them beside its body.
        peak = max(peak, held + (made + inner if equation.primitive.name in _LOOPS else max(made, inner)))
        held += made - _bytes_of(ends[index] - arguments)
    return peak


def _ends(program: core.Jaxpr, stored: set[core.Var]) -> list[set[core.Var]]:
    """For each equation the stored variables that are last used there; what is returned has no end."""
    never = len(program.eqns)
    last_use = dict.fromkeys(_variables(program.outvars), never)
    for index, equation in reversed(list(enumerate(program.eqns))):
        # What is not stored is computed where it is used: its operands must be kept until then.
        later = (last_use.get(variable, index) for variable in equation.outvars if variable not in stored)
        until = max([index, *later])
        for variable in _variables([*equation.invars, *equation.outvars]):
            last_use[variable] = max(last_use.get(variable, until), until)
    ends: list[set[core.Var]] = [set() for _ in range(never + 1)]
    for variable, index in last_use.items():
        if variable in stored:
            ends[index].add(variable)
    return ends


def _variables(atoms: Sequence[core.Var | core.Literal]) -> set[core.Var]:
    return {atom for atom in atoms if not isinstance(atom, core.Literal)}


def _is_fused(equation: core.JaxprEqn) -> bool:
    """Whether a compiler computes the result element by element where it is used."""
    if bodies := _bodies(equation):
        is_call = equation.primitive.name in _CALLS or "branches_platforms" in equation.params
        return is_call and all(_is_fused(inner) for body in bodies for inner in body.eqns)
    return equation.primitive.name not in _STORED


def _bodies(equation: core.JaxprEqn) -> list[core.Jaxpr]:
    parameters = dict(equation.params)
    if "branches_platforms" in parameters:
        taken = branch_taken(parameters["branches_platforms"])
        parameters["branches"] = parameters["branches"][taken]
    return [
        body.jaxpr if isinstance(body, core.ClosedJaxpr) else body
        for value in parameters.values()
        for body in (value if isinstance(value, tuple | list) else (value,))
        if isinstance(body, core.ClosedJaxpr | core.Jaxpr)
    ]


def _bytes_of(variables: set[core.Var]) -> int:
    return sum(_bytes(variable.aval) for variable in variables)


def _bytes(array: object) -> int:
    """Of an abstract array; tokens and the like take nothing."""
    return int(getattr(array, "size", 0)) * getattr(getattr(array, "dtype", None), "itemsize", 0)
