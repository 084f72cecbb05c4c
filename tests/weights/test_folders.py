"""Folders of models that somebody else made: links out of them, pipes, code, and what is copied."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from huggingface_hub import hf_hub_download
from tests.weights.conftest import COMMIT

from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.adapters import files_of
from wiseft.foreign.door import open_model as read_folder
from wiseft.foreign.formats import read_checkpoint
from wiseft.foreign.model_folder import following_links
from wiseft.tool.api import merge_files

SECRET = b"-----BEGIN OPENSSH PRIVATE KEY-----"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A CLIPModel with its image processor, as transformers saves them."""
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"intermediate_size": 32, "max_position_embeddings": 20}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    vision |= {"intermediate_size": 32, "image_size": 32, "patch_size": 16}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    torch.manual_seed(0)
    transformers.CLIPModel(config).save_pretrained(tmp_path / "model")
    transformers.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    ).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "home" / ".ssh" / "id_rsa"
    path.parent.mkdir(parents=True)
    path.write_bytes(SECRET)
    return path


def nowhere(folder: Path) -> bool:
    """Whether no file below a folder, but the secret itself, holds it."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path.name for path in files if SECRET in path.read_bytes()] == ["id_rsa"]


@pytest.mark.parametrize(
    "name", ["special_tokens_map.json", "tokenizer.json", "generation_config.json", "config.json"]
)
def test_a_link_out_of_a_folder_is_not_followed(model, secret, tmp_path, capsys, name):
    (model / name).unlink(missing_ok=True)
    (model / name).symlink_to(os.path.relpath(secret, model))
    shutil.copytree(model, tmp_path / "other", symlinks=True)
    with pytest.raises(SystemExit) as left:
        main(["merge", str(model), str(tmp_path / "other"), "-o", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert left.value.code != 0
    assert f"{name} is a link out of its folder, to {secret}, and is not followed." in said
    assert "Put a copy of the file in its place; in a folder of your own," in said
    assert not (tmp_path / "out").exists()
    with pytest.raises(WiseftError, match="is a link out of its folder"):
        read_folder(model)
    assert nowhere(tmp_path)


@pytest.mark.parametrize("name", ["classes.json", "features.json", "head.safetensors"])
def test_what_names_the_head_is_no_link_out_either(model, secret, name):
    """Neither of a folder nor beside a file: what `sweep` and `score` ask, `merge` does not."""
    if name == "classes.json":
        secret.write_text('["my token"]')
    (model / name).symlink_to(secret)
    for each in (model, model / "model.safetensors"):
        for asked in ("names", "head", "features"):
            opened = read_folder(each)
            if (name, asked) in READ:
                with pytest.raises(WiseftError, match=rf"{name} is a link out of its folder"):
                    getattr(opened, asked)
            else:
                assert getattr(opened, asked) is None


READ = {("classes.json", "names"), ("features.json", "features")}
READ |= {("head.safetensors", "head"), ("head.safetensors", "features")}


def test_weights_and_adapters_are_no_links_out_either(model, secret, tmp_path):
    weights = tmp_path / "weights.safetensors"
    (model / "model.safetensors").rename(weights)
    (model / "model.safetensors").symlink_to(weights)
    with pytest.raises(WiseftError, match=r"model\.safetensors is a link out of its folder"):
        read_checkpoint(model)
    with following_links(True):
        assert read_checkpoint(model).tensors
    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "adapter_config.json").symlink_to(secret)
    (tmp_path / "lora" / "adapter_model.safetensors").symlink_to(weights)
    with pytest.raises(WiseftError, match="is a link out of its folder"):
        files_of(tmp_path / "lora")


def test_a_user_may_link_in_a_folder_of_their_own(model, tmp_path):
    shared = tmp_path / "shared.json"
    shared.write_text('{"bos_token": "<s>"}')
    (model / "special_tokens_map.json").symlink_to(shared)
    with pytest.raises(SystemExit) as left:
        main(["merge", str(model), str(model), "-o", str(tmp_path / "out"), "--follow-links"])
    assert left.value.code == 0
    copy = tmp_path / "out" / "special_tokens_map.json"
    assert copy.read_text() == shared.read_text()
    assert not copy.is_symlink()
    with pytest.raises(WiseftError, match="is a link out"):
        merge_files(model, model, "0.5", tmp_path / "again")


def test_links_within_a_folder_and_to_a_folder_are_followed(model, tmp_path):
    (model / "processor").mkdir()
    (model / "preprocessor_config.json").rename(model / "processor" / "a.json")
    (model / "preprocessor_config.json").symlink_to(Path("processor") / "a.json")
    (tmp_path / "here").symlink_to(model)
    merge_files(tmp_path / "here", model, "0.5", tmp_path / "out")
    transformers.CLIPModel.from_pretrained(tmp_path / "out")
    copy = tmp_path / "out" / "preprocessor_config.json"
    assert copy.read_bytes() == (model / "processor" / "a.json").read_bytes()
    assert not copy.is_symlink()


def test_only_what_a_library_loads_is_copied(model, secret, tmp_path):
    """Code, data and links of other names stay behind, and so does a pipe, which never ends."""
    for name in ("modeling.py", "README.md", "notes.json", "data.parquet", ".env"):
        (model / name).write_text("x")
    (model / "id.txt").symlink_to(secret)
    os.mkfifo(model / "merges.txt")
    for name in ("vocab.json", "tokenizer_config.json", "chat_template.jinja", "spiece.model"):
        (model / name).write_text("{}")
    merge_files(model, model, "0.5", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json"),
        *("vocab.json", "tokenizer_config.json", "chat_template.jinja", "spiece.model"),
    }
    assert nowhere(tmp_path)


# ---------------------------------------------------------------------------- the hub's cache


@pytest.fixture
def snapshot(hub, model, tmp_path) -> Path:
    """The model as the hub's own library has it in its cache."""
    hub.add("org/clip", {path.name: path.read_bytes() for path in model.iterdir()}, COMMIT)
    paths = [
        Path(hf_hub_download("org/clip", path.name, endpoint=hub.url)) for path in model.iterdir()
    ]
    folder = paths[0].parent
    assert (folder.parent.name, folder.name) == ("snapshots", COMMIT)
    assert all(path.is_symlink() for path in paths), "the layout that this test is about"
    return folder


