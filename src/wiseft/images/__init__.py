"""How a prepared dataset is stored, read and checked; `store` is its only reader and writer."""
