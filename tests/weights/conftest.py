"""A hub and a web server on the loopback interface, and tiny models that they serve."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Mapping
from pathlib import Path

import huggingface_hub.constants
import open_clip.factory
import open_clip.pretrained
import pytest
import torch
from safetensors.torch import save
from tests.data.fetching import http_server
from tests.towers import tiny
from tests.weights import hub_server
from torch import nn

from wiseft import towers

COMMIT = "c" * 40
OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub with an empty cache."""
    with hub_server.running() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        # The library asks its own hub, whatever the endpoint, which program it is called by.
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        with contextlib.suppress(ImportError):
            agents = importlib.import_module("huggingface_hub.utils._detect_agent")
            monkeypatch.setattr(agents, "_registry", {"harnesses": {}}, raising=False)
        yield running


@pytest.fixture
def web():
    """A web server."""
    with http_server.running() as running:
        yield running


@pytest.fixture
def register(monkeypatch):
    """Make a tiny architecture and a tag known to open_clip."""

    def register(name, architecture, **about):
        config = {key: value for key, value in architecture.items() if key != "tokenizer"}
        config["text_cfg"] = {k: v for k, v in config["text_cfg"].items() if k != "hf_config"}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        tag = {"url": "", "hf_hub": "", "mean": OPENAI_MEAN, "std": OPENAI_STD} | about
        monkeypatch.setitem(open_clip.pretrained._PRETRAINED, name, {"tag": tag})

    return register


@pytest.fixture
def said():
    return []


def weights_of(architecture, seed=1) -> dict[str, torch.Tensor]:
    """Return random weights in the family's names, integers included."""
    model = towers.build(architecture, seed)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(0.01)  # some start at zero, where a mistake would not show
    integers = {k: v for k, v in model.module.state_dict().items() if not v.is_floating_point()}
    return model.tensors() | integers


def safetensors_of(tensors: Mapping[str, torch.Tensor]) -> bytes:
    return save({key: value.contiguous() for key, value in tensors.items()}, {"format": "pt"})


def clip_weights(seed=1) -> dict[str, torch.Tensor]:
    return weights_of(tiny.clip(), seed)


class Holder(nn.Module):
    """Tensors under nested names, as a module that TorchScript takes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def torchscript(tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write an archive as OpenAI's CLIPs are: a scripted module with the tensors."""
    root = Holder()
    for name, tensor in tensors.items():
        *folders, last = name.split(".")
        at: nn.Module = root
        for folder in folders:
            if not hasattr(at, folder):
                at.add_module(folder, Holder())
            at = getattr(at, folder)
        at.register_buffer(last, tensor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(root).save(str(path))


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
