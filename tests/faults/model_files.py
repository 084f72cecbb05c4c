"""Models of strangers, in every format that is read: nothing in them runs, none takes all memory.

Numbers of such a file are nobody's promise: it has no sum. What is looked for is code, hangs,
memory and words.
"""

from __future__ import annotations

import json
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.harness import command, run
from tests.faults.verdicts import Found, Ground, Verdict
from tests.faults.world import PETS_MANIFEST, PIXELS, THETA_0

Write = Callable[[Random, str, Path], None]
"""Writes a file (or folder) at a path; the text is that of the canary's folder."""


class _Payload:
    """Is pickled as a call."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def _payload(rng: Random, canary: str) -> Any:
    import builtins
    import os
    import shutil as files
    import subprocess

    touch = f"touch {canary}/ran"
    return rng.choice(
        [
            _Payload(os.system, touch),
            _Payload(subprocess.check_call, ["touch", f"{canary}/ran"]),
            _Payload(builtins.exec, f"open('{canary}/ran', 'w')"),
            _Payload(builtins.eval, f"open('{canary}/ran', 'w')"),
            _Payload(builtins.open, f"{canary}/ran", "w"),
            _Payload(files.copyfile, "/etc/hostname", f"{canary}/ran"),
            _Payload(Path.touch, Path(f"{canary}/ran")),
        ]
    )


def pickled(rng: Random, canary: str, path: Path) -> None:
    """A pickle that calls, alone, in a state dict, or as torch saves it."""
    import torch

    evil = _payload(rng, canary)
    content = rng.choice([evil, {"weight": evil}, {"state_dict": {"a": torch.ones(2)}, "x": evil}])
    if rng.random() < 0.3:
        path.write_bytes(pickle.dumps(content, protocol=rng.choice([2, 4])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)


def from_file(rng: Random, canary: str, path: Path) -> None:
    """A TorchScript archive whose __setstate__ writes a file by `torch.from_file`."""
    _scripted(rng, canary, path, "torch.from_file(PATH, True, 64, dtype=torch.uint8)")


def script_calls(rng: Random, canary: str, path: Path) -> None:
    """A TorchScript archive whose __setstate__ asks for memory, loops, or saves."""
    calls = [
        *("torch.zeros([1000000000000])", "torch.ones([100000, 100000])"),
        *("torch.arange(100000000000)", "torch.empty([1 << 40])"),
    ]
    _scripted(rng, canary, path, rng.choice(calls))


def _scripted(rng: Random, canary: str, path: Path, call: str) -> None:
    """Write an archive of a module whose __setstate__ makes a call, as torch's own saver does."""
    import torch

    source = (Path(__file__).parent / "scripted.py").read_text()
    code = source.replace("torch.zeros([1])", call.replace("PATH", repr(f"{canary}/ran")))
    module = path.with_name(f"module_{path.stem}.py")
    module.write_text(code)
    # The saver calls __getstate__ alone; only who loads calls __setstate__.
    import importlib.util

    spec = importlib.util.spec_from_file_location(module.stem, module)
    assert spec is not None and spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    torch.jit.script(loaded.Holder()).save(str(path))
    module.unlink()


def asks(rng: Random, canary: str, path: Path) -> None:
    """A file of torch that wants memory made of a number, or bytes that grow."""
    import codecs

    import numpy as np
    import torch

    grown: Any = _Payload(codecs.encode, "x" * 64, "latin1")
    for _ in range(25):
        grown = _Payload(codecs.encode, grown, "hex")
    many = rng.choice([1000, 10**8])
    calls = [torch.Tensor, torch.FloatTensor, torch.UntypedStorage, bytearray, np.ndarray]
    asked = rng.choice([grown, *(_Payload(call, many) for call in calls)])
    place = rng.choice(["state_dict", "epoch"])
    content: dict[str, Any] = {"state_dict": {"weight": torch.ones(2)}}
    content[place] = {"weight": asked} if place == "state_dict" else asked
    torch.save(content, path, _use_new_zipfile_serialization=rng.random() < 0.7)