def test_a_snapshot_of_the_hub_needs_no_option(snapshot, model, tmp_path):
    merge_files(snapshot, model, "0.5", tmp_path / "out")
    found = transformers.CLIPModel.from_pretrained(tmp_path / "out").state_dict()
    expected = transformers.CLIPModel.from_pretrained(model).state_dict()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert not any(path.is_symlink() for path in (tmp_path / "out").iterdir())
    read_folder(snapshot)


def test_what_looks_like_the_hubs_cache_leads_nowhere_else(snapshot, secret, tmp_path):
    """A stranger's archive of a cache, with links of its own behind those of the layout."""
    blobs, link = snapshot.parent.parent / "blobs", snapshot / "vocab.json"
    (blobs / ("a" * 40)).symlink_to(secret)
    for target in (f"../../blobs/{'a' * 40}", "../../blobs/../../../home/.ssh/id_rsa"):
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(WiseftError, match=r"vocab\.json is a link out of its folder"):
            read_checkpoint(snapshot)
    link.unlink()
    (blobs / "id_rsa").write_bytes(b"{}")  # no name that the hub gives
    link.symlink_to("../../blobs/id_rsa")
    with pytest.raises(WiseftError, match="is a link out of its folder"):
        read_checkpoint(snapshot)
    link.unlink()
    shutil.move(blobs, tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(WiseftError, match="is a link out of its folder"):
        read_checkpoint(snapshot)
