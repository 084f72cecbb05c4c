"""A CSV file with a row an image: its path, its label and, where wanted, its split and groups."""

from __future__ import annotations

from collections.abc import Sequence

from wiseft.errors import WiseftError
from wiseft.images.split import Indexed, LayoutInputs
from wiseft.images.tables import Columns, column, read_table
from wiseft.study.config.layouts import CsvOptions
from wiseft.study.data.layouts.listed import class_labels, table_split


def read(inputs: LayoutInputs) -> Indexed:
    """Index the rows of each split, in the order of the table.

    The label column holds class ids, class names or numbers, the same in all rows. Where the class
    names come from the files, they are the values of that column in the whole table, sorted.

    Raises:
        WiseftError: the table, a column or an image is missing, a label is no class, or an image is
            listed twice in a split.
    """
    options: CsvOptions = inputs.options
    table = inputs.file(options.file)
    images = inputs.place(options.images)
    columns = read_table(table)
    if not any(map(len, columns.values())):
        raise WiseftError(f"{table} has no rows, expected one for each image")
    paths = column(table, columns, options.path)
    values = column(table, columns, options.label)
    classes = class_labels(values, inputs, f"{table}, column {options.label}")
    groups = {
        name: _typed(column(table, columns, source)) for name, source in options.groups.items()
    }
    labels = [classes.labels[value] for value in values]
    splits = {
        split: table_split(inputs, images, table, paths, labels, chosen, groups)
        for split, chosen in _chosen(inputs, options, columns, len(paths)).items()
    }
    return Indexed(splits, class_names=classes.names)


def _chosen(
    inputs: LayoutInputs, options: CsvOptions, columns: Columns, count: int
) -> dict[str, list[int]]:
    """Return the rows of each split, by their place in the table."""
    if options.split is None:
        if len(inputs.splits) != 1:
            raise WiseftError(
                f"dataset {inputs.dataset} has the splits {', '.join(inputs.splits)}, but its "
                "options name no column `split`; name it"
            )
        return {inputs.splits[0]: list(range(count))}
    table = inputs.file(options.file)
    values = column(table, columns, options.split)
    chosen = {}
    for split in inputs.splits:
        wanted = options.splits.get(split, [split])
        chosen[split] = [row for row, value in enumerate(values) if value in wanted]
        if not chosen[split]:
            known = ", ".join(sorted(set(values))[:10])
            raise WiseftError(
                f"{table}, column {options.split}: expected rows of split {split} "
                f"({', '.join(wanted)}), found only {known}. Set `splits` in the dataset's options."
            )
    return chosen


def _typed(values: Sequence[str]) -> list[str] | list[bool]:
    """Return a group column; one of true and false as booleans, for views with `where`."""
    lower = [value.lower() for value in values]
    return [value == "true" for value in lower] if {*lower} <= {"true", "false"} else [*values]