def adapter(rng: Random, canary: str, path: Path) -> None:
    """A folder of PEFT whose numbers, patterns or factors say what none does."""
    import torch
    from safetensors.torch import save_file

    module = "base_model.model.transformer.resblocks.0.mlp.c_fc"
    first, second = torch.ones(2, 16), torch.ones(64, 2)
    config: dict[str, Any] = {"peft_type": "LORA", "r": 2, "lora_alpha": 4}
    slow = {rng.choice(["([a-z0-9_.]+)+!", "(.*)*!", "(", ".*" * 30 + "!"]): 1}
    config |= rng.choice(
        [
            *({"r": value} for value in (0, -1, "x", None, [], 10**400, True)),
            *({"lora_alpha": value} for value in ("x", None, [], 10**400, float("nan"))),
            *({key: slow} for key in ("alpha_pattern", "rank_pattern")),
            *({"alpha_pattern": value} for value in ([1], "x", 7, {"a": []}, {"": 1})),
            *({"peft_type": ["LORA"]}, {"init_lora_weights": {}}, {"x" * 10**5: "y" * 10**5}, {}),
        ]
    )
    shapes = [(first, second)] * 3 + [
        (torch.tensor(1.0), second),
        (first, torch.ones(64, 3)),
        (torch.ones(2, 10**5), torch.ones(10**5, 2)),
        (first[:0], second[:, :0]),
    ]
    factors = dict(zip("AB", rng.choice(shapes), strict=True))
    if rng.random() < 0.2:
        factors.pop(rng.choice("AB"))
    path.mkdir()
    text = json.dumps(config)
    (path / "adapter_config.json").write_text(rng.choice([text] * 6 + [text[:-1], "[" * 50_000]))
    tensors = {f"{module}.lora_{key}.weight": each.contiguous() for key, each in factors.items()}
    save_file(tensors, path / "adapter_model.safetensors")


def header(rng: Random, canary: str, path: Path) -> None:
    """A safetensors file whose header lies."""
    huge = 10**9
    tensor = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    entries: dict[str, Any] = {"a": dict(tensor)}
    change = rng.choice(
        [
            {"shape": [huge, huge]},
            {"shape": [huge], "data_offsets": [0, 4 * huge]},
            {"shape": [-1]},
            {"data_offsets": [8, 0]},
            {"data_offsets": [0, 2**63]},
            {"dtype": "X99"},
            {"shape": [0] * 100},
            {"shape": "two"},
            {"shape": [1.5]},
            {},
        ]
    )
    entries["a"] |= change
    if rng.random() < 0.3:
        entries["__metadata__"] = rng.choice([{"wiseft": "{"}, {"wiseft": 3}, [], {"wiseft": "[]"}])
    text = json.dumps(entries).encode()
    if rng.random() < 0.2:
        text = rng.choice([b"[" * 100_000, text[:-1], text * 2, b"{}" * 3, b'{"a":' * 5000])
    size = rng.choice([len(text)] * 5 + [2**63, 2**40, 0, len(text) - 1])
    path.write_bytes(struct.pack("<Q", size) + text + bytes(8))


