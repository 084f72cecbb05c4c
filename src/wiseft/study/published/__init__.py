"""Published: the numbers of the paper's tables and of the test bed, as rows of the tidy table.

Numbers of arXiv 2109.01903 v3 stand in two files of this package, a line of a table a line there,
and those of papers after it in a third; the accuracies of other models are downloaded, pinned, and
until then their fitted lines stand in.
"""
