"""Losses, one file each.

A file has `Options`, a model of the options that `loss_options` may hold and what else is to know
of the loss (`ObjectiveOptions` of the configuration), and `make(settings, model, start)`, which
returns the loss as a function of model and batch. Only functions import torch.
"""
