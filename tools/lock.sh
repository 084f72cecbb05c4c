#!/usr/bin/env bash
# Print requirements.lock: the exact versions in a virtual environment.
#
# torch and torchvision stay ranges, so that a CPU and a CUDA build both serve; the libraries
# that only a CUDA build brings along are left out for the same reason.
set -euo pipefail

venv="${1:?usage: tools/lock.sh VENV}"

cat <<'HEADER'
# Exact versions of everything but torch and torchvision (a CPU and a CUDA build both serve).
# Made by `make lock` from the environment; pyproject.toml holds the lower bounds.
torch>=2.6
torchvision>=0.21
HEADER
"$venv/bin/python" -m pip freeze --all --exclude-editable --exclude wiseft \
    | grep -v -i -E '^(#|-e |torch==|torchvision==|triton|pytorch-triton|nvidia|cuda[-_])' \
    | sort -f
