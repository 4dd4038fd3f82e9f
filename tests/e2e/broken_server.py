"""``python -m tests.e2e.broken_server CONFIG --port PORT``: a server whose greedy verification believes every draft."""

import argparse
import functools
import sys

import serving.server
from serving.config import load_deployment
from tests.toy_engines import build_gullible


def main() -> int:
    """Serve until stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    broken = functools.partial(serving.server.PolydraftServer, build=build_gullible)
    serving.server.PolydraftServer = broken  # type: ignore[assignment,misc]
    serving.server.serve(load_deployment(options.config), port=options.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
