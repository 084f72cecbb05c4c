"""Stage weights: models from elsewhere, fetched from hubs and addresses or read from files."""

from wiseft.weights.fetch import FETCHED, fetch_weights
from wiseft.weights.formats import Checkpoint, read_checkpoint, write_checkpoint
from wiseft.weights.sources import Source, from_entry, from_tag

__all__ = [
    "FETCHED",
    "Checkpoint",
    "Source",
    "fetch_weights",
    "from_entry",
    "from_tag",
    "read_checkpoint",
    "write_checkpoint",
]
