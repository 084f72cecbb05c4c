"""`wiseft combine` beside `mergekit-pytorch`: whole commands on the same files, in turns.

Of a ViT-B-32 and three models that differ from it at random, as thetas. mergekit is installed
into `build/peers`, on top of this environment. Not among the benchmarks of `make bench`:
`python -m benchmarks --only combining`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from benchmarks.common import Options, Used, compared, differences, measured, peers, write_record

GOALS = {"wall_seconds": 0.8, "cpu_seconds": 0.8, "peak_mb": 0.5}
"""What ours may take of what mergekit takes."""

# Our recipe, mergekit's method and its parameters, of the method and of each model.
METHODS: dict[str, tuple[dict[str, Any], str, dict[str, Any], dict[str, Any]]] = {
    "linear": ({"kind": "soup-uniform"}, "linear", {}, {"weight": 1.0}),
    "task-arithmetic": (
        {"kind": "task-arithmetic", "scale": 0.3},
        "task_arithmetic",
        {},
        {"weight": 0.3},
    ),
    "model-stock": ({"kind": "model-stock"}, "model_stock", {}, {}),
    "ties": (
        {"kind": "ties", "trim": "tensor", "density": 0.2},
        "ties",
        {},
        {"weight": 1.0, "density": 0.2},
    ),
    "dare": (
        {"kind": "dare", "density": 0.2, "scale": 0.3},
        "dare_linear",
        {"rescale": False},
        {"weight": 1.5, "density": 0.2},
    ),
}
TINY = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "patch_size": 16, "layers": 1, "width": 64},
    "text_cfg": {"context_length": 16, "vocab_size": 100, "width": 8, "heads": 2, "layers": 1},
}
WHOLE = {"kind": "ties", "trim": "model", "density": 0.2}


def run(options: Options) -> None:
    """Write `combining.json`."""
    mergekit = peers() / "mergekit-pytorch"
    runs = {method: {"wiseft": list[Used](), "mergekit": list[Used]()} for method in METHODS}
    whole, differing = list[Used](), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = _write(folder, options.quick)
        for _ in range(options.repeats):
            for method in METHODS:
                for program, command in _commands(method, files, mergekit).items():
                    runs[method][program].append(measured(command, options.threads)[0])
                if method != "dare":  # each drops elements of its own choice
                    theirs = load_file(folder / "theirs" / "model.safetensors")
                    differing[method] = differences(load_file(folder / "ours"), theirs, 1e-6)
            whole.append(measured(_ours(WHOLE, files), options.threads)[0])
        size = files[0].stat().st_size
    found = {method: compared(each) for method, each in runs.items()}
    write_record(
        "combining",
        options,
        settings={"files": len(files), "file_mb": round(size / 1e6, 1), "methods": METHODS},
        used={method: used for method, (used, _) in found.items()}
        | {"ties of whole models": compared({"wiseft": whole})[0]},
        ratios={method: ratios for method, (_, ratios) in found.items()},
        goals=GOALS,
        measured={"differences": differing},
    )


def _write(folder: Path, quick: bool) -> list[Path]:
    """Write theta_0 and three others, each with a change of its own and one in common."""
    import open_clip
    import torch

    from wiseft.models.classifier import build_classifier, classifier_tensors
    from wiseft.thetas.theta import make_header, save_theta

    header = make_header(
        "zero-shot",
        "zeroshot",
        architecture=TINY if quick else open_clip.get_model_config("ViT-B-32"),
        preprocessing={"size": 224, "mean": [0.5] * 3, "std": [0.25] * 3},
        class_names=[f"class {index}" for index in range(1000)],
        parents={},
    )
    theta_0 = classifier_tensors(build_classifier(header, seed=0))
    paths = [folder / f"{place}.safetensors" for place in range(4)]
    for place, path in enumerate(paths):
        own, shared = (torch.Generator().manual_seed(seed) for seed in (place, 9))
        tensors = {}
        for name, value in theta_0.items():
            noise = sum(torch.randn(value.shape, generator=of) for of in (own, shared))
            tensors[name] = (value.detach() + (1e-3 if place else 0.0) * noise).contiguous()
        save_theta(path, tensors, header)
    return paths


def _ours(recipe: dict[str, Any], files: list[Path]) -> list[str]:
    output = files[0].with_name("ours")
    command = [Path(sys.executable).with_name("wiseft"), "combine", *files, "--output", output]
    return [*map(str, command), "--recipe", json.dumps(recipe), "--device", "cpu"]


def _commands(method: str, files: list[Path], mergekit: Path) -> dict[str, list[str]]:
    recipe, name, parameters, of_each = METHODS[method]
    config = files[0].with_name(f"{method}.json")  # JSON is YAML
    models = files if name == "linear" else files[1:]
    plan = {
        "merge_method": name,
        "models": [{"model": str(each), "parameters": of_each} for each in models],
        "parameters": parameters,
        "dtype": "float32",
    }
    base = {} if name == "linear" else {"base_model": str(files[0])}
    config.write_text(json.dumps(plan | base))
    theirs = [str(mergekit), str(config), str(files[0].with_name("theirs"))]
    return {"wiseft": _ours(recipe, files), "mergekit": theirs}
