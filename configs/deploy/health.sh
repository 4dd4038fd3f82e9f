#!/bin/sh
# Exit code 0 while the server on PORT serves, degraded or not: health.sh VENV [PORT]
set -eu
exec "$1/bin/python" -c '
import sys, urllib.request
with urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health", timeout=5) as reply:
    print(reply.read().decode())' "${2:-8000}"
