"""Random models that tell images apart, so that no CPU's rounding decides what they predict."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from wiseft.models.classifier import ImageClassifier, build_classifier, classifier_tensors
from wiseft.thetas.theta import ThetaHeader


def blobs(n: int, seed: int) -> NDArray[np.uint8]:
    """Images of 4 x 4 squares of random colours, uint8 (n, 32, 32, 3): noise all looks the same."""
    colours = np.random.default_rng(seed).integers(0, 256, (n, 4, 4, 3))
    return np.kron(colours, np.ones((1, 8, 8, 1))).astype(np.uint8)


def batch(images: NDArray[np.uint8]) -> Tensor:
    """Return images as a classifier takes them."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


@torch.no_grad()
def telling_tensors(header: ThetaHeader, seed: int) -> dict[str, Tensor]:
    """Return random weights of a ResNet whose features vary from image to image.

    As they are made, weights of residual branches are 0 and running statistics those of nothing:
    features would differ by a millionth, and a head that goes by that shows rounding.
    """
    model = build_classifier(header, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    for tensor in classifier_tensors(model).values():
        tensor += 0.1 * (torch.rand(tensor.shape, generator=generator) - 0.5)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.weight.copy_(0.5 + torch.rand(norm.weight.shape, generator=generator))
        norm.reset_running_stats()
        norm.momentum = None  # the statistics of the batch itself, below
        norm.train()
    model.features(batch(blobs(200, seed)))
    return {name: t.detach().contiguous() for name, t in classifier_tensors(model).items()}


@torch.no_grad()
def deciding_head(model: ImageClassifier, images: Tensor, first: int = 0) -> dict[str, Tensor]:
    """Return a head that predicts every class for some of the images.

    Class k is near the features of image `first + k`, seen from their mean: without that the common
    part of the features decides, and one class always wins.
    """
    features = model.features(images)
    mean = features.mean(dim=0)
    classes = len(model.head.weight)
    weight = (features - mean)[first : first + classes] / features.var(dim=0)
    return {"head.weight": weight, "head.bias": -weight @ mean}