def own_header(rng: Random, canary: str, path: Path) -> None:
    """A theta of ours whose own header says something else, its sum made right."""
    import hashlib

    world = Path(rng.world) / THETA_0  # type: ignore[attr-defined]
    content = world.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    entries = json.loads(content[8 : 8 + size])
    own = json.loads(entries["__metadata__"]["wiseft"])
    vision = own["architecture"]["vision_cfg"]
    changes: list[Callable[[], Any]] = [
        lambda: vision.update(layers=10**9),
        lambda: vision.update(layers=[10**9] * 4),
        lambda: vision.update(width=10**7),
        lambda: vision.update(image_size=10**6),
        lambda: vision.update(layers="many"),
        lambda: own["architecture"].update(embed_dim=10**8),
        lambda: own["architecture"].update(vision_cfg=None),
        lambda: own["architecture"].update(family="os"),
        lambda: vision.update(timm_model_name="resnet50", timm_model_pretrained=True),
        lambda: own["architecture"]["text_cfg"].update(hf_model_name="nobody/evil"),
        lambda: own["architecture"]["text_cfg"].update(hf_tokenizer_name="nobody/evil"),
        lambda: own.update(stage_vevsion=own.pop("stage_version")),
        lambda: own.update(stage_version="new"),
        lambda: own.update(stage="evil"),
        lambda: own.update(class_names=None),
        lambda: own.update(class_names=["x"] * 3),
        lambda: own.update(class_names=[1, 2]),
        lambda: own.update(kind=["zero-shot"]),
        lambda: own.update(preprocessing={"size": 10**6, "mean": [0] * 3, "std": [1] * 3}),
        lambda: own.update(preprocessing={"size": 32, "mean": [0] * 3, "std": [0] * 3}),
        lambda: own.update(preprocessing=7),
        lambda: own.update(never_predicted=[10**9]),
        lambda: own.update(never_predicted="all"),
        lambda: own.update(parents=[1]),
        lambda: own.update(settings="x" * 10**6),
        lambda: own.clear(),
    ]
    rng.choice(changes)()
    text = json.dumps(own, sort_keys=True)
    if rng.random() < 0.15:
        text = rng.choice(["{", "[]", "null", "7", "[" * 5000, text[:-1], ""])
    entries["__metadata__"] |= {
        "wiseft": text,
        "wiseft_sha256": hashlib.sha256(text.encode()).hexdigest(),
    }
    new = json.dumps(entries, separators=(",", ":")).encode()
    new += b" " * (-len(new) % 8)
    path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + size :])


def expands(rng: Random, canary: str, path: Path) -> None:
    """A torch file whose small storages are tensors of very many elements, or lie out of bounds."""
    import torch

    small = torch.zeros(1)
    if rng.random() < 0.5:
        size = rng.choice([10**9, 10**11, 2**40])
        torch.save({"image": small.expand(size), "b": small}, path)
        return
    torch.save({"a": torch.arange(64.0), "b": small}, path)
    _edit(
        path,
        "data.pkl",
        lambda data: data.replace(b"K@", bytes([0x4B, rng.choice([0xFF, 0x80])]), 2),
    )


def members(rng: Random, canary: str, path: Path) -> None:
    """A zip of torch whose members are others than it says."""
    import torch

    torch.save({f"layer.{n}": torch.ones(8, 8) for n in range(4)}, path)
    change = rng.choice(["drop", "short", "name", "twice", "pickle"])
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    data = next(name for name in content if name.endswith("/data/0"))
    with zipfile.ZipFile(path, "w", rng.choice([0, 8])) as archive:
        for name, each in content.items():
            if name == data and change == "drop":
                continue
            if name.endswith("data.pkl") and change == "pickle":
                each = pickle.dumps(_payload(rng, canary), protocol=2)
            archive.writestr(
                "../../evil" if name == data and change == "name" else name,
                each[:3] if name == data and change == "short" else each,
            )
            if change == "twice" and name == data:
                archive.writestr(name + "x", each)


