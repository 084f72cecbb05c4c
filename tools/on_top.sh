#!/usr/bin/env bash
# Make build/NAME: an environment on top of another one, with packages that some tests need and nobody else.
# tools/on_top.sh VENV NAME PACKAGE...
set -euo pipefail
cd "$(dirname "$0")/.."

base=$1 target=build/$2
shift 2
packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

[ "$(cat "$target/.installed" 2> /dev/null)" != "$*" ] || exit 0
echo "Installing $* into $target ..."
"$base/bin/python" -m venv --clear "$target"
packages "$base" > "$(packages "$target")/base.pth"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
echo "$*" > "$target/.installed"
