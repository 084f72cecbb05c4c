"""Stage data: from the address of a file to images with labels, a room for each question.

``fetching``: where do the files come from? ``unpacking``: what is in an archive, and is it safe?
``layouts``: which samples do the files of a dataset hold? ``builders`` and ``corruptions``: which
images are made by code? How a dataset is stored, read and checked: :mod:`wiseft.images`.

`prepare` prepares a dataset of the catalogue, of files by `index_files`, or cuts one to a preview;
`samples` draws a panel of images.
"""
