"""Models of strangers: what their files hold and what their configurations describe."""
