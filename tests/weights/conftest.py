"""A hub and a web server on the loopback interface, and tiny models that they serve."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Mapping

import huggingface_hub.constants
import open_clip.factory
import open_clip.pretrained
import pytest
import torch
from safetensors.torch import save
from tests import tiny_models as tiny
from tests.data.fetching import http_server
from tests.weights import hub_server
from tools.rehearsal.checkpoints import weights_of

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
        monkeypatch.setattr(huggingface_hub.constants, "HF_ASSETS_CACHE", str(tmp_path / "assets"))
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


def safetensors_of(tensors: Mapping[str, torch.Tensor]) -> bytes:
    return save({key: value.contiguous() for key, value in tensors.items()}, {"format": "pt"})


def clip_weights(seed=1) -> dict[str, torch.Tensor]:
    return weights_of(tiny.clip(), seed)


def same(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)
