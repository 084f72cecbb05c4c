"""Peak memory of `wiseft merge`, a process for each format, beside the largest tensor and file."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import Options, write_record

MODEL = "ViT-B-32"
TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 64},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 8, "heads": 2, "layers": 1},
}
FORMATS = ("safetensors", "safetensors-fp16", "torch", "torchscript-fp16", "shards", "adapter")
GOAL = 1.3
"""Times the largest tensor, beside one file of weights."""


def run(options: Options) -> None:
    """Write `merging.json`."""
    measured: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for kind in FORMATS:
            folder = Path(name) / kind
            folder.mkdir()
            sizes = _alone(_write, folder, kind, options.quick)
            found = _alone(_peak, folder) | sizes
            found["allowed_mb"] = round(GOAL * sizes["tensor_mb"] + sizes["file_mb"], 1)
            measured[kind] = found
    settings = {"model": "tiny" if options.quick else MODEL, "alpha": "0.5"}
    write_record("merging", options, settings=settings, measured=measured)


def _alone(work: Any, *arguments: Any) -> dict[str, float]:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found: dict[str, float] = pool.apply(work, arguments)
    return found


def _write(folder: Path, kind: str, quick: bool) -> dict[str, float]:
    """Write a and b; return the sizes of the largest tensor and of one file of weights."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from tools.rehearsal.checkpoints import torchscript

    from wiseft.foreign.huggingface import from_open_clip

    model: Any = open_clip.CLIP(**TINY) if quick else open_clip.create_model(MODEL)
    if kind.endswith("fp16"):
        model = model.half()
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    for name in ("a", "b"):
        if kind == "torch":
            torch.save(tensors, folder / f"{name}.pt")
        elif kind.startswith("torchscript"):
            torchscript(tensors, folder / f"{name}.pt")
        elif kind == "shards":
            _write_shards(dict(from_open_clip(tensors)), folder / name)
        else:
            save_file(tensors, folder / f"{name}.safetensors")
    if kind == "adapter":
        (folder / "b.safetensors").unlink()
        _write_adapter(tensors, folder / "b")
    largest = max(value.nbytes for value in tensors.values())
    file = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return {"tensor_mb": round(largest / 1e6, 1), "file_mb": round(file / 1e6, 1)}


def _write_shards(tensors: dict[str, Any], folder: Path) -> None:
    from safetensors.torch import save_file

    folder.mkdir()
    names = sorted(tensors)
    places = {name: f"model-{4 * at // len(names)}.safetensors" for at, name in enumerate(names)}
    for file in set(places.values()):
        part = {name: tensors[name].contiguous() for name in names if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


def _write_adapter(tensors: dict[str, Any], folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder.mkdir()
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 8}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    factors = {}
    for name, value in tensors.items():
        if name.endswith((".c_fc.weight", ".c_proj.weight")):
            module = f"base_model.model.{name.removesuffix('.weight')}"
            factors[f"{module}.lora_A.weight"] = torch.ones(8, value.shape[1])
            factors[f"{module}.lora_B.weight"] = torch.ones(value.shape[0], 8)
    save_file(factors, folder / "adapter_model.safetensors")


def _peak(folder: Path) -> dict[str, float]:
    """Return megabytes before and at the peak of a merge, and its seconds of CPU."""
    from wiseft.tool.api import merge_files

    a, b = sorted(path for path in folder.iterdir())
    before = _memory("VmRSS")
    started = time.process_time()
    merge_files(a, b, "0.5", folder / f"c{a.suffix}")
    seconds = time.process_time() - started
    peak = _memory("VmHWM")
    used = {"peak_mb": peak, "imports_mb": before, "merge_mb": round(peak - before, 1)}
    return used | {"cpu_seconds": round(seconds, 1)}


def _memory(key: str) -> float:
    """Return what Linux counts of this process; `ru_maxrss` is also of what was before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(next(int(line.split()[1]) for line in lines if line.startswith(key)) / 976.56, 1)
