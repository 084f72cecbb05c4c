"""TorchScript archives are read as data: their tensors come out, and nothing of theirs runs."""

from __future__ import annotations

import copy
import json
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests import tiny_models as tiny
from tests.evaluate.conftest import tiny_header, tiny_tensors
from tests.weights.conftest import OPENAI_MEAN, OPENAI_STD, same
from tools.rehearsal.checkpoints import torchscript
from torch import Tensor, nn

from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.formats import read_checkpoint
from wiseft.models.towers.open_clip_models import open_clip_model
from wiseft.thetas.theta import save_theta
from wiseft.tool.api import merge_files

OPENAI = {"quick_gelu": True, "text_cfg": tiny.TEXT | {"context_length": 77}}
PREPROCESSING = {"size": 32, "mean": OPENAI_MEAN, "std": OPENAI_STD}


def rewritten(path: Path, change: Callable[[str, bytes], bytes], **how: int) -> Path:
    """Write an archive again with members changed, as `change(name, content)` says."""
    with zipfile.ZipFile(path) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", **how) as archive:
        for name, content in members:
            archive.writestr(name, change(name.partition("/")[2], content))
    return path


def with_pickle(path: Path, *changes: tuple[bytes, bytes]) -> Path:
    """Replace bytes of the pickle, each of which must be there."""

    def change(name: str, content: bytes) -> bytes:
        if name == "data.pkl":
            for old, new in changes:
                assert old in content
                content = content.replace(old, new)
        return content

    return rewritten(path, change)


def text(value: str) -> bytes:
    """Return the pickle of a text."""
    return b"X" + struct.pack("<I", len(value)) + value.encode()


# --------------------------------------------------------------------------------------- the attack


class Trojan(nn.Module):
    """The tensors of a state dict in one module, whose `__setstate__` writes a file."""

    def __init__(self, tensors: Mapping[str, Tensor], target: Path):
        super().__init__()
        self.target = str(target)
        self.kept = dict(tensors)

    def forward(self, x: Tensor) -> Tensor:
        return x

    @torch.jit.export
    def __getstate__(self) -> tuple[dict[str, Tensor], str, bool]:
        return self.kept, self.target, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[dict[str, Tensor], str, bool]) -> None:
        self.kept = state[0]
        self.target = state[1]
        self.training = state[2]
        mapped = torch.from_file(self.target, True, 16, dtype=torch.uint8)
        mapped.fill_(65)
        self.kept["mapped"] = mapped


@pytest.fixture
def trojan(tmp_path: Path) -> tuple[Path, Path]:
    """An archive that writes a file when it is loaded, and that file's name."""
    archive, target = tmp_path / "trojan.pt", tmp_path / "written"
    torch.jit.script(Trojan({"a.weight": torch.ones(2, 3)}, target)).save(str(archive))
    torch.jit.load(str(archive))
    assert target.read_bytes() == b"A" * 16  # the attack works where the module is built
    target.unlink()
    return archive, target


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 1
    return capsys.readouterr().err


def test_no_command_runs_the_code_of_an_archive(
    trojan: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, target = trojan
    folder, output = tmp_path / "data" / "one", tmp_path / "out.pt"
    folder.mkdir(parents=True)
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / "0.png")
    torch.save({"a.weight": torch.zeros(2, 3)}, tmp_path / "plain.pt")
    save_theta(tmp_path / "theta_0.safetensors", tiny_tensors(0), tiny_header())
    (tmp_path / "tiny.json").write_text(json.dumps(tiny.clip()))
    plain, theta = str(tmp_path / "plain.pt"), str(tmp_path / "theta_0.safetensors")
    built = ["--architecture", str(tmp_path / "tiny.json")]
    built += ["--preprocessing", json.dumps(PREPROCESSING)]
    for command in (
        ["merge", str(archive), plain, "--alpha", "0.5", "--output", str(output)],
        ["merge", plain, str(archive), "--alpha", "0.5", "--output", str(output)],
        ["score", str(archive), str(folder.parent), *built],
        ["weights", str(archive), "--output", str(output), *built],
        ["import", str(archive), "--theta-0", theta, "--output", str(output)],
    ):
        said = refused(command, capsys)
        assert "rebuilds Trojan by code of its own (`__setstate__`)" in said, (command, said)
        assert not target.exists() and not output.exists(), command


