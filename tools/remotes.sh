#!/usr/bin/env bash
# Make build/remotes: an environment on top of another one ($1), with what tests of remotes need.
# S3 and SSH for DVC, and a server of the S3 protocol: 170 MB that nobody else needs.
set -euo pipefail
cd "$(dirname "$0")/.."

target=build/remotes
packages() { "$1/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'; }

[ ! -e "$target/.installed" ] || exit 0
echo "Installing the packages of remotes into $target (170 MB, a minute or two) ..."
"$1/bin/python" -m venv --clear "$target"
packages "$1" > "$(packages "$target")/base.pth"
"$target/bin/python" -m pip install --quiet --disable-pip-version-check 'dvc-s3>=3' 'dvc-ssh>=4' 'moto[server]>=5'
touch "$target/.installed"
