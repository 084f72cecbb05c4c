"""One command from a zero-shot and a fine-tuned checkpoint to the model in between.

`folders` finds the images, `ends` makes both models classifiers of the same classes, `run` evaluates
and tabulates, `export` writes the model in the fine-tuned one's own format, `show` draws and prints.
"""
