"""A filter for the standard error of one of several processes; run as a script, with nothing imported.

jaxlib aborts a process that has lost another, with a page of text from threads in C++ that Python cannot
stop. The filter passes everything on but that page, in whose place it prints one line.
"""

import re
import signal
import sys
from collections.abc import Iterable, Iterator

_COORDINATION = re.compile(rb"[IWEF]\d{4} .*(coordination|preemption_sync|client\.h:)")
_FATAL = b"JAX distributed service detected fatal errors"


def filtered(lines: Iterable[bytes]) -> Iterator[bytes]:
    r"""The lines to print, each as soon as it comes; from the first one about coordination on, at the end.

    Example:
        >>> page = [
        ...     b"E1126 00:06:48 7 coordination_service_agent.cc:289] Polled an error\n",
        ...     b"F1126 00:06:48 7 client.h:80] The JAX distributed service detected fatal errors.\n",
        ... ]
        >>> [line[:33] for line in filtered([b"a warning\n", *page])]
        [b'a warning\n', b'evofool: another process has ende']
    """
    held, explained = b"", False
    for line in lines:
        ours = line.startswith(b"evofool: ")
        explained = explained or ours
        if not ours and (held or _COORDINATION.match(line)):
            held += line
        else:
            yield line
    if explained:
        return
    if _FATAL not in held:
        yield held
    elif b"RegisterTask" in held:
        yield b"evofool: the processes have not all started within five minutes\n"
    else:
        yield (
            b"evofool: another process has ended or cannot be reached: resume the run from its last "
            b"checkpoint\n"
        )


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the end of the process ends it
    for passed in filtered(sys.stdin.buffer):
        sys.stdout.buffer.write(passed)
        sys.stdout.buffer.flush()
