"""``python -m serving CONFIG [--host HOST] [--port PORT]``: the server alone, as `serving.client` starts it."""

import argparse
import os
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until stopped; 2 and one message on stderr if that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m serving", description="Serve a deployment.")
    parser.add_argument("config")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    options = parser.parse_args(argv)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported

    from configs.errors import PolydraftError
    from serving.config import load_deployment
    from serving.server import serve

    try:
        serve(load_deployment(options.config), options.host, options.port)
    except PolydraftError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
