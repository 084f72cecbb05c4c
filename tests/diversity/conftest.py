"""The tiny classifiers of the stage evaluate, and a linear classifier on one of them."""

from pathlib import Path

import pytest
from tests.evaluate.conftest import ends, manifest, request_for, tiny_header, tiny_tensors

from wiseft.thetas.theta import save_theta

__all__ = ["ends", "manifest", "request_for"]


@pytest.fixture
def head_only(tmp_path: Path) -> Path:
    """theta_0 with another head, whose logits fp16 can hold."""
    tensors = tiny_tensors(0)
    heads = {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}
    mixed = {name: tensor + 0.6 * tensor.roll(1, 0) for name, tensor in heads.items()}
    path = tmp_path / "head_only.safetensors"
    save_theta(path, tensors | mixed, tiny_header("fine-tuned", "finetune"))
    return path
