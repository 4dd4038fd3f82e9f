"""``python -m serving CONFIG [--host HOST] [--port PORT]``: the server alone, as `serving.client` starts it."""

import argparse
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped; 2 and one message on stderr if that cannot be; 130 if interrupted while loading."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve a deployment.")
    parser.add_argument("config")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--with-parent", action="store_true", help="end when the process that started this one does")
    options = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

    if options.with_parent:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()

    from configs.errors import PolydraftError
    from serving.config import load_deployment
    from serving.server import serve

    try:
        serve(load_deployment(options.config), options.host, options.port)
    except PolydraftError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:  # before it was ready; afterwards it is the ordinary end
        return 130
    return 0


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
