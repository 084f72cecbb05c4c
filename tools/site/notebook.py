"""The notebook as a page: its cells as Markdown, without running them."""

from __future__ import annotations

import json
from pathlib import Path

NOTEBOOK = "docs/wiseft.ipynb"


def markdown(path: Path, download: str = "") -> str:
    """Return the cells of a notebook as Markdown; the address of the file itself comes first."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    if download:
        parts.insert(1, f'<a href="{download}" download>Download the notebook.</a>')
    return "\n\n".join(parts) + "\n"
