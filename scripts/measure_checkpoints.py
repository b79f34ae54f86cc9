"""What each way to write a checkpoint with Orbax costs: the table of docs/checkpoints.md.

Every way writes the same state in turns, and the medians are printed.

    python scripts/measure_checkpoints.py            # the state of ten classes of 28x28 images
    python scripts/measure_checkpoints.py --megabytes 600 --repeats 5
"""

import argparse
import logging
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from evofool.results import Results
from evofool.runs import RUN, RunSettings
from evofool.runs.checkpoints import Checkpoints
from evofool.search import MapElitesState, empty_archive

Save = Callable[[int], object]


def state_of(megabytes: float) -> MapElitesState:
    """A state of ten elites whose genomes, of random numbers, have this size."""
    genes = round(megabytes * 1e6 / 4 / 10)
    genomes = np.random.default_rng(0).random((10, genes), np.float32)
    archive = empty_archive(jnp.zeros(genes), niches=10)._replace(pool=jnp.asarray(genomes))
    return MapElitesState(jax.random.key(0), jnp.int32(0), archive)


def ways_of(root: Path, state: MapElitesState) -> dict[str, Save]:
    """Functions that write a checkpoint under a number and return when it is on disk."""
    import orbax.checkpoint as ocp

    arrays = jax.tree.map(np.asarray, state._replace(key=jax.random.key_data(state.key)))
    ours = Checkpoints(Results.create(root / "evofool", RUN), RunSettings(), "", keep=1)

    def with_manager() -> Save:
        options = ocp.CheckpointManagerOptions(max_to_keep=1, create=True)
        manager = ocp.CheckpointManager(root / "manager", options=options)
        args = ocp.args

        def save(number: int) -> None:
            about = args.JsonSave({"seed": 0})
            composite = args.Composite(state=args.StandardSave(arrays), about=about)
            manager.save(number, args=composite, force=True)
            manager.wait_until_finished()

        return save

    def with_handler(name: str, handler: Any, args: Any) -> Save:
        checkpointer = ocp.Checkpointer(handler)

        def save(number: int) -> None:
            checkpointer.save(root / name / str(number), args=args)
            shutil.rmtree(root / name / str(number - 1), ignore_errors=True)

        return save

    def with_evofool(number: int) -> None:
        ours.save(state._replace(generation=jnp.int32(number)))
        ours.finish()

    def tree(name: str, **options: bool) -> Save:
        return with_handler(name, ocp.PyTreeCheckpointHandler(**options), ocp.args.PyTreeSave(arrays))

    packed = np.concatenate([np.ravel(leaf).view(np.uint8) for leaf in jax.tree.leaves(arrays)])
    return {
        "manager": with_manager(),
        "standard": with_handler("standard", ocp.StandardCheckpointHandler(), ocp.args.StandardSave(arrays)),
        "tree-ocdbt": tree("tree-ocdbt"),
        "tree-zarr3": tree("tree-zarr3", use_ocdbt=False, use_zarr3=True),
        "tree-zarr": tree("tree-zarr", use_ocdbt=False),
        "tree-zarr-plain": tree("tree-zarr-plain", use_ocdbt=False, use_compression=False),
        "packed": with_handler("packed", ocp.ArrayCheckpointHandler(), ocp.args.ArraySave(packed)),
        "new-api": _new_api(root, arrays),
        "evofool": with_evofool,
    }


def _new_api(root: Path, arrays: Any) -> Save:
    from orbax.checkpoint import v1

    def save(number: int) -> None:
        v1.save(root / "new-api" / str(number), jax.tree.map(np.atleast_1d, arrays))
        shutil.rmtree(root / "new-api" / str(number - 1), ignore_errors=True)

    return save


def measure(megabytes: float, repeats: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        saves = ways_of(root, state_of(megabytes))
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in saves}
        for number in range(1, repeats + 2):
            for name, save in saves.items():
                begun, begun_cpu = time.perf_counter(), time.process_time()
                save(number)
                if number > 1:  # the first one of each way warms up
                    cpu = time.process_time() - begun_cpu
                    seconds[name].append((time.perf_counter() - begun, cpu))
        print(f"\nA state of {megabytes:g} MB, {repeats} times in turns\n")
        print("| way | time | CPU time | fastest | files | MB |\n| --- | --- | --- | --- | --- | --- |")
        for name, measured in seconds.items():
            times, cpu_times = zip(*measured, strict=True)
            medians = f"{_shown(statistics.median(times))} | {_shown(statistics.median(cpu_times))}"
            (last,) = [path for path in (root / name).rglob(str(repeats + 1)) if path.is_dir()][:1]
            files = [path.stat().st_size for path in last.rglob("*") if path.is_file()]
            size = f"{len(files)} | {sum(files) / 1e6:.3g}"
            print(f"| {name} | {medians} | {_shown(min(times))} | {size} |")


def _shown(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"


def import_time(repeats: int) -> None:
    """Print what the import costs after those of JAX and Flax, which every command needs."""
    program = (
        "import time, evofool; begun = time.perf_counter(); import orbax.checkpoint; "
        "print(time.perf_counter() - begun)"
    )
    found = [
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout)
        for _ in range(repeats)
    ]
    print(f"import orbax.checkpoint: {_shown(statistics.median(found))}, median of {repeats}")


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=0.03136)
    parser.add_argument("--repeats", type=int, default=50)
    options = parser.parse_args()
    logging.getLogger("absl").setLevel(logging.ERROR)
    import_time(5)
    measure(options.megabytes, options.repeats)


if __name__ == "__main__":
    main()
