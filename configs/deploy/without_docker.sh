#!/bin/sh
# The image's steps without Docker, in an environment with nothing in it: without_docker.sh DIR [PORT]
# Copies what the image would get, installs it below DIR, serves, asks for its health and an answer, and stops.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
place=$(cd "$1" && pwd) port=${2:-8000}
source_folder=$place/polydraft venv=$place/venv

# Becomes the command, with only what the image sets; pip's settings stay, they say where packages come from.
clean() {
  exec env -i PATH="$venv/bin:/usr/local/bin:/usr/bin:/bin" HOME="$place/home" POLYDRAFT_HOME="$place/data" \
    XDG_CACHE_HOME="$place/data/cache" OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1 \
    XDG_CONFIG_HOME="${XDG_CONFIG_HOME:-$HOME/.config}" ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
    ${PIP_FIND_LINKS:+PIP_FIND_LINKS="$PIP_FIND_LINKS"} ${PIP_CERT:+PIP_CERT="$PIP_CERT"} \
    ${SSL_CERT_FILE:+SSL_CERT_FILE="$SSL_CERT_FILE"} PYTHON="${PYTHON:-python3}" \
    TORCH="${TORCH-cpu}" TORCH_INDEX="${TORCH_INDEX:-https://download.pytorch.org/whl}" EXTRAS=registry "$@"
}

mkdir -p "$place/home" "$place/data" "$source_folder"
sed 's/^\*\*\///' "$root/configs/deploy/Dockerfile.dockerignore" > "$place/excluded"
tar -C "$root" -X "$place/excluded" -cf - . | tar -C "$source_folder" -xf -

(clean "$source_folder/configs/deploy/install.sh" "$source_folder" "$venv")

cd "$place"
clean polydraft serve "$source_folder/configs/starter.yaml" --port "$port" > "$place/log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null || true' EXIT
waited=0
until (clean "$source_folder/configs/deploy/health.sh" "$venv" "$port") > "$place/health.json" 2>/dev/null; do
  kill -0 $server 2>/dev/null || { cat "$place/log" >&2; exit 1; }
  [ $waited -lt 300 ] || { echo "not ready after 300 s" >&2; cat "$place/log" >&2; exit 1; }
  waited=$((waited + 1))
  sleep 1
done
(clean python - "$port") <<'PYTHON'
import json, sys, urllib.request

body = {"model": "starter", "messages": [{"role": "user", "content": "List all users."}], "max_tokens": 16}
request = urllib.request.Request(
    f"http://127.0.0.1:{sys.argv[1]}/v1/chat/completions",
    json.dumps(body).encode(),
    {"Content-Type": "application/json"},
)
with urllib.request.urlopen(request, timeout=120) as reply:
    print(json.load(reply)["choices"][0]["message"]["content"])
PYTHON
kill -TERM $server
trap - EXIT
wait $server
echo "ready after $waited s; stopped cleanly"
