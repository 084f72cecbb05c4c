"""What a user with two checkpoints calls: the sweep, its page and card, loading and exporting.

`folders` finds the images, `sweep` evaluates and tabulates, `export` writes the model in the
fine-tuned one's own format, `show` draws and prints; `api` is what `import wiseft` offers.
"""
