"""Checkpoints of other programs, compared with what their own library makes of them.

What a merge writes must be loaded by the library as the mean of the two models that it loads, and
compute what that mean computes. Where one model's configuration with the other's weights computes
something else than the other model, there is no mean. What is not so must be refused.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from tests.faults import foreign_predictions, foreign_wrappers
from tests.faults.foreign_models import FAMILIES, Family, change_config, some_changes
from tests.faults.harness import Ended, command, run
from tests.faults.verdicts import Found, Ground, Verdict

COUNTERS = ("num_batches_tracked", "position_ids", "n_averaged")
"""Of tensors that are no weights; whose they are does not matter."""
COARSE = {"float16": 2e-3, "bfloat16": 1e-2, "float8_e4m3fn": 0.07, "float8_e5m2": 0.13}
"""Half a step of these types, of a number's size."""


@dataclass(frozen=True)
class Case:
    """One merge.

    Attributes:
        what: in words.
        make: writes both checkpoints.
        ends: names of the two.
        judge: returns what is wrong with what was written, given its path; empty: nothing.
        plain: whether it must be merged.
    """

    what: str
    make: Callable[[], None]
    ends: tuple[str, str]
    judge: Callable[[Path], str]
    plain: bool = False


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Merge two checkpoints, or classify by one."""
    folder = ground.base / "bench" / f"foreign-{number}"
    folder.mkdir(parents=True)
    try:
        form = FORMS[number % len(FORMS)]
        if form is None:
            return foreign_predictions.attack(ground, rng, number // len(FORMS), folder)
        return _merge(ground, form(rng, folder), folder)
    finally:
        shutil.rmtree(folder)


def _merge(ground: Ground, case: Case, folder: Path) -> Found:
    made = run(case.make, folder)
    assert made.code == 0, made.output
    out = folder / f"out{Path(case.ends[0]).suffix}"
    ended = run(command("merge", *case.ends, "-o", out.name), folder)
    if found := ground.common(case.what, ended):
        return found
    if ended.code:
        if out.exists():
            return Found(case.what, Verdict.UNCLEAR, "an error, but the output is there")
        if case.plain:
            return Found(case.what, Verdict.UNCLEAR, f"is refused\n{ended.output[-600:]}")
        return Found(case.what)
    return judged(case.what, ended, folder, lambda: case.judge(out))


def judged(what: str, ended: Ended, folder: Path, judge: Callable[[], str]) -> Found:
    """Return the outcome of a command that ended well: what a judge in a process of its own, where
    libraries may do what they want, has against it.
    """
    verdict = folder / "verdict.json"
    process = run(lambda: _write(verdict, judge()), folder)
    assert process.code == 0 and verdict.is_file(), process.output
    why = json.loads(verdict.read_text())
    return Found(what, Verdict.SILENT, f"{why}\n{ended.output[-300:]}") if why else Found(what)


def _write(path: Path, why: str) -> None:
    path.write_text(json.dumps(why))


# --------------------------------------------------------------------------------- whole folders


def library(rng: Random, folder: Path) -> Case:
    """Two models as their library saves them, whose configurations say something else, or not."""
    name = rng.choice(list(FAMILIES))
    family = FAMILIES[name]
    whose = rng.choice(["", "a", "b", "b", "b", "ab"])
    changes = some_changes(rng, family.changes) if whose else []
    how = rng.choice(["", "", "", "bin", "bfloat16", "float16"])

    def make() -> None:
        for seed, end in enumerate("ab"):
            family.save(folder / end, seed + 1)
            _stored_as(how, folder / end, family)
            if end in whose:
                change_config(folder / end / family.config, changes)

    said = ", ".join(
        f"{key}: {value if type(value) is not object else 'absent'}" for key, value in changes
    )
    what = f"{name} {how} {f'with {said} in {whose}' if said else 'as it is'}"
    judge = partial(judge_models, family, folder, COARSE.get(how, 1e-5))
    return Case(what, make, ("a", "b"), judge, plain=not whose)


def _stored_as(how: str, folder: Path, family: Family) -> None:
    """Store weights as torch does, or in another type."""
    if not how:
        return
    import torch
    from safetensors.torch import load_file, save_file

    file = next(folder.glob("*.safetensors"))
    tensors = load_file(file)
    if how == "bin":
        file.unlink()
        pickled = file.with_suffix(".bin").name.replace("model.bin", "pytorch_model.bin")
        torch.save(tensors, folder / pickled)
        return
    dtype = getattr(torch, how)
    cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}
    save_file(cast, file, {"format": "pt"})
    if "transformers_version" in (folder / family.config).read_text():
        change_config(folder / family.config, [("dtype", how)])


def judge_models(family: Family, folder: Path, coarse: float, out: Path) -> str:
    """Return how what the library loads differs from the mean of both, empty if it does not."""
    try:
        a, b, b_by_a = (family.load(folder / name) for name in "aba"[:2] + "a")
    except Exception as error:
        return f"the library itself does not load them: {type(error).__name__}: {error}"[:400]
    states = a.state_dict(), b.state_dict()
    b_by_a.load_state_dict(states[1])
    for one, other in zip(family.compute(b, 3), family.compute(b_by_a, 3), strict=True):
        if off := _off(one, other, 1e-3):
            return f"B's weights in A's model do not compute what B computes: {off}"
    try:
        merged = family.load(out)
    except Exception as error:
        return f"the library does not load it: {type(error).__name__}: {error}"[:400]
    mean = {name: _mean(value, states[1][name]) for name, value in states[0].items()}
    for name, value in merged.state_dict().items():
        if off := _off(value, mean[name], coarse):
            return f"{name} is not the mean: {off}"
    a.load_state_dict(mean)
    for one, other in zip(family.compute(a, 4), family.compute(merged, 4), strict=True):
        if off := _off(one, other, max(1e-3, 10 * coarse)):
            return f"it does not compute what the mean computes: {off}"
    return ""


def _mean(one: Any, other: Any) -> Any:
    import torch

    if not (one.is_floating_point() or one.is_complex()):
        return one
    wide = torch.complex128 if one.is_complex() else torch.float64
    return ((one.to(wide) + other.to(wide)) / 2).to(one.dtype)


def _off(one: Any, other: Any, coarse: float) -> str:
    """Return by how much two tensors differ, more than the type's own step; empty: by nothing."""
    import torch

    if one.shape != other.shape:
        return f"shapes {tuple(one.shape)} and {tuple(other.shape)}"
    wide = torch.complex128 if one.is_complex() or other.is_complex() else torch.float64
    one, other = one.detach().to(wide), other.detach().to(wide)
    if not one.numel():
        return ""
    largest = float(other.abs().max())
    difference = (one - other).abs()
    allowed = coarse * (other.abs() + 0.1 * largest) + 1e-7
    if bool((difference <= allowed).all()):
        return ""
    return f"by {float(difference.max()):.3g}, the largest number is {largest:.3g}"


