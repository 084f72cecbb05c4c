"""Options of class folders, without what reads them: the configuration checks them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wiseft.base.typed import Entry, Name

Places = Annotated[list[str], Field(min_length=1)]


class ImageFolderOptions(Entry):
    """One folder a class."""

    naming: Literal["name", "class-id", "index"] = Field(
        "name",
        description="What the folders are called: `name` (the class's name, underscores for "
        "spaces), `class-id` (a class id, such as a wnid), `index` (the label itself, as a "
        "number). With `class_names: files` and `name`, labels follow the sorted folder names.",
    )
    folders: dict[Name, Places] = Field(
        {},
        description="Where each split's class folders lie; default: `<split>`, or the root "
        "itself where there is only one split.",
    )
