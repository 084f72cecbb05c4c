#!/usr/bin/env bash
# Write requirements.lock and requirements-torch.txt: the exact versions in a virtual environment.
#
# The lock has the hashes of all files that the index has of a version, of every platform. Builds of torch and
# torchvision differ by machine (CPU, CUDA), so these have versions alone, without the name of a build, in a file of
# their own; the libraries that only a CUDA build brings along come with it and stand in neither file.
set -euo pipefail
cd "$(dirname "$0")/.."

venv="${1:?usage: tools/lock.sh VENV}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$venv/bin/python" -m pip freeze --all --exclude-editable --exclude wiseft | grep -v -E '^(#|-e )' > "$work/all"
grep -E '^(torch|torchvision)==' "$work/all" | sed 's/+.*//' > "$work/torch"
grep -v -i -E '^(torch==|torchvision==|triton|pytorch-triton|nvidia|cuda[-_])' "$work/all" > "$work/pins.in"

"$venv/bin/python" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install --quiet --disable-pip-version-check pip-tools
# No address of an index and no folder of this machine enters the file.
"$work/tools/bin/pip-compile" --quiet --generate-hashes --no-header --no-annotate --strip-extras \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
    --unsafe-package torch --unsafe-package torchvision --constraint "$work/torch" \
    --output-file "$work/lock" "$work/pins.in"

{
    echo "# Exact versions of everything but torch and torchvision (requirements-torch.txt), with the hashes of their files."
    echo "# Made by \`make lock\` from the environment; pyproject.toml holds the lower bounds."
    grep -v -E '^(#|$)' "$work/lock"
} > requirements.lock
{
    echo "# Builds differ by machine, so there are no hashes. Made by \`make lock\`, with requirements.lock."
    cat "$work/torch"
} > requirements-torch.txt
