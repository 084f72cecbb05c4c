#!/usr/bin/env bash
# Make build/peers: an environment on top of another one ($1), with programs that ours is compared with.
set -euo pipefail
cd "$(dirname "$0")/.."

target=build/peers
packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

[ ! -e "$target/.installed" ] || exit 0
echo "Installing PEFT into $target (a few megabytes, seconds) ..."
"$1/bin/python" -m venv --clear "$target"
packages "$1" > "$(packages "$target")/base.pth"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check 'peft>=0.17'
touch "$target/.installed"
