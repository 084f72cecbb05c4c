"""The paper's tables, figures and summary, from measured and published numbers."""
