"""The random models of tests predict by far more than rounding."""

from __future__ import annotations

import pytest
import torch
from tests.combine import conftest as combine
from tests.evaluate import conftest as evaluate
from tests.random_models import batch, blobs

from wiseft.models.classifier import build_classifier

FAR = 50
"""How many times what rounding moves a logit lies between the two largest ones."""


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("stage", [combine, evaluate], ids=["combine", "evaluate"])
@torch.no_grad()
def test_rounding_is_far_from_deciding_what_they_predict(stage, seed: int) -> None:
    images = batch(blobs(40, 1))
    deciding = stage is combine
    tensors = combine.deciding_tensors(seed, images) if deciding else evaluate.tiny_tensors(seed)
    model = build_classifier(stage.tiny_header(), tensors)
    assert model.features(images).std(dim=0).mean() > 0.1  # of features of length 1
    logits = model(images)
    ones = torch.cat([model(each) for each in images.split(1)])  # other sums, as on another CPU
    first, second = logits.topk(2, dim=1).values.unbind(dim=1)
    assert (first - second).min() > FAR * (logits - ones).abs().max()
    assert len(set(logits.argmax(dim=1).tolist())) > 2
