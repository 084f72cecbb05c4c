#!/usr/bin/env bash
# Make sure that there is a Chromium for tests of the interactive page (300 MB; nothing else needs it).
set -euo pipefail

for name in "${CHROMIUM:-}" chromium chromium-browser google-chrome google-chrome-stable chrome; do
	[ -z "$name" ] || ! command -v "$name" > /dev/null || exit 0
done
if ! command -v apt-get > /dev/null || [ "$(id -u)" != 0 ]; then
	echo "error: no Chromium on the path, and only root on Debian can install one here; install it, or name one: CHROMIUM=/path" >&2
	exit 1
fi
echo "Installing Chromium (300 MB, a minute or two) ..."
apt-get update -qq
apt-get install -qq --no-install-recommends chromium > /dev/null
