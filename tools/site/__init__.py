"""The documentation site: the repository's Markdown files and a generated reference, by mkdocs."""
