"""The settings of a view, without what evaluates it: the configuration checks them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from wiseft.base.typed import Entry, Name

Metric = Literal["accuracy", "worst-group-accuracy", "macro-f1", "all-frames-accuracy"]


class ViewSettings(Entry):
    """A dataset split seen through a metric."""

    name: Name = "all"
    """Name of the view in metrics, predictions and tables."""
    metric: Metric = "accuracy"
    """Metric: `accuracy`; `worst-group-accuracy`, the lowest accuracy of a group; `macro-f1`, the
    mean F1 over the labels that occur; `all-frames-accuracy`, the share of base ids whose samples
    are all right."""
    group: Name | None = None
    """Group metadata that defines the groups of `worst-group-accuracy`."""
    ignore: list[str] = Field([])
    """Groups that the metric ignores."""
    where: Name | None = None
    """Group metadata, true or false. Only samples with true count."""

    @model_validator(mode="after")
    def _check_group(self) -> Self:
        if (self.metric == "worst-group-accuracy") != (self.group is not None):
            raise ValueError(
                f"view {self.name} has metric {self.metric} and group {self.group}, but `group` "
                "belongs to `worst-group-accuracy` and only there"
            )
        return self
