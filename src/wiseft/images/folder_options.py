"""Options of class folders, without what reads them: the configuration checks them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wiseft.base.typed import Entry, Name

Places = Annotated[list[str], Field(min_length=1)]


class ImageFolderOptions(Entry):
    """One folder per class."""

    naming: Literal["name", "class-id", "index"] = "name"
    """Names of the folders: `name` (the class's name, with underscores for spaces), `class-id` (a
    class id, such as a wnid) or `index` (the label as a number). With `class_names: files` and
    `name`, labels follow the sorted folder names."""
    folders: dict[Name, Places] = Field({})
    """Folder that holds the class folders of each split. Default: `<split>`, or the root if there
    is only one split."""
