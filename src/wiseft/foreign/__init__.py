"""What opens a model of another program: what it says of itself, and what it does not say."""
