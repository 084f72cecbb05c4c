"""Check that the site's search finds guides first: `python -m tools.site.search`, after the build.

The index is searched as the page does: each word may be continued, titles count most. The page's
own JavaScript is not run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lunr import get_default_builder, lunr
from lunr.stop_word_filter import stop_word_filter
from lunr.trimmer import trimmer

INDEX = Path(__file__).parents[2] / "build/site/search/search_index.json"
EXPECTED = {
    "own dataset": ("datasets", "config", "sweep"),
    "csv labels": ("sweep",),
    "which alpha": ("when-it-pays", "sweep"),
    "resume": ("running", "sweep"),
    "slurm": ("running",),
    "LoRA": ("models", "when-it-pays", "finetuning", "sweep"),
    "open_clip checkpoint": ("models", "sweep"),
    "out of memory": ("running",),
    "add a figure": ("contributing", "running"),
    "license": ("models", "sweep", "digits"),
}
"""Pages of which one must come first, by search."""


def first_pages(index: Path = INDEX) -> dict[str, str]:
    """Return the page that each of the searches finds first."""
    built = json.loads(index.read_text(encoding="utf-8"))
    documents = [
        ({**each, "tags": " ".join(each.get("tags", []))}, {"boost": each.get("boost", 1)})
        for each in built["docs"]
    ]
    fields = [
        {"field_name": name, "boost": weight["boost"]}
        for name, weight in built["config"]["fields"].items()
    ]
    builder = get_default_builder()
    builder.pipeline.reset()  # the site's pipeline has no stemmer
    builder.pipeline.add(trimmer, stop_word_filter)
    builder.search_pipeline.reset()
    found = lunr("location", fields, documents, builder=builder)
    pages = {}
    for search in EXPECTED:
        results = found.search(" ".join(f"{word}*" for word in search.lower().split()))
        first = results[0]["ref"] if results else ""
        pages[search] = first.split("#")[0].removesuffix(".html").split("/")[0] or "index"
    return pages


if __name__ == "__main__":
    wrong = {each: page for each, page in first_pages().items() if page not in EXPECTED[each]}
    for each, page in wrong.items():
        print(f"search {each!r}: {page} comes first, not one of {', '.join(EXPECTED[each])}")
    sys.exit(bool(wrong))
