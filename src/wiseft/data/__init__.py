"""Stage data: fetch, verify, unpack and index datasets.

``store`` is the only reader and writer of prepared datasets, ``fetch`` brings pinned packages,
``builders`` holds one function a dataset, ``prepare`` runs a builder, ``folder`` indexes a user's
own images.
"""
