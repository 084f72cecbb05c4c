"""Pre-training of the embedded zero-shot model on rendered typefaces and pen strokes.

No handwriting is seen: the "web" of this model is what `glyphs` renders and `style` varies.
"""
