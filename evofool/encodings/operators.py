"""Variation operators on genes in [0, 1], with their random numbers as arguments.

K. Deb, "Multi-Objective Optimization using Evolutionary Algorithms", Wiley 2001: simulated binary crossover
on p. 113, polynomial mutation on p. 124.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Scalar = float | int | Float[Array, ""]

_SQUARE_ROOTS = {2.0**-count: count for count in range(5)}
"""The exponents that are repeated square roots, and how many: four for the source's mutation index, 15."""


def polynomial_mutation(
    genes: Float[Array, "..."], uniform: Float[Array, "..."], rate: Scalar, eta: Scalar
) -> Float[Array, "..."]:
    r"""Change a share of the genes by a step of polynomial density around zero (Deb 2001, p. 124).

    A gene is changed if its uniform number is below `rate`. Divided by `rate`, that number is uniform in
    [0, 1) again and serves as the `r` of the formula:

    $$x' = x + \delta, \quad \delta = (2r)^{1/(\eta+1)} - 1 \text{ if } r < 1/2, \quad
    1 - (2(1-r))^{1/(\eta+1)} \text{ otherwise}$$

    Args:
        genes: values in [0, 1], any shape.
        uniform: a random number in [0, 1) for each gene.
        rate: the share of the genes to change, in [0, 1].
        eta: the distribution index; the larger, the smaller the steps.

    Returns:
        The genes after mutation, clipped to [0, 1].

    Example:
        >>> genes = jnp.array([0.5, 0.5, 0.5])
        >>> polynomial_mutation(genes, jnp.array([0.05, 0.0, 0.2]), rate=0.1, eta=15).tolist()
        [0.5, 0.0, 0.5]
    """
    r = uniform / jnp.maximum(rate, jnp.finfo(genes.dtype).tiny)
    # Both branches are the same power of the distance to the nearer end.
    size = 1 - _power(2 * jnp.minimum(r, 1 - r), 1 / (eta + 1))
    delta = jnp.where(r < 0.5, -size, size)
    return jnp.where(uniform < rate, jnp.clip(genes + delta, 0, 1), genes)


def simulated_binary_crossover(
    pairs: Float[Array, "p 2 *genes"],
    uniform: Float[Array, "p *genes"],
    swap: Bool[Array, "p *genes"],
    eta: Scalar,
) -> Float[Array, "p 2 *genes"]:
    r"""Two children on the line through their two parents, gene by gene (Deb 2001, p. 113).

    $$c_{1,2} = \tfrac12 \left[(1 \pm \beta) x_1 + (1 \mp \beta) x_2\right], \quad
    \beta = (2u)^{1/(\eta+1)} \text{ if } u \le 1/2, \quad
    \left(\tfrac{1}{2(1-u)}\right)^{1/(\eta+1)} \text{ otherwise}$$

    Args:
        pairs: genes of two parents each, in [0, 1].
        uniform: the `u` of each gene, in [0, 1).
        swap: the coin of each gene: where it is true the children exchange it.
        eta: the distribution index; the larger, the nearer the children are to their parents.

    Returns:
        Both children of each pair, clipped to [0, 1].

    Example:
        >>> pair = jnp.array([[[0.2, 0.2], [0.6, 0.6]]])
        >>> coin = jnp.array([[False, True]])
        >>> children = simulated_binary_crossover(pair, jnp.array([[0.5, 0.5]]), coin, eta=10)
        >>> children.round(6).tolist()
        [[[0.20000000298023224, 0.6000000238418579], [0.6000000238418579, 0.20000000298023224]]]
    """
    # For u > 1/2 the formula is the same power of the distance to the nearer end, inverted.
    exponent = jnp.where(uniform <= 0.5, 1 / (eta + 1), -1 / (eta + 1))
    beta = _power(2 * jnp.minimum(uniform, 1 - uniform), exponent)
    # Without the barrier a compiler computes the power twice, once for each child.
    beta = jax.lax.optimization_barrier(jnp.where(swap, -beta, beta))
    middle = 0.5 * (pairs[:, :1] + pairs[:, 1:])
    reach = 0.5 * beta[:, None] * (pairs[:, :1] - pairs[:, 1:])
    # Multiplied by signs and not concatenated: a compiled loop over a concatenation is slower.
    sign = jnp.array([1, -1], pairs.dtype).reshape(2, *(1,) * (pairs.ndim - 2))
    return jnp.clip(middle + sign * reach, 0, 1)


def iso_line_variation(
    pairs: Float[Array, "p 2 *genes"],
    steps: Float[Array, "p 2 *genes"],
    reaches: Float[Array, "p 2"],
    iso_sigma: Scalar,
    line_sigma: Scalar,
) -> Float[Array, "p 2 *genes"]:
    r"""Gaussian steps that are longer along the line to the other parent (Vassiliades & Mouret, 2018).

    $$x' = x_1 + \sigma_1 \mathcal{N}(0, I) + \sigma_2 (x_2 - x_1) \mathcal{N}(0, 1)$$

    (V. Vassiliades & J.-B. Mouret, "Discovering the Elite Hypervolume by Leveraging Interspecies
    Correlation", GECCO 2018, equation 2.) Each of the two parents has a child.

    Args:
        pairs: genes of two parents each, in [0, 1].
        steps: a standard normal number for each gene of each child.
        reaches: a standard normal number for each child.
        iso_sigma: the $\sigma_1$, 0 or more.
        line_sigma: the $\sigma_2$, 0 or more.

    Returns:
        Both children of each pair, clipped to [0, 1].

    Example:
        >>> pair = jnp.array([[[0.25, 0.25], [0.75, 0.75]]])
        >>> steps, reaches = jnp.array([[[1.0, -1.0], [0.0, 0.0]]]), jnp.array([[0.0, 1.0]])
        >>> iso_line_variation(pair, steps, reaches, iso_sigma=0.125, line_sigma=0.5).tolist()
        [[[0.375, 0.125], [0.5, 0.5]]]
    """
    reaches = reaches.reshape(*reaches.shape, *(1,) * (pairs.ndim - 2))
    line = line_sigma * reaches * (pairs[:, ::-1] - pairs)
    return jnp.clip(pairs + iso_sigma * steps + line, 0, 1)


def _power(base: Float[Array, "..."], exponent: Scalar | Float[Array, "..."]) -> Float[Array, "..."]:
    """The power of a base that is not negative, faster than the general one."""
    if isinstance(exponent, float) and exponent in _SQUARE_ROOTS:
        for _ in range(_SQUARE_ROOTS[exponent]):
            base = jnp.sqrt(base)
        return base
    return jnp.exp2(exponent * jnp.log2(base))