def damaged(rng: Random, canary: str, path: Path) -> None:
    """A good file with bits flipped, or cut."""
    world = Path(rng.world)  # type: ignore[attr-defined]
    name = rng.choice(["source/a.pt", "source/clip.safetensors", THETA_0])
    content = bytearray((world / name).read_bytes())
    if rng.random() < 0.3:
        content = content[: rng.randrange(len(content))]
    else:
        for _ in range(rng.choice([1, 5, 100])):
            # The front and the end hold what says what the file is.
            near = rng.choice([rng.randrange(min(3000, len(content))), -1 - rng.randrange(1000)])
            content[near] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def folder(rng: Random, canary: str, path: Path) -> None:
    """A folder as of the hub, whose configuration wants code, or numbers without bounds."""
    import torch
    from safetensors.torch import save_file

    configs: list[Any] = [
        {"auto_map": {"AutoModel": "evil.Model"}, "model_type": "clip"},
        {"model_type": "clip", "text_config": {"num_hidden_layers": 10**9}, "vision_config": {}},
        {"model_type": "clip", "vision_config": {"hidden_size": 10**8}, "text_config": {}},
        {"model_type": "evil", "architectures": ["CLIPModel"], "trust_remote_code": True},
        {"architecture": "vit_tiny_patch16_224", "num_classes": 10**9},
        {"architecture": "../../evil", "num_classes": 2},
        {"model_cfg": {"embed_dim": 10**9, "vision_cfg": {}, "text_cfg": {}}},
        *([], 7, "x", None, {"model_cfg": []}, {"model_type": ["clip"]}),
    ]
    path.mkdir()
    name = rng.choice(["config.json", "open_clip_config.json"])
    text = json.dumps(rng.choice(configs))
    (path / name).write_text(rng.choice([text, text, text, text[:-1], "[" * 50_000]))
    (path / "evil.py").write_text(f"open({canary + '/ran'!r}, 'w')\n")
    if rng.random() < 0.5:
        save_file({"a": torch.ones(2)}, path / "model.safetensors")
    elif rng.random() < 0.5:
        torch.save({"a": _payload(rng, canary)}, path / "pytorch_model.bin")
    else:
        index = {"weight_map": {"a": rng.choice(["../../evil", "/etc/passwd", "absent", 7])}}
        (path / "model.safetensors.index.json").write_text(json.dumps(index))


def _edit(path: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, change(data) if name.endswith(member) else data)


FORMS: list[Write] = [
    *(pickled, from_file, script_calls, header, own_header, own_header, expands, members, damaged),
    *(folder, asks, adapter),
]


def _readers(rng: Random, path: str, form: Write) -> tuple[str, ...]:
    """Return a command that reads a model, in one of the places where it may be given."""
    if form is adapter:
        return ("merge", "source/a.pt", path, "-o", "out.pt")
    pixels = json.dumps(PIXELS)
    weights = ("weights", path, "--output", "out.safetensors")
    known = ("--architecture", "source/tiny.json", "--preprocessing", pixels)
    return rng.choice(
        [
            ("merge", path, "source/b.pt", "-o", "out.pt"),
            ("merge", "source/a.pt", path, "-o", "out.pt"),
            (*weights, *known),
            weights,
            ("score", path, "datasets/pets/files/test", *known),
            ("score", path, "datasets/pets/files/test"),
            ("import", path, "--theta-0", THETA_0, "--output", "out.safetensors"),
            (
                "interpolate",
                "--theta-0",
                THETA_0,
                "--theta-1",
                path,
                "--alpha",
                "0.500",
                "--output",
                "out.safetensors",
            ),
            (
                "zeroshot",
                "--weights",
                path,
                "--dataset",
                PETS_MANIFEST,
                "--prompts",
                '["a {c}"]',
                "--theta-0",
                "out.safetensors",
            ),
        ]
    )


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Give one model to one command."""
    form = FORMS[number % len(FORMS)]
    place = ground.world.copy(f"models-{number}")
    rng.world = ground.world.folder  # type: ignore[attr-defined]
    try:
        suffix = {header: ".safetensors", own_header: ".safetensors", folder: "", adapter: ""}.get(
            form, ".pt"
        )
        path = place / f"model{suffix}"

        canary = str(ground.canary)  # of this worker, not of the process that writes the file
        made = run(lambda: form(rng, canary, path), place)
        assert made.code == 0, made.output
        asked = _readers(rng, path.name, form)
        what = f"{form.__name__}: {(form.__doc__ or '').strip()} wiseft {' '.join(asked)[:90]}"
        for left in ground.canary.iterdir():  # of the saver
            left.unlink()
        ended = run(command(*asked), place)
        if found := ground.common(what, ended):
            return found
        if ended.code and (place / "out.pt").exists():
            return Found(what, Verdict.UNCLEAR, "an error, but the output is there")
        return Found(what)
    finally:
        shutil.rmtree(place)
