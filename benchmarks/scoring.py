"""`wiseft score` beside CLIP_benchmark: both commands whole, start-up and head included.

JPEG crops of 500 x 375 pixels in ten class folders, ViT-B-32 with random weights in a file of
torch, fp32, one prompt a class. CPU seconds (user and system) of a command and the processes that
it starts are fair on a busy machine; wall seconds are so on an idle one only. CLIP_benchmark is
installed into `build/clip-benchmark`, on top of this environment; it runs as it does by default,
with four processes that read, and with as many threads of torch as ours has.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

from benchmarks.common import Options, Used, compared, measured, on_top, write_record
from benchmarks.inputs import photo_crops
from wiseft.errors import WiseftError

MODEL = "ViT-B-32"
CLASSES = [f"class {index}" for index in range(10)]
# Its own file of what it needs pins versions; these are what this task imports. With numpy 2.4 it
# fails when it counts.
PROGRAM = ("clip-benchmark", "--no-deps", "clip_benchmark==1.6.2", "webdataset", "braceexpand")
PROGRAM += ("pycocoevalcap", "numpy<2.4")
DATASET = "fer2013"  # what it reads as folders of classes, whatever they are


def run(options: Options) -> None:
    """Write `scoring.json`, with more threads than one `scoring-N-threads.json`."""
    on_top(*PROGRAM)  # its time does not count
    counts = [12] if options.quick else [60, 240, 2000]
    used: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        torch.save(open_clip.create_model(MODEL).state_dict(), folder / "model.pt")
        for n in counts:
            _write_images(folder / str(n) / "test", n)
            runs: dict[str, list[Used]] = {"ours": [], "clip_benchmark": []}
            for _ in range(options.repeats if n < 1000 else 1):
                for which, way in (("ours", _ours), ("clip_benchmark", _theirs)):
                    spent, found[f"{which}_{n}"] = way(folder, n, options.threads)
                    runs[which].append(spent)
            used[str(n)], ratios[str(n)] = compared(runs)
            if (ours := found[f"ours_{n}"]) != (theirs := found[f"clip_benchmark_{n}"]):
                raise WiseftError(f"the two find other numbers for {n} images: {ours}, {theirs}")
    write_record(
        "scoring" if options.threads == 1 else f"scoring-{options.threads}-threads",
        options,
        settings={"model": f"{MODEL}, random weights, fp32", "images": counts},
        used=used,
        ratios=ratios,
        measured={"accuracy_top5_recall": found},
        goals={"cpu_seconds": 0.9, "wall_seconds": 0.9},
    )


def _write_images(root: Path, n: int) -> None:
    for index, crop in enumerate(photo_crops(n, 375, 500)):
        path = root / CLASSES[index % len(CLASSES)] / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(path, quality=90)


def _ours(folder: Path, n: int, threads: int) -> tuple[Used, list[float]]:
    wiseft = str(Path(sys.executable).with_name("wiseft"))
    command = [wiseft, "score", str(folder / "model.pt"), str(folder / str(n) / "test"), "--json"]
    how = ["--architecture", MODEL, "--threads", str(threads), "--device", "cpu"]
    used, said = measured([*command, *how], threads)
    scores, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
    return used, [round(scores[name], 6) for name in ("accuracy", "top5", "mean_recall")]


def _theirs(folder: Path, n: int, threads: int) -> tuple[Used, list[float]]:
    for name, value in (("classes", CLASSES), ("templates", ["a photo of a {c}."])):
        (folder / f"{name}.json").write_text(json.dumps({DATASET: value}))
    python = str(on_top(*PROGRAM) / "python")
    command = ["/usr/bin/env", "CUDA_VISIBLE_DEVICES=", python, "-m", "clip_benchmark.cli", "eval"]
    command += ["--dataset", DATASET, "--dataset_root", str(folder / str(n)), "--no_amp"]
    command += ["--model", MODEL, "--pretrained", str(folder / "model.pt")]
    command += ["--custom_classname_file", str(folder / "classes.json")]
    command += ["--custom_template_file", str(folder / "templates.json")]
    command += ["--output", str(folder / "theirs.json")]
    used, _ = measured(command, threads)
    metrics = json.loads((folder / "theirs.json").read_text())["metrics"]
    return used, [round(metrics[name], 6) for name in ("acc1", "acc5", "mean_per_class_recall")]