# --------------------------------------------------------------------------------- single files


def wrapper(rng: Random, folder: Path) -> Case:
    """Two files of a training program."""
    form = rng.choice(foreign_wrappers.WRAPPERS)
    key = rng.random()

    def make() -> None:
        for number, end in enumerate("ab"):
            own = Random(key)  # both ends are drawn alike
            content, _ = form(own, number)
            foreign_wrappers.write(own, content, folder / f"{end}.pt")

    def judge(out: Path) -> str:
        where = form(Random(key), 0)[1]
        return judge_files(*(folder / name for name in ("a.pt", "b.pt")), out, where)

    plain = form is foreign_wrappers.plain
    return Case(f"{form.__name__}: {form.__doc__}", make, ("a.pt", "b.pt"), judge, plain)


def judge_files(a: Path, b: Path, out: Path, where: list[str]) -> str:
    """Return how a file's weights differ from the mean of two files', as torch reads all three.

    Args:
        where: keys under which weights lie. A key may be missing in the result, which then loads
            nowhere, but not all of them.
    """
    import torch

    one, other, found = (torch.load(path, weights_only=True) for path in (a, b, out))
    present = [key for key in where if key == foreign_wrappers.TOP or key in found]
    if not present:
        return f"has none of {where}"
    for key in present:
        parts = [dict(_tensors(each[key] if key else each)) for each in (one, other, found)]
        if off := _judge_weights(*parts):
            return f"{key or 'the top'}: {off}"
    return ""


def _judge_weights(a: dict[str, Any], b: dict[str, Any], found: dict[str, Any]) -> str:
    scales = {n for n in a if any(n != m and n.startswith(m) and _whole(a[m]) for m in a)}
    for name, value in a.items():
        if name not in found:
            return f"{name} is missing"
        if name.endswith(COUNTERS) or name in scales:
            continue
        parts, coarse = [value, b[name], found[name]], COARSE.get(str(value.dtype)[6:], 1e-5)
        scale = next((each for each in scales if each.startswith(name)), None)
        if scale is not None:
            parts = [p.float() * w[scale] for p, w in zip(parts, (a, b, found), strict=True)]
            coarse = 0.1
        elif _whole(value) and not _same(value, b[name]):
            return f"{name}, of whole numbers, differs between both"
        parts = [each.to_dense() for each in parts]
        if off := _off(parts[2], _mean(*parts[:2]), coarse):
            return f"{name} is not the mean: {off}"
    return ""


def _same(one: Any, other: Any) -> bool:
    return bool((one == other).all())


def _whole(tensor: Any) -> bool:
    quantised = str(tensor.dtype).startswith("torch.float8")
    return quantised or not (tensor.is_floating_point() or tensor.is_complex())


