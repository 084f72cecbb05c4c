"""Pages that are part of other pages now, and what the site shows at their old addresses."""

from __future__ import annotations

MOVED = {
    "choosing-alpha": "when-it-pays",
    "does-it-help": "when-it-pays",
    "digits-data": "digits",
    "gallery": "digits",
    "get-started/colleague": "running",
    "get-started/lab": "paper",
    "get-started/newcomer": "digits",
    "get-started/practitioner": "sweep",
    "icons-data": "icons",
    "library": "sweep",
    "rehearsal": "contributing",
    "reliability": "contributing",
    "running-on-a-workstation": "running",
    "running-on-slurm": "running",
    "scaling": "costs",
    "sharing": "running",
    "sharing-results": "running",
    "successors": "paper",
}
"""The page of the site with the content, by the old page."""


def redirect(old: str, new: str) -> str:
    """Return the HTML of an old address, which leads to the page that has its content now."""
    to = "../" * old.count("/") + f"{new}.html"
    return (
        f'<!doctype html><meta http-equiv="refresh" content="0; url={to}">'
        f'<link rel="canonical" href="{to}"><a href="{to}">This page has moved.</a>'
    )