def test_a_hidden_setstate_is_not_run_either(trojan: tuple[Path, Path]) -> None:
    """Without the code beside it, a state that is no mapping has no tensors by name."""
    archive, target = trojan

    def hide(name: str, content: bytes) -> bytes:
        return (
            content.replace(b"__setstate__", b"__sEtstate__") if name.endswith(".py") else content
        )

    with pytest.raises(WiseftError, match="the module has no attributes by name"):
        read_checkpoint(rewritten(archive, hide))
    assert not target.exists()


@pytest.mark.parametrize(
    ("wanted", "name"),
    [(b"cos\nsystem\n", r"os\.system"), (b"c__builtin__\neval\n", r"builtins\.eval")],
)
def test_nothing_else_is_called(tmp_path: Path, capfd, wanted: bytes, name: str) -> None:
    torchscript({"a": torch.ones(2)}, tmp_path / "x.pt")
    call = wanted + text("echo ran") + b"\x85R0"
    with_pickle(tmp_path / "x.pt", (b"\x80\x02", b"\x80\x02" + call))
    with pytest.raises(WiseftError, match=f"archive that holds pickled objects of {name}"):
        read_checkpoint(tmp_path / "x.pt")
    assert "ran" not in capfd.readouterr().out


# ----------------------------------------------------------------------------------- equal tensors


@pytest.fixture(scope="module")
def clip() -> nn.Module:
    """A tiny CLIP of OpenAI's architecture, in fp16, whose towers share a tensor."""
    model = open_clip_model(tiny.clip(**copy.deepcopy(OPENAI)), seed=0).eval()
    model.ln_final.weight = model.visual.ln_post.weight
    return model.half()


@pytest.mark.parametrize("how", ["scripted", "traced"])
def test_the_tensors_of_a_clip_are_those_that_torch_finds(
    clip: nn.Module, how: str, tmp_path: Path
) -> None:
    path = tmp_path / "clip.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if how == "scripted":
            module = torch.jit.script(clip)
        else:  # traced in fp32: not every operation has a half on a CPU
            inputs = {"encode_image": torch.rand(1, 3, 32, 32)}
            inputs |= {"encode_text": torch.zeros(1, 77, dtype=torch.long)}
            module = torch.jit.trace_module(
                copy.deepcopy(clip).float(), inputs, check_trace=False
            ).half()
        module.save(str(path))
    expected = torch.jit.load(str(path)).state_dict()
    assert expected.pop("attn_mask").isinf().any()  # in no state dict of the model itself
    assert expected.keys() == clip.state_dict().keys()
    # As OpenAI's, saved where it was trained.
    with_pickle(path, (text("cpu"), text("cuda:0")))
    found = read_checkpoint(path)
    assert found.kind == "torchscript"
    assert same(found.tensors, expected) and len(found.tensors) == 50
    for name, tensor in expected.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert found.tensors[name].stride() == tensor.stride()
    assert found.tensors["visual.proj"].dtype == torch.float16
    if how == "scripted":
        first, second = (found.tensors[k] for k in ("ln_final.weight", "visual.ln_post.weight"))
        assert first.data_ptr() == second.data_ptr()


def test_a_merge_of_two_archives_interpolates_them(tmp_path: Path) -> None:
    for number in (0, 1):
        torchscript({"a.weight": torch.full((2,), number + 1.0)}, tmp_path / f"{number}.pt")
    merge_files(tmp_path / "0.pt", tmp_path / "1.pt", 0.25, tmp_path / "out.pt")
    merged = torch.load(tmp_path / "out.pt", weights_only=True)
    assert same(merged, {"a.weight": torch.full((2,), 1.25)})