def _tensors(content: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all tensors in nested objects and lists, by their path."""
    import torch

    if isinstance(content, torch.Tensor):
        yield before, content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from _tensors(value, f"{before}.{key}" if before else str(key))
    elif isinstance(content, list | tuple):
        for place, value in enumerate(content):
            yield from _tensors(value, f"{before}[{place}]")


def doubtful_bytes(form: Callable[[Random, Path], None], rng: Random, folder: Path) -> Case:
    """A file that torch reads with what lies in memory, or for ever."""

    def judge(out: Path) -> str:
        if form is not foreign_wrappers.storage_that_grows:
            return "is merged, but not all of it stands in the file"
        try:
            return judge_files(*[folder / "a.pt"] * 2, out, [foreign_wrappers.TOP])
        except RuntimeError as error:
            return f"torch itself does not load it: {error}"

    what = f"{form.__name__}: {form.__doc__}"
    return Case(what, lambda: form(rng, folder / "a.pt"), ("a.pt", "a.pt"), judge)


def shards(rng: Random, folder: Path) -> Case:
    """Folders whose weights lie in two files, with an index that lies."""
    family = FAMILIES[rng.choice(["ViT", "CLIPModel", "DINOv2", "Llama"])]
    key = rng.random()

    def make() -> None:
        for seed, end in enumerate("ab"):
            family.save(folder / end, seed + 1)
            foreign_wrappers.shards(Random(key), folder / end)

    judge = partial(judge_models, family, folder, 1e-5)
    return Case("shards with an index that lies, or a part missing", make, ("a", "b"), judge)


def quantised_folder(rng: Random, folder: Path) -> Case:
    """Folders of transformers that were quantised: whole numbers, and a word of it or none."""
    family = FAMILIES[rng.choice(["ViT", "Llama"])]
    method = rng.choice(["bitsandbytes", "gptq", "awq", "fp8", ""])
    suffix = rng.choice([".weight_scale", ".scales", ".SCB", "_scale_inv"])

    def make() -> None:
        import torch
        from safetensors.torch import load_file, save_file

        for seed, end in enumerate("ab"):
            family.save(folder / end, seed + 1)
            tensors = load_file(folder / end / "model.safetensors")
            for name in [each for each in tensors if tensors[each].ndim == 2]:
                scale = tensors[name].abs().max() / 100
                whole = torch.float8_e4m3fn if method == "fp8" else torch.int8
                tensors[name] = (tensors[name] / scale).round().to(whole)
                tensors[name.removesuffix(".weight") + suffix] = scale.reshape(1)
            save_file(tensors, folder / end / "model.safetensors", {"format": "pt"})
            if method:
                about = ("quantization_config", {"quant_method": method, "bits": 8})
                change_config(folder / end / "config.json", [about])

    what = f"weights of whole numbers with scales, quantisation {method or 'not mentioned'}"
    return Case(what, make, ("a", "b"), lambda out: "is merged, as if its numbers were weights")


def other_pixels(rng: Random, folder: Path) -> Case:
    """Two models of timm or open_clip that want their images prepared in two ways."""
    name, key = rng.choice([("timm", "pretrained_cfg"), ("open_clip", "preprocess_cfg")])
    family, ways = FAMILIES[name], [("mean", [0.1] * 3), ("std", [0.7] * 3)]
    changes = [(f"{key}.{k}", v) for k, v in rng.choice([[each] for each in ways] + [ways])]

    def make() -> None:
        for seed, end in enumerate("ab"):
            family.save(folder / end, seed + 1)
        change_config(folder / rng.choice("ab") / family.config, changes)

    what = f"{name} with {', '.join(key for key, _ in changes)} of its own in one of both"
    return Case(what, make, ("a", "b"), lambda out: "is merged, as if both saw the same pixels")


def lone_tensor(rng: Random, folder: Path) -> Case:
    """Two files of which one alone has a tensor that no mean is taken of."""
    one = rng.choice("ab")
    dtype = rng.choice(["int64", "int32", "bool", "uint8", "complex64"])

    def make() -> None:
        import torch
        from safetensors.torch import save_file

        for end in "ab":
            tensors = {"head.weight": torch.randn(4, 4)}
            if end == one:
                tensors["experts.places"] = torch.ones(4).to(getattr(torch, dtype))
            save_file(tensors, folder / f"{end}.safetensors")

    ends = ("a.safetensors", "b.safetensors")
    what = f"a tensor of {dtype} in {one} alone"
    return Case(what, make, ends, lambda out: "is merged, with the tensor or without it")


_BYTES = [partial(doubtful_bytes, form) for form in foreign_wrappers.BYTES]
FORMS: list[Callable[[Random, Path], Case] | None] = [
    *(library, None, wrapper, None, library, wrapper, None, _BYTES[0], library, wrapper, None),
    *(_BYTES[1], shards, library, _BYTES[2], quantised_folder, None, _BYTES[3]),
    *(other_pixels, lone_tensor),
]
"""None: not a merge but a classification."""
