"""Files that another program wrote: read as data, without running anything that they name."""