class Odd(nn.Module):
    """What an archive may hold beside parameters and buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = torch.ones(3)  # no buffer: not in a state dict
        self.names = {"a": 1, "b": 2}
        self.numbers = [1.5, 2.5]
        self.flags = (True, None, "text", 2**40)
        self.device = torch.device("cpu")
        self.missing = nn.Linear(2, 2, bias=False)
        self.blocks = nn.ModuleList([nn.Linear(1, 1), nn.BatchNorm1d(1)])
        self.register_buffer("part", torch.arange(12.0).view(3, 4).t()[1:, ::2])
        self.register_buffer("nothing", torch.zeros(0, 3))
        self.register_buffer("number", torch.tensor(7))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.plain.sum() + len(self.names) + self.numbers[0] + self.flags[3]


def test_views_and_other_attributes(tmp_path: Path) -> None:
    torch.jit.script(Odd()).save(str(tmp_path / "odd.pt"))
    found = read_checkpoint(tmp_path / "odd.pt").tensors
    assert same(found, torch.jit.load(str(tmp_path / "odd.pt")).state_dict())
    assert "plain" not in found
    assert found["part"].stride() == (1, 8)


# ------------------------------------------------------------------------------- damaged or hostile


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """An archive with one tensor (2, 3) in a storage of six."""
    torchscript({"a": torch.arange(6.0).view(2, 3)}, tmp_path / "x.pt")
    return tmp_path / "x.pt"


SIZES, STRIDES = b"(K\x02K\x03t", b"(K\x03K\x01t"
MINUS_ONE = b"J\xff\xff\xff\xff"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"K\x00" + SIZES, b"K\x01" + SIZES),
        (b"K\x00" + SIZES, MINUS_ONE + SIZES),
        (b"K\x00" + SIZES, b"K\x07(K\x00K\x03t"),
        (SIZES, b"(K\x02K\x04t"),
        (SIZES, b"(G" + struct.pack(">d", 2.0) + b"K\x03t"),
        (STRIDES, b"(K\x04K\x01t"),
        (STRIDES, b"(K\x03" + MINUS_ONE + b"t"),
        (STRIDES, b"K\x03\x85"),
    ],
    ids=["offset", "before", "empty", "sizes", "float", "strides", "negative", "fewer"],
)
def test_a_tensor_that_reaches_beyond_its_storage_is_refused(
    archive: Path, old: bytes, new: bytes
) -> None:
    with pytest.raises(WiseftError, match=r"not a whole .* reaches beyond its storage of 6"):
        read_checkpoint(with_pickle(archive, (old, new)))


def test_a_storage_must_have_the_bytes_that_are_declared(archive: Path) -> None:
    with pytest.raises(WiseftError, match=r"storage 0 has 24 bytes, not 6 of torch\.float64"):
        read_checkpoint(with_pickle(archive, (b"FloatStorage", b"DoubleStorage")))
    torchscript({"a": torch.arange(6.0).view(2, 3)}, archive)
    with pytest.raises(WiseftError, match="a storage of an unknown kind"):
        read_checkpoint(with_pickle(archive, (b"FloatStorage", b"OtherStorage")))


@pytest.mark.parametrize("rows", [2**28, 2**50])
def test_a_tensor_that_repeats_what_is_stored_is_bounded(archive: Path, rows: int) -> None:
    many = b"(\x8a\x08" + struct.pack("<q", rows) + b"K\x03t"
    with pytest.raises(WiseftError, match=r"expand to [\d.]+ GB; it was made to fill the memory"):
        read_checkpoint(with_pickle(archive, (SIZES, many), (STRIDES, b"(K\x00K\x01t")))


def test_a_module_that_holds_itself_is_refused(archive: Path) -> None:
    """It is remembered before its state is set, and stands in the place of a flag."""
    remembered, flag = (b")\x81}", b")\x81qc}"), (b"trainingq\n\x88", b"trainingq\nhc")
    with pytest.raises(WiseftError, match="modules, or itself"):
        read_checkpoint(with_pickle(archive, remembered, flag))


def test_names_without_end_are_refused_at_once(archive: Path) -> None:
    """A module of 20,000 names, all of them itself: at every depth there are as many again."""
    itself = b"".join(text(f"m{number}") + b"hc" for number in range(20_000))
    changes = (b")\x81}", b")\x81qc}"), (b"trainingq\n\x88", b"trainingq\nhc" + itself)
    with pytest.raises(WiseftError, match="holds names without end"):
        read_checkpoint(with_pickle(archive, *changes))


def test_code_is_read_once_for_all_its_classes(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be long where it is compressed, and be asked for by very many classes."""
    with zipfile.ZipFile(archive) as of:
        code = next(name for name in of.namelist() if name.endswith(".py"))
    module = code.partition("/code/")[2].removesuffix(".py").replace("/", ".").encode()
    classes = b"".join(
        text(f"m{number}") + b"c%s\nC%d\n)\x81" % (module, number) for number in range(500)
    )
    path = with_pickle(archive, (b"trainingq\n\x88", b"trainingq\n\x88" + classes))
    opened: list[str] = []
    really = zipfile.ZipFile.open

    def count(self: zipfile.ZipFile, name: zipfile.ZipInfo, *rest: str) -> object:
        opened.append(name.filename)
        return really(self, name, *rest)

    monkeypatch.setattr("wiseft.foreign.formats._is_scripted", lambda path: True)
    monkeypatch.setattr(zipfile.ZipFile, "open", count)
    assert list(read_checkpoint(path).tensors) == ["a"]
    assert sum(name.endswith(".py") for name in opened) == 2  # once when opened, once when mapped


