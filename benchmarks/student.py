"""The student's evolution strategy: each estimator, evosax's Open_ES, and the bare forward pass.

    python -m benchmarks.student --policies 1024 --save

All move the same 78,500 parameters for one class of the same teacher. evosax comes with the extra `bench`.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro

import evofool
from benchmarks.harness import Side, bare_forward, interleaved, report


def main(
    teacher: str = "lenet-digits",
    policies: int = 1024,
    generations: int = 10,
    literal_generations: int = 2,
    rounds: int = 7,
    save: bool = False,
) -> None:
    """Time generations of every side, in turns.

    Args:
        teacher: a name that `evofool list` shows, or a file; read as sigmoid scores.
        policies: policies a generation.
        generations: generations in a round.
        literal_generations: generations in a round of the slow sides, the literal form and evosax.
        rounds: how often each side is timed.
        save: keep the figures in benchmarks/results.
    """
    network = evofool.load_classifier(teacher, "sigmoid")
    lengths = {
        "forward pass": generations,
        "marginalised-pixels": generations,
        "marginalised": generations,
        "literal": literal_generations,
        "evosax Open_ES": literal_generations,
    }
    sides = {
        "forward pass": bare_forward(network, policies, generations),
        **{
            name: _strategy(network, policies, name, lengths[name])
            for name in ("marginalised-pixels", "marginalised", "literal")
        },
        "evosax Open_ES": _evosax(network, policies, literal_generations),
    }
    report(
        "student",
        f"Student against {teacher}, {policies:,} policies a generation",
        interleaved(sides, rounds),
        {name: policies * length for name, length in lengths.items()},
        "forward pass",
        save,
    )


def _strategy(network: evofool.Classifier, policies: int, estimator: str, generations: int) -> Side:
    encoding = evofool.student(network.spec.input_shape)
    search = evofool.evolution_strategy(encoding, policies, estimator=estimator, targets=(3,))
    state = search.init(jax.random.key(0), network)

    @jax.jit
    def advance(state: Any, network: evofool.Classifier) -> Any:
        return jax.lax.fori_loop(0, generations, lambda _, s: search.step(s, network)[0], state)

    return lambda: advance(state, network).genomes


def _evosax(network: evofool.Classifier, policies: int, generations: int) -> Side:
    """The same student as one solution of 78,500 numbers, with the source's update where evosax has it."""
    from evosax.algorithms import Open_ES

    encoding = evofool.student(network.spec.input_shape)
    solution = jax.tree.map(lambda leaf: leaf[0], encoding.init(jax.random.split(jax.random.key(0), 1)))
    strategy = Open_ES(
        policies,
        solution,
        use_antithetic_sampling=False,
        optimizer=optax.sgd(0.1),
        std_schedule=optax.constant_schedule(0.1),
    )
    params = strategy.default_params
    state = strategy.init(jax.random.key(1), solution, params)

    @jax.jit
    def advance(state: Any, network: evofool.Classifier) -> Any:
        def generation(index: Any, state: Any) -> Any:
            ask, tell = jax.random.split(jax.random.fold_in(jax.random.key(2), index))
            population, state = strategy.ask(ask, state, params)
            rewards = network(encoding.render(population))[:, 3]
            return strategy.tell(tell, population, -rewards, state, params)[0]

        return jax.lax.fori_loop(0, generations, generation, state)

    return lambda: jnp.asarray(advance(state, network).mean)


if __name__ == "__main__":
    tyro.cli(main)
