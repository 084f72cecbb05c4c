"""Models in memory: towers, the classifier, how many images fit, on which device."""
