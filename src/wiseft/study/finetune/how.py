"""How a model is run on this machine: memory format, compilation, activation checkpointing."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from wiseft.errors import WiseftError
from wiseft.models.classifier import ImageClassifier
from wiseft.study.config.machine import HowSettings
from wiseft.study.finetune.two_towers import TwoTowers


def prepare_model(model: ImageClassifier | TwoTowers, how: HowSettings) -> None:
    """Put a model into the wanted form in place; names and values of its weights stay.

    Raises:
        WiseftError: if the image tower cannot do what is asked for.
    """
    form = torch.channels_last if how.channels_last else torch.contiguous_format
    model.to(memory_format=form)  # type: ignore[call-overload]
    model.memory_format = form
    if how.activation_checkpointing:
        _checkpoint_activations(model.image)


def set_train_mode(model: nn.Module, batch_norm: str) -> None:
    """Switch to training; with `batch_norm: eval` running statistics stay those of theta_0.

    Scale and shift of batch normalisation are trained in either case.
    """
    model.train()
    if batch_norm == "eval":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def follows_batches(model: nn.Module, batch_norm: str) -> bool:
    """Return whether a model in training normalises with the statistics of its batches."""
    return batch_norm == "train" and any(isinstance(m, _BatchNorm) for m in model.modules())


def _checkpoint_activations(tower: nn.Module) -> None:
    # open_clip wraps timm's models and swallows their refusal; the trunk itself says so.
    target = getattr(tower, "trunk", tower)
    name = type(target).__name__
    of_transformers = getattr(target, "gradient_checkpointing_enable", None)
    switch = getattr(target, "set_grad_checkpointing", of_transformers)
    # open_clip's ResNet takes the call and does nothing.
    if switch is None or name == "ModifiedResNet":
        raise WiseftError(
            f"activation_checkpointing is on, but an image tower of kind {name} has none; switch "
            "it off and lower training.how.micro_batch instead"
        )
    try:
        switch()
    except Exception as error:
        raise WiseftError(
            f"activation_checkpointing is on, but the image tower refuses it ({error}); switch it "
            "off and lower training.how.micro_batch instead"
        ) from error
