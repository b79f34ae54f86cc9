"""One run over several processes, mostly one per machine: how they start, agree and end together.

All processes run the same program, and JAX's collectives carry what a generation needs. Everything else goes
through the key-value store of JAX's coordination service, which process 0 hosts: what process 0 decides,
requests to stop, and failures. It needs no device, so nothing waits for a generation that is being computed.
"""

import contextlib
import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from jaxtyping import PyTree

from evofool import native_errors
from evofool.errors import EvofoolError, UsageError, require_not_negative, require_positive, shown

_HEARTBEAT_SECONDS = 20
"""A process that is silent for this long is dead."""

_SECONDS_TO_END = 5
"""When a process has failed, process 0 hosts the key-value store this long for the others to read why."""

_SECONDS_TO_EXIT = 1
"""After the others have said that they end, process 0 waits: jaxlib aborts those that outlive it."""

_FOREVER = 2**31 - 1
_FAILED, _STOP = "evofool/failed", "evofool/stop"

_KEPT = 64
"""Decisions that stay in the store: no process is so many behind, since each generation needs all of them."""

_numbers = itertools.count()
_ending = threading.Lock()


@dataclass(frozen=True)
class ProcessOptions:
    """The processes that a run is spread over.

    Attributes:
        distributed: this is one of several processes with the same options, which split every generation over
            all of their devices. Slurm, Open MPI, Kubernetes and Cloud TPU are recognised.
        coordinator: elsewhere, the host and a free port of process 0, as in node1:1234.
        processes: elsewhere, how many processes there are.
        process_id: elsewhere, the number of this process, from 0.

    Raises:
        UsageError: a number out of range, or only some of the last three.
    """

    distributed: bool = False
    coordinator: str | None = None
    processes: int | None = None
    process_id: int | None = None

    def __post_init__(self) -> None:
        explicit = (self.coordinator, self.processes, self.process_id)
        require_positive(processes=self.processes)
        require_not_negative(process_id=self.process_id)
        if None in explicit and any(value is not None for value in explicit):
            raise UsageError("coordinator, processes and process_id belong together: give all or none")
        if self.coordinator is None or self.processes is None or self.process_id is None:
            return
        host, _, port = self.coordinator.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise UsageError(
                f"coordinator must be a host and a port, as in node1:1234, not {shown(self.coordinator)}"
            )
        if self.process_id >= self.processes:
            raise UsageError(f"process_id must be 0 to {self.processes - 1}, not {self.process_id}")

    @property
    def several(self) -> bool:
        """Whether there is more than this process."""
        return self.distributed or self.coordinator is not None

    def connect(self) -> None:
        """Wait for all other processes. Nothing may have been computed before.

        From then on an error in one process ends all of them (`end_all`).

        Raises:
            UsageError: no cluster was recognised.
            EvofoolError: the port of process 0 is in use, or the processes cannot reach each other.
        """
        if self.coordinator is not None and self.process_id == 0:
            _require_free(int(self.coordinator.rpartition(":")[2]))
        _filter_native_output()
        # Its handler would take SIGTERM from ours.
        jax.config.update("jax_enable_preemption_service", False)
        try:
            jax.distributed.initialize(
                self.coordinator,
                self.processes,
                self.process_id,
                cluster_detection_method="deactivate" if self.coordinator else None,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            )
        except ValueError as error:
            raise UsageError(
                "no cluster was recognised: say where process 0 is, how many processes there are and which "
                "one this is"
            ) from error
        except RuntimeError as error:
            raise EvofoolError(f"cannot connect the processes: {_in_short(error)}") from error
        threading.Thread(target=_end_with_others, daemon=True).start()


def connected() -> bool:
    """Whether this is one of several processes that run together."""
    return jax.distributed.is_initialized()


def spans_processes(mesh: Mesh | None) -> bool:
    """Whether the devices of a mesh belong to several processes."""
    return mesh is not None and mesh.is_multi_process


def is_first() -> bool:
    """Whether this is process 0, which decides, writes and draws.

    Example:
        >>> is_first()
        True
    """
    return not connected() or jax.process_index() == 0


def agreed(value: Any) -> Any:
    """The value of process 0, in all processes. All of them must call this equally often.

    Args:
        value: what JSON can hold; only that of process 0 matters.

    Example:
        >>> agreed([7, True])
        [7, True]
    """
    if not connected():
        return value
    number = next(_numbers)
    with losses_named():
        if not is_first():
            return json.loads(_store().blocking_key_value_get(_decision(number), _FOREVER))
        _store().key_value_set(_decision(number), json.dumps(value))
        if number >= _KEPT:
            _store().key_value_delete(_decision(number - _KEPT))
    return value


def meet() -> None:
    """Wait until all processes are here."""
    if connected():
        with losses_named():
            _store().wait_at_barrier(f"evofool/meeting/{next(_numbers)}", _FOREVER)


