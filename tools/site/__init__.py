"""The pages of the site: the repository's Markdown files and a generated reference."""
