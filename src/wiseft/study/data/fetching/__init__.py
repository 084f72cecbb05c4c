"""Bringing files here: over HTTP, by pip and by npm, each checked against its pin."""
