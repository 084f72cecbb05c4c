"""Models from elsewhere: fetched from hubs and addresses, or imported from the user's own files."""

from wiseft.weights.fetch import FETCHED, fetch_weights
from wiseft.weights.formats import Checkpoint, read_checkpoint, write_checkpoint
from wiseft.weights.imports import import_theta_0, import_theta_1
from wiseft.weights.sources import Source, from_entry, from_tag

__all__ = [
    "FETCHED",
    "Checkpoint",
    "Source",
    "fetch_weights",
    "from_entry",
    "from_tag",
    "import_theta_0",
    "import_theta_1",
    "read_checkpoint",
    "write_checkpoint",
]
