"""The rehearsal of an experiment: its own rules in a made-up world."""
