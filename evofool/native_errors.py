"""A filter for the standard error of one of several processes; run as a script, with nothing imported.

jaxlib aborts a process that has lost another, with a page of text from threads in C++ that Python cannot stop.
The filter passes everything on but that page, in whose place it prints one line.
"""

import re
import signal
import sys
from typing import BinaryIO

_COORDINATION = re.compile(rb"[IWEF]\d{4} .*(coordination|preemption_sync|client\.h:)")
_FATAL = b"JAX distributed service detected fatal errors"


def pass_on(source: BinaryIO, destination: BinaryIO) -> None:
    """Copy lines as they come; from the first one of the coordination service on, decide at the end.

    Example:
        >>> import io
        >>> page = io.BytesIO(
        ...     b"a warning\nE1126 00:06:48 7 coordination_service_agent.cc:289] Polled an error\n"
        ...     b"F1126 00:06:48 7 client.h:80] The JAX distributed service detected fatal errors.\n@ 0x7f\n"
        ... )
        >>> pass_on(page, printed := io.BytesIO())
        >>> printed.getvalue().decode().splitlines()[0]
        'a warning'
        >>> printed.getvalue().decode().splitlines()[1][:37]
        'evofool: another process has ended or'
    """
    held, explained = b"", False
    for line in source:
        explained = explained or line.startswith(b"evofool: ")
        if (held or _COORDINATION.match(line)) and not line.startswith(b"evofool: "):
            held += line
            continue
        destination.write(line)
        destination.flush()
    if _FATAL not in held:
        destination.write(held)
    elif b"RegisterTask" in held:
        destination.write(b"evofool: the processes have not all started within five minutes\n")
    elif not explained:
        destination.write(
            b"evofool: another process has ended or cannot be reached: resume the run from its last checkpoint\n"
        )


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the end of the process ends it
    pass_on(sys.stdin.buffer, sys.stdout.buffer)