def test_tuples_that_hold_each_other_twice_are_neither_shown_nor_hashed(archive: Path) -> None:
    """Sixty of them would be a text of 2 ** 60 letters, and as many hashes."""
    nested = b")" + b"qchc\x86" * 60
    changes: list[tuple[bytes, bytes]] = [(b"K\x06tQ", nested + b"tQ")]
    changes += [(SIZES, nested), (b"trainingq\n\x88", b"trainingq\n}" + nested + b"Ns")]
    content = archive.read_bytes()
    for change in changes:
        archive.write_bytes(content)
        with pytest.raises(WiseftError, match=r"unknown kind|beyond its storage|by other keys"):
            read_checkpoint(with_pickle(archive, change))


def test_a_flipped_bit_is_found(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[content.index(torch.arange(6.0).numpy().tobytes()) + 5] ^= 1
    archive.write_bytes(content)
    with pytest.raises(WiseftError, match=r"damaged: x/data/0 in it has not the checksum"):
        read_checkpoint(archive)


def test_missing_parts_are_named(archive: Path) -> None:
    def without_code(name: str, content: bytes) -> bytes:
        return b"" if name.endswith(".py") else content

    with pytest.raises(WiseftError, match="holds no tensors"):
        read_checkpoint(rewritten(archive, without_code))
    torchscript({"a": torch.ones(2)}, archive)
    with pytest.raises(WiseftError, match=r"not a whole TorchScript archive .*exhausted"):
        read_checkpoint(with_pickle(archive, (b"bq\x0c.", b"b")))


def test_an_unchanged_copy_is_read(archive: Path) -> None:
    """Or the tests above would show nothing; a compressed one is read too."""
    copied = rewritten(archive, lambda _, content: content, compression=zipfile.ZIP_DEFLATED)
    assert torch.equal(read_checkpoint(copied).tensors["a"], torch.arange(6.0).view(2, 3))
