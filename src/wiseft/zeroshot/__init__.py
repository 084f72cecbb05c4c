"""Stage zeroshot: prompts and the text tower give a head; with the image tower it is theta_0."""
