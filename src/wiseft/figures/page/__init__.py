"""The interactive page of an experiment: one HTML file that needs no network and no server."""

from wiseft.figures.page.build import PageSettings, build_page

__all__ = ["PageSettings", "build_page"]
