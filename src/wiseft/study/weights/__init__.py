"""Stage weights: models from elsewhere, fetched from hubs and addresses or read from files."""
