"""In a checkout with data, its folder `datasets` passes for the library that transformers' Trainer
looks for; it is hidden before transformers is imported.
"""

import sys

sys.modules.setdefault("datasets", None)  # type: ignore[arg-type]
