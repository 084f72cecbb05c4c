"""`wiseft merge` beside `mergekit-yaml`: whole commands on folders of two random Llamas in bf16, of
1 GB in one file and of 4 GB in shards, in turns.

Not among the benchmarks of `make bench`: `python -m benchmarks --only merging_folders`. The files
lie in the folder for temporary files (`TMPDIR`), which needs 13 GB.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import Options, Used, compared, differences, measured, peers, write_record
from wiseft.foreign.formats import read_checkpoint

SIZES: dict[str, dict[str, int]] = {
    "1 GB": {"hidden_size": 1280, "intermediate_size": 3456, "num_hidden_layers": 21},
    "4 GB": {"hidden_size": 2560, "intermediate_size": 6912, "num_hidden_layers": 24},
}
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
WORDS = 32_000
SHARD = "1GB"
GOALS = {"wall_seconds": 0.7, "cpu_seconds": 0.7, "peak_mb": 0.333}
"""What ours may take of what mergekit takes."""


def run(options: Options) -> None:
    """Write `merging_folders.json`."""
    program = peers() / "mergekit-yaml"
    used: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    found: dict[str, Any] = {}
    for size, shape in {"tiny": TINY}.items() if options.quick else SIZES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                pool.apply(_write, (folder, shape))
            runs: dict[str, list[Used]] = {"wiseft": [], "mergekit": []}
            for _ in range(options.repeats):
                for which, command in _commands(folder, program).items():
                    shutil.rmtree(folder / which, ignore_errors=True)
                    runs[which].append(measured(command, options.threads)[0])
            results = (read_checkpoint(folder / which) for which in runs)
            ours, theirs = (result.tensors for result in results)
            files = list((folder / "a").glob("*.safetensors"))
            found[size] = {
                "megabytes": round(sum(file.stat().st_size for file in files) / 1e6),
                "files": len(files),
                "differences": differences(ours, theirs, 0.0),  # mergekit computes in bf16
            }
        used[size], ratios[size] = compared(runs)
    settings = {"sizes": SIZES, "words": WORDS, "dtype": "bfloat16", "alpha": "0.5"}
    write_record(
        "merging_folders",
        options,
        settings=settings,
        used=used,
        ratios=ratios,
        goals=GOALS,
        measured=found,
    )


def _write(folder: Path, shape: dict[str, Any]) -> None:
    """Write a and b as transformers does: weights, configuration and tokenizer."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(ByteLevel.alphabet())
    words = [*alphabet, *(f"word{place}" for place in range(WORDS - len(alphabet)))]
    model = BPE({word: place for place, word in enumerate(words)}, [])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(model))
    torch.manual_seed(0)
    with torch.device("meta"):
        llama: Any = LlamaForCausalLM(LlamaConfig(vocab_size=WORDS, **shape))
    llama = llama.to(torch.bfloat16).to_empty(device="cpu")
    for name in "ab":
        with torch.no_grad():
            for parameter in llama.parameters():
                parameter.uniform_(-0.05, 0.05)
        llama.save_pretrained(folder / name, max_shard_size=SHARD)
        tokenizer.save_pretrained(folder / name)


def _commands(folder: Path, program: Path) -> dict[str, list[str]]:
    config = folder / "linear.json"  # JSON is YAML
    models = [{"model": str(folder / name), "parameters": {"weight": 0.5}} for name in "ab"]
    config.write_text(json.dumps({"merge_method": "linear", "models": models, "dtype": "bfloat16"}))
    ours = [Path(sys.executable).with_name("wiseft"), "merge", folder / "a", folder / "b"]
    ours += ["--alpha", "0.5", "--output", folder / "wiseft"]
    theirs = [program, config, folder / "mergekit"]
    return {"wiseft": [*map(str, ours)], "mergekit": [*map(str, theirs)]}
