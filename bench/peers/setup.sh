#!/bin/sh
# Installs llama.cpp (as llama-cpp-python, from PyPI, built for this CPU) into a throw-away environment: bench/peers/setup.sh FOLDER
set -eu
[ $# -eq 1 ] || { echo "usage: setup.sh FOLDER   (it is created; remove it when you are done)" >&2; exit 2; }
python3 -m venv "$1"
"$1/bin/pip" install --quiet --upgrade pip
CMAKE_ARGS="${CMAKE_ARGS:--DGGML_NATIVE=ON}" "$1/bin/pip" install llama-cpp-python
"$1/bin/python" -c 'import llama_cpp; print("llama-cpp-python", llama_cpp.__version__)'