def anywhere(wish: bool) -> bool:
    """In process 0, whether any process has had a wish since the last call; elsewhere its own.

    Example:
        >>> anywhere(False)
        False
    """
    if not connected():
        return wish
    if not is_first():
        if wish:
            with losses_named():
                _store().key_value_set(_STOP, "", allow_overwrite=True)
        return wish
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # nobody had
        _store().key_value_try_get(_STOP)
        _store().key_value_delete(_STOP)
        return True
    return wish


@contextlib.contextmanager
def losses_named() -> Iterator[None]:
    """Turn the error of a collective that lacks a process into one that says what to do."""
    try:
        yield
    except (jax.errors.JaxRuntimeError, ValueError) as error:
        if not connected() or "RESOURCE_EXHAUSTED" in str(error) or isinstance(error, EvofoolError):
            raise
        raise EvofoolError(
            f"another process has ended or cannot be reached ({_in_short(error)}): resume the run from its "
            "last checkpoint"
        ) from error


def arrays_of_first(tree: PyTree) -> PyTree:
    """The arrays of process 0, to the last bit, in all processes.

    Args:
        tree: of NumPy arrays, whose shapes and types are the same in all processes.

    Example:
        >>> arrays_of_first({"a": np.array([0.5, -0.0])})
        {'a': array([ 0.5, -0. ])}
    """
    with losses_named():
        sent = multihost_utils.broadcast_one_to_all(
            jax.tree.map(lambda leaf: np.frombuffer(leaf.tobytes(), np.uint8), tree)
        )
    return jax.tree.map(
        lambda words, leaf: np.frombuffer(words.tobytes(), leaf.dtype).reshape(leaf.shape), sent, tree
    )


def on_this_process(tree: PyTree) -> PyTree:
    """Arrays that all devices of several processes have, as arrays of one of this process's devices."""
    return jax.tree.map(lambda leaf: leaf if leaf.is_fully_addressable else leaf.addressable_data(0), tree)


def finish() -> None:
    """Wait until process 0 has finished too, and part."""
    if connected():
        agreed(None)
        _ending.acquire()
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # the others have all that they need
            jax.distributed.shutdown()


def end_all(message: str, code: int) -> None:
    """If there are several processes, print one line in all of them and end them. Else return.

    Args:
        message: what is wrong.
        code: the exit code.
    """
    if not connected():
        return
    if not _ending.acquire(blocking=False):
        time.sleep(_HEARTBEAT_SECONDS)  # the other thread is ending this process
    failure = json.dumps({"process": jax.process_index(), "message": message, "code": code})
    with contextlib.suppress(jax.errors.JaxRuntimeError):  # another process has failed as well
        _store().key_value_set(_FAILED, failure)
    _end(message, code)


def _require_free(port: int) -> None:
    """Raise `EvofoolError` if process 0 cannot listen on a port, where jaxlib may crash."""
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        raise EvofoolError(
            f"process 0 cannot listen on port {port} ({os.strerror(error.errno or 0)}): choose another port"
        ) from error


def _filter_native_output() -> None:
    """Keep from the terminal what libraries in C++ print to the output, and a page of their errors."""
    sys.stdout.flush()
    sys.stdout = os.fdopen(os.dup(1), "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    passing = subprocess.Popen(
        [sys.executable, "-I", "-S", native_errors.__file__],
        stdin=subprocess.PIPE,
        stdout=2,
        start_new_session=True,
    )
    assert passing.stdin is not None
    os.dup2(passing.stdin.fileno(), 2)
    passing.stdin.close()


def _end_with_others() -> None:
    """Wait until a process has failed, and end this one."""
    try:
        failure = json.loads(_store().blocking_key_value_get(_FAILED, _FOREVER))
    except jax.errors.JaxRuntimeError as error:
        failure = {"process": 0, "message": f"cannot be reached ({_in_short(error)})", "code": 1}
    if _ending.acquire(blocking=False):
        _end(f"process {failure['process']}: {failure['message']}", failure["code"])


def _end(message: str, code: int) -> NoReturn:
    """End this process at once; its main thread may be waiting for a device that never answers."""
    if sys.stdout.isatty():
        print("\x1b[?25h", end="")  # the cursor, which a progress bar hides
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(2, f"evofool: {message}\n".encode())  # the main thread may have put something else at sys.stderr
    with contextlib.suppress(jax.errors.JaxRuntimeError):
        _store().key_value_set(_ended(jax.process_index()), "")
        deadline = time.monotonic() + _SECONDS_TO_END
        for process in range(1, jax.process_count() if is_first() else 0):
            left = max(1, int(1000 * (deadline - time.monotonic())))
            _store().blocking_key_value_get(_ended(process), left)
    if is_first():
        time.sleep(_SECONDS_TO_EXIT)
    os._exit(code)


def _store() -> Any:
    """The client of the key-value store, for which JAX has no public name."""
    from jax._src import distributed

    return distributed.global_state.client


def _decision(number: int) -> str:
    return f"evofool/decision/{number}"


def _ended(process: int) -> str:
    return f"evofool/ended/{process}"


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:150]
