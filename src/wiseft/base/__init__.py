"""What everything stands on: files, locks, progress, typed settings, metrics. No torch."""
