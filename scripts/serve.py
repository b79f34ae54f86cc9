"""Put a classifier behind an address of this machine: `python scripts/serve.py lenet-digits --port 8000`."""

import threading
from contextlib import suppress
from typing import Annotated

import tyro
from run import run

from evofool.classifiers import load_classifier, serving


def main(
    classifier: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="NAME|FILE|COMPOSITION")]],
    port: int = 8000,
) -> None:
    """Serve until Ctrl-C.

    Args:
        classifier: what to serve.
        port: of 127.0.0.1; a free one if it is 0.
    """
    with serving(load_classifier(classifier), port) as url, suppress(KeyboardInterrupt):
        print(f"{classifier} answers at {url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    run(main)
