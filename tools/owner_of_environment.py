"""Print the clone that is installed in this Python's environment, unless it is the current folder.

`make` asks it, so that VENV=/elsewhere never points another clone's installation to this one.
"""

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import unquote, urlsplit

try:
    address = json.loads(distribution("wiseft").read_text("direct_url.json") or "{}").get("url", "")
except PackageNotFoundError:
    sys.exit()
clone = unquote(urlsplit(address).path)
if clone and os.path.realpath(clone) != os.path.realpath("."):
    print(clone)
