"""Published: the numbers of the paper's tables and of the test bed, as rows of the tidy table.

Numbers of arXiv 2109.01903 v3 stand in two files of this package, a line of a table a line there,
and those of papers after it in a third; the accuracies of other models are downloaded, pinned, and
until then their fitted lines stand in.
"""

from wiseft.study.published.addresses import SOURCES
from wiseft.study.published.lines import lines
from wiseft.study.published.numbers import TABLES, numbers, rows
from wiseft.study.published.successors import SECOND_HAND, SUCCESSORS, successor_rows
from wiseft.study.published.testbed import at_hand, testbed_rows

__all__ = [
    "SECOND_HAND",
    "SOURCES",
    "SUCCESSORS",
    "TABLES",
    "at_hand",
    "lines",
    "numbers",
    "rows",
    "successor_rows",
    "testbed_rows",
]
