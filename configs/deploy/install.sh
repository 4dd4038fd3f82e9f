#!/bin/sh
# Installs polydraft from the folder SOURCE into the virtual environment VENV.
# The Dockerfile and without_docker.sh both run it: install.sh SOURCE VENV
#
# TORCH        cpu, or a CUDA build such as cu128; empty takes torch from the ordinary index
# TORCH_INDEX  where these builds are
# EXTRAS       optional dependencies, such as registry
set -eu
source_folder=$1 venv=$2

"${PYTHON:-python3}" -m venv "$venv"
set -- --no-cache-dir --disable-pip-version-check --quiet --constraint "$source_folder/constraints.txt"
if [ -n "${TORCH-cpu}" ]; then
  set -- "$@" --extra-index-url "${TORCH_INDEX:-https://download.pytorch.org/whl}/${TORCH-cpu}"
fi
# Editable: the starter and the example configurations lie beside the source.
"$venv/bin/python" -m pip install "$@" --editable "$source_folder${EXTRAS:+[$EXTRAS]}"
"$venv/bin/polydraft" --help > /dev/null
