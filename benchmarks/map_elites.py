"""MAP-Elites with the direct encoding beside the bare forward pass of its classifier.

python -m benchmarks.map_elites --batch-size 1024 --save
"""

from typing import Any

import jax
import tyro

import evofool
from benchmarks.harness import bare_forward, interleaved, report


def main(
    classifier: str = "lenet-digits",
    batch_size: int = 1024,
    generations: int = 20,
    rounds: int = 9,
    save: bool = False,
) -> None:
    """Time generations of the search and as many forward passes, in turns.

    Args:
        classifier: a name that `evofool list` shows, or a file.
        batch_size: offspring per generation.
        generations: generations in a round.
        rounds: how often each side is timed.
        save: keep the figures in benchmarks/results.
    """
    network = evofool.load_classifier(classifier)
    search = evofool.map_elites(evofool.direct(network.spec.input_shape), batch_size)
    begun = evofool.run(search, network, 1)

    @jax.jit
    def advance(state: Any, network: evofool.Classifier) -> Any:
        return jax.lax.fori_loop(0, generations, lambda _, s: search.step(s, network)[0], state)

    sides = {
        "forward pass": bare_forward(network, batch_size, generations),
        "map-elites, direct": lambda: advance(begun, network).archive.confidences,
    }
    report(
        "map_elites",
        f"MAP-Elites against {classifier}, {batch_size:,} offspring a generation",
        interleaved(sides, rounds),
        dict.fromkeys(sides, batch_size * generations),
        "forward pass",
        save,
    )


if __name__ == "__main__":
    tyro.cli(main)
