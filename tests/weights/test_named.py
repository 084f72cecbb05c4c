"""Models by name, from a hub on this machine, as their own libraries save them for it."""

import io
import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import open_clip
import pytest
import safetensors.torch
import timm
import torch
import transformers
from huggingface_hub.utils import _shared_blobs
from open_clip.push_to_hf_hub import save_for_hf
from tests import tiny_models as tiny
from tests.sweep.conftest import CLASSES, clip_config, save_clip_folder, write_images
from tests.weights.conftest import OPENAI_STD
from tests.weights.test_fetch import tokenizer_files
from tools.rehearsal.checkpoints import weights_of

import wiseft
from wiseft.base import progress
from wiseft.base.io import sha256_file
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.foreign.door import open_model
from wiseft.foreign.named import local_path, origin
from wiseft.tool.record import read_record

ZERO, FINE = "a" * 40, "b" * 40
CLIP = "me/clip"
MEAN = (0.1, 0.2, 0.3)


def files_in(folder: Path) -> dict[str, bytes]:
    there = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in there}


def clip_folder(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = transformers.CLIPModel(clip_config())
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.normal_(std=0.3)
    save_clip_folder(model, folder)
    return folder


def open_clip_folder(folder: Path, seed: int) -> Path:
    """As `open_clip.push_to_hf_hub` writes it."""
    config = {key: value for key, value in tiny.clip().items() if key != "tokenizer"}
    model = open_clip.CLIP(**config)
    model.load_state_dict(weights_of(tiny.clip(), seed))
    open_clip.model.set_model_preprocess_cfg(model, {"mean": MEAN, "std": OPENAI_STD})
    tokenizer = SimpleNamespace(save_pretrained=lambda folder: None)  # CLIP's comes with open_clip
    save_for_hf(model, tokenizer, config, folder)
    return folder


def timm_folder(folder: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    model = timm.create_model("test_vit", num_classes=len(CLASSES))
    about = {"label_names": CLASSES, "pretrained_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    timm.models.save_for_hf(model, folder, model_config=about, safe_serialization=True)
    return folder


FOLDERS = {"transformers": clip_folder, "open_clip": open_clip_folder, "timm": timm_folder}


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / "photos", 6, 1, CLASSES)


@pytest.fixture
def pair(hub, tmp_path):
    """A zero-shot CLIPModel at a revision of a repository, and a fine-tuned one at another."""
    z, f = clip_folder(tmp_path / "z", 1), clip_folder(tmp_path / "f", 2)
    hub.add(CLIP, files_in(f) | {"README.md": b"#", "modeling_clip.py": b"raise SystemExit"}, FINE)
    hub.branch(CLIP, "zero-shot", files_in(z), ZERO)
    return z, f


def command(*arguments) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([str(each) for each in arguments])


def score(capsys, *arguments) -> str:
    capsys.readouterr()
    command("score", *arguments, "--json", "--device", "cpu")
    return capsys.readouterr().out


def lines(capsys) -> list[str]:
    return capsys.readouterr().err.splitlines()


# ------------------------------------------------------------------------------ as by their paths


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_name_gives_what_its_folder_gives(kind, hub, photos, tmp_path, capsys):
    z, f = (FOLDERS[kind](tmp_path / f"{seed}", seed) for seed in (1, 2))
    hub.add("me/model", files_in(f), FINE)
    hub.branch("me/model", "zero-shot", files_in(z), ZERO)
    names = "hf-hub:me/model@zero-shot", "hf-hub:me/model"
    for place, ends in (("named", names), ("plain", (z, f))):
        command("merge", *ends, "-o", tmp_path / place, "--alpha", "0.3")
    assert files_in(tmp_path / "named") == files_in(tmp_path / "plain")
    assert score(capsys, names[1], photos) == score(capsys, f, photos)
    images = sorted(photos.rglob("*.png"))
    loaded = [wiseft.load(each, classes=CLASSES).logits(images) for each in (names[0], z)]
    assert torch.equal(*loaded)


def test_a_sweep_by_names_records_repositories_commits_and_sums(pair, hub, photos, tmp_path):
    z, f = pair
    shift = write_images(tmp_path / "sketches", 5, 2, CLASSES)
    how = {"alphas": [0, 0.5, 1], "alpha": 0.5}
    ends = f"hf-hub:{CLIP}@zero-shot", f"hf-hub:{CLIP}"
    named, plain = (
        wiseft.sweep(*both, photos, [shift], tmp_path / out, **how)
        for both, out in ((ends, "named"), ((z, f), "plain"))
    )
    assert files_in(named.model_path) == files_in(plain.model_path)
    assert named.table.equals(plain.table)
    for end, name, commit, folder in zip(
        (named.record.zero_shot, named.record.fine_tuned), ends, (ZERO, FINE), pair, strict=True
    ):
        assert (end.path, end.base_model, end.revision) == (name, CLIP, commit)
        assert end.sha256 == {"model.safetensors": sha256_file(folder / "model.safetensors")}
    assert plain.record.zero_shot.revision is None
    command("card", tmp_path / "named", "--license", "mit")
    card = (named.model_path / "README.md").read_text()
    assert "base_model:\n- me/clip\n" in card
    sums = sha256_file(f / "model.safetensors")
    assert f"| {ends[1]} at {FINE}: model.safetensors | {sums} |" in card
    assert str(tmp_path) not in card


def test_a_sweep_with_an_evaluation_of_ones_own_keeps_the_names(pair, hub, tmp_path):
    program = tmp_path / "my_eval.py"
    lines = (
        "{'set': name, 'id': n, 'score': n % 3 // 2} for name in ('v', 't', 'o') for n in range(9)"
    )
    program.write_text(f"import json\nfor line in [{lines}]:\n    print(json.dumps(line))\n")
    ends = f"hf-hub:{CLIP}@zero-shot", f"hf-hub:{CLIP}"
    how = ["--evaluate", f"{sys.executable} {program} {{model}}", "--held-out", "v"]
    sets = ["--reference", "t", "--shift", "o", "--alphas", "0.5"]
    command("sweep", *ends, *how, *sets, "-o", tmp_path / "out")
    record = read_record(tmp_path / "out")
    for end, name, commit in zip(
        (record.zero_shot, record.fine_tuned), ends, (ZERO, FINE), strict=True
    ):
        assert (end.path, end.base_model, end.revision) == (name, CLIP, commit)
    command("card", tmp_path / "out", "--license", "mit")
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert f"| {ends[1]} at {FINE}: model.safetensors |" in card
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<title>clip, from zero-shot to fine-tuned</title>" in page
    assert "assets/wiseft" not in card + page and str(tmp_path) not in card + page


def test_a_pushed_sweep_is_a_name(pair, hub, photos, tmp_path, capsys):
    """With the head and the names of classes that lie beside the weights."""
    shift = write_images(tmp_path / "sketches", 5, 2, CLASSES)
    found = wiseft.sweep(*pair, photos, [shift], tmp_path / "out", alphas=[0.5], alpha=0.5)
    hub.add("me/robust", files_in(found.model_path))
    assert {"head.safetensors", "classes.json"} <= hub.files["me/robust"].keys()
    assert score(capsys, "hf-hub:me/robust", photos) == score(capsys, found.model_path, photos)


def test_an_adapter_is_a_name(pair, hub, tmp_path):
    name = "vision_model.encoder.layers.0.mlp.fc1"
    key = f"base_model.model.{name}"
    shapes = {f"{key}.lora_A.weight": (2, 16), f"{key}.lora_B.weight": (64, 2)}
    folder = tmp_path / "lora"
    folder.mkdir()
    tensors = {each: torch.randn(shape) for each, shape in shapes.items()}
    safetensors.torch.save_file(tensors, folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["fc1"]}
    (folder / "adapter_config.json").write_text(json.dumps(about))
    hub.add("me/lora", files_in(folder))
    wiseft.merge(f"hf-hub:{CLIP}", "hf-hub:me/lora", tmp_path / "named", 0.5)
    wiseft.merge(pair[1], folder, tmp_path / "plain", 0.5)
    assert files_in(tmp_path / "named") == files_in(tmp_path / "plain")
    assert files_in(tmp_path / "named") != files_in(pair[1])


def test_a_theta_an_import_and_an_export_take_names_too(pair, hub, tmp_path):
    merged = tmp_path / "theta.safetensors"
    wiseft.load(pair[1], classes=CLASSES).save(merged)
    hub.add("me/theta", {"theta.safetensors": merged.read_bytes()})
    loaded = wiseft.load("hf-hub:me/theta")
    assert loaded.class_names == CLASSES
    for place, like in (("named", f"hf-hub:{CLIP}@zero-shot"), ("plain", pair[0])):
        command("export", merged, "--like", like, "-o", tmp_path / place)
    assert files_in(tmp_path / "named") == files_in(tmp_path / "plain")
    output = tmp_path / "imported.safetensors"
    command("import", f"hf-hub:{CLIP}", "--theta-0", merged, "--output", output)
    assert torch.equal(
        wiseft.load(output).theta.tensors["image.proj"], loaded.theta.tensors["image.proj"]
    )


# ---------------------------------------------------------------------------------- names of lists


@pytest.fixture
def tagged(hub, register, tmp_path):
    """A tag, and what open_clip saves of its model; the repository has other weights, too."""
    register("Tiny", tiny.clip(), hf_hub="me/tiny/", mean=MEAN)
    folder = open_clip_folder(tmp_path / "oc", 3)
    hub.add("me/tiny", files_in(folder) | {"open_clip_config.json": b"not asked for"}, FINE)
    return folder


def test_a_tag_of_open_clip_is_a_folder_of_open_clip(tagged, hub, photos, tmp_path, capsys, said):
    assert score(capsys, "Tiny/tag", photos) == score(capsys, tagged, photos)
    torch.save(weights_of(tiny.clip(), 4), tmp_path / "f.pt")
    for name, end in (("named", "Tiny/tag"), ("plain", tagged)):
        command("merge", end, tmp_path / "f.pt", "-o", tmp_path / name)
    named, plain = tmp_path / "named", tmp_path / "plain"
    weights = "open_clip_model.safetensors"
    assert (named / weights).read_bytes() == (plain / weights).read_bytes()
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{named}")
    assert torch.equal(
        model.visual.proj, safetensors.torch.load_file(named / weights)["visual.proj"]
    )
    assert list(preprocess.transforms[-1].mean) == list(MEAN)
    assert not any(path.endswith(".bin") for path in hub.asked)
    assert any(f"Tiny/tag: {weights} of me/tiny, revision {FINE}" == line for line in said)


def test_openais_tags_get_quick_gelu(tagged, register, said):
    register("Tiny", tiny.clip(), hf_hub="me/tiny/", quick_gelu=True)
    assert open_model(local_path("Tiny/tag")).architecture["quick_gelu"] is True
    assert any("QuickGELU, so Tiny is taken as Tiny-quickgelu" in line for line in said)


def test_the_tokenizer_of_a_tag_is_brought_from_where_the_architecture_says(hub, register):
    architecture = tiny.siglip()
    architecture["text_cfg"]["hf_tokenizer_name"] = "some/name"
    register("Tiny", architecture, hf_hub="me/tiny/")
    content = safetensors.torch.save(weights_of(tiny.siglip()))
    hub.add("me/tiny", {"open_clip_model.safetensors": content})
    hub.add("some/name", tokenizer_files())
    packed = open_model(local_path("Tiny/tag")).architecture["tokenizer"]["files"]
    assert packed == tiny.siglip()["tokenizer"]["files"]


def test_a_tag_whose_text_tower_is_of_transformers_says_what_brings_it():
    with pytest.raises(WiseftError, match=r"run `wiseft weights roberta-ViT-B-32/laion2b_s12b_b32"):
        local_path("roberta-ViT-B-32/laion2b_s12b_b32k")


def test_a_model_of_timm_is_that_of_timm_even_beside_one_of_open_clip(
    hub, photos, tmp_path, capsys
):
    folder, other = timm_folder(tmp_path / "t", 1), open_clip_folder(tmp_path / "oc", 1)
    hub.add("timm/test_vit.r160_in1k", files_in(folder) | files_in(other))
    named = score(capsys, "timm:test_vit.r160_in1k", photos)
    assert named == score(capsys, folder, photos) == score(capsys, "timm:test_vit", photos)
    assert not any("open_clip_model" in path for path in hub.asked)
    assert "text_projection" in open_model(local_path("hf-hub:timm/test_vit.r160_in1k")).tensors


def test_every_tag_of_open_clip_and_every_model_of_timm_has_a_repository():
    from wiseft.foreign.named import open_clip_tag, timm_repository

    for name, tag in open_clip.list_pretrained():
        assert "/" in open_clip_tag(name, tag)[1]["hf_hub"]
    for name in ("vit_base_patch16_clip_224.openai", "vit_base_patch16_224", "resnet50.a1_in1k"):
        assert timm_repository(name).startswith(f"timm/{name}")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ViT-B-32/opnai", r"no weights ViT-B-32/opnai; ViT-B-32 has: ViT-B-32/openai, .* more"),
        ("ViT-B-33/openai", r"ViT-B-33/openai is no file, no folder .*; near: ViT-B-32"),
        (
            "vit_base_patch16_224.augreg_in21k",
            r"which is .*timm:MODEL.*; near: vit_base_p",
        ),
        ("openai/clip-vit-base-patch32", r"and no name, which is hf-hub:OWNER/NAME, "),
        ("timm:vit_bse_patch16_224", r"timm has no weights vit_bse_.*; near: vit_base_patch16_224"),
        (
            "timm:vit_base_patch16_224.augreg",
            r"; near: vit_base_patch16_224\.aug",
        ),
        ("hf-hub:nothing", r"hf-hub:nothing: expected hf-hub:OWNER/NAME, perhaps with /FILE and @"),
        ("hf-hub:no--body/a..b", r"is no name of a repository"),
        ("hf-hub:nobody/nothing", r"the hub has no repository nobody/nothing, or it is private"),
        (f"hf-hub:{CLIP}@later", r"me/clip has no revision later"),
        (
            f"hf-hub:{CLIP}/model.safetensor",
            r"has no model\.safetensor; near: model\.safetensors",
        ),
    ],
)
def test_a_mistyped_name_is_answered_with_the_nearest(pair, name, message, capsys):
    with pytest.raises(WiseftError, match=message):
        local_path(name)
    with pytest.raises(SystemExit):
        main(["score", name, "."])
    assert len(lines(capsys)) == 1


def test_what_is_there_is_a_path(pair, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ViT-B-32/openai", f"hf-hub:{CLIP}", "timm:test_vit"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).symlink_to(pair[0])
        assert local_path(name) == Path(name)
        assert local_path(Path(name)) == Path(name)
        assert origin(Path(name)) == {}
    for missing in ("lost.pt", "some/lost.safetensors", "/nowhere/ViT-B-32/openai", "../lost"):
        assert local_path(missing) == Path(missing)


# ---------------------------------------------------------------------------- which files are meant


def test_only_what_a_model_is_read_from_is_fetched(hub, pair, tmp_path):
    others = ("pytorch_model.bin", "flax_model.msgpack", "tf_model.h5", "optimizer.pt", "run.py")
    more = dict.fromkeys((*others, "onnx/model.onnx", "configuration_clip.py"), b"never")
    config = json.loads((pair[1] / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "run.CLIP"}
    own = {"config.json": json.dumps(config).encode()}
    hub.add(CLIP, files_in(pair[1]) | more | own, FINE)
    path = local_path(f"hf-hub:{CLIP}")
    there = {each.name for each in path.iterdir()}
    expected = {"config.json", "preprocessor_config.json", "model.safetensors", "origin.json"}
    assert there == expected
    asked = {Path(each).name for each in hub.asked if "/resolve/" in each}
    assert asked == expected - {"origin.json"}


def test_shards_are_fetched_and_the_pickle_beside_them_is_not(hub, tmp_path):
    torch.manual_seed(1)
    model = transformers.CLIPModel(clip_config())
    model.save_pretrained(tmp_path / "s", max_shard_size="1MB")
    files = files_in(tmp_path / "s")
    assert sum("-of-" in name for name in files) > 1
    hub.add(CLIP, files | {"pytorch_model.bin": b"never"})
    opened = open_model(local_path(f"hf-hub:{CLIP}"))
    assert opened.tensors.keys() == model.state_dict().keys()
    assert "me/clip/resolve/" + "a" * 40 + "/pytorch_model.bin" not in hub.asked
    assert set(opened.checkpoint.files) == {name for name in files if "-of-" in name}


def test_a_torch_file_is_read_where_there_is_no_other(hub, pair):
    content = io.BytesIO()
    state = safetensors.torch.load((pair[1] / "model.safetensors").read_bytes())
    torch.save(state, content)
    hub.add(CLIP, {"config.json": (pair[1] / "config.json").read_bytes()})
    hub.files[CLIP]["pytorch_model.bin"] = content.getvalue()
    assert open_model(local_path(f"hf-hub:{CLIP}")).tensors.keys() == state.keys()
    torch.save(torch.nn.Linear(2, 2), content := io.BytesIO())
    hub.add("me/code", hub.files[CLIP] | {"pytorch_model.bin": content.getvalue()}, FINE)
    with pytest.raises(WiseftError, match=r"pickled objects of torch\.nn\.modules\.linear"):
        open_model(local_path("hf-hub:me/code"))


def test_a_single_file_and_one_of_several(hub, tmp_path):
    tensors = weights_of(tiny.clip(), 1)
    safe = safetensors.torch.save({k: v.contiguous() for k, v in tensors.items()})
    torch.save(tensors, content := io.BytesIO())
    hub.add("me/one", {"mine.safetensors": safe, "mine.pt": b"never", "README.md": b"#"})
    path = local_path("hf-hub:me/one")
    assert path.name == "mine.safetensors"
    assert not any(each.endswith("mine.pt") for each in hub.asked)
    hub.add("me/two", {"z.pt": content.getvalue(), "f.safetensors": safe, "run/z.pt": b"other"})
    with pytest.raises(WiseftError, match=r"name hf-hub:me/two/FILE of: f\.safe.*, z\.pt$"):
        local_path("hf-hub:me/two")
    for name in ("z.pt", "run/z.pt"):
        path = local_path(f"hf-hub:me/two/{name}@main")
        assert (path.name, path.read_bytes()) == ("z.pt", hub.files["me/two"][name])
    with pytest.raises(WiseftError, match=r"not say which file is the model; .* of: README\.md$"):
        hub.add("me/none", {"README.md": b""})
        local_path("hf-hub:me/none")


def test_a_folder_of_a_repository(hub, pair):
    hub.add("me/run", {f"checkpoint-500/{n}": each for n, each in files_in(pair[0]).items()})
    path = local_path("hf-hub:me/run/checkpoint-500")
    assert {n: each for n, each in files_in(path).items() if n != "origin.json"} == files_in(
        pair[0]
    )
    with pytest.raises(WiseftError, match=r"/FILE of: checkpoint-500/config\.json, "):
        local_path("hf-hub:me/run")


def test_other_files_in_the_cache_change_nothing(hub, pair, tmp_path):
    """What another program fetched of the same repository, even a form that goes first."""
    hub.add(CLIP, files_in(pair[0]) | {"pytorch_model.bin": b"x"}, FINE)
    before = local_path(f"hf-hub:{CLIP}")
    huggingface_hub.hf_hub_download(CLIP, "pytorch_model.bin", endpoint=hub.url)
    assert local_path(f"hf-hub:{CLIP}") == before
    assert open_model(local_path(f"hf-hub:{CLIP}")).checkpoint.files.keys() == {"model.safetensors"}


# ------------------------------------------------------------------------------ cache and network


def test_what_is_cached_is_not_fetched_again(hub, pair):
    local_path(f"hf-hub:{CLIP}")
    hub.asked.clear()
    assert origin(local_path(f"hf-hub:{CLIP}")) == {"repository": CLIP, "revision": FINE}
    assert hub.asked == [f"api/models/{CLIP}/revision/main"]
    hub.asked.clear()
    local_path(f"hf-hub:{CLIP}@{FINE}")
    assert hub.asked == [], "a commit needs no hub"


def without(hub, how, monkeypatch):
    if how == "offline":
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")


@pytest.mark.parametrize("how", ["offline", "no network"])
def test_without_the_hub_its_cache_serves(hub, pair, how, monkeypatch, capsys, photos):
    before = score(capsys, f"hf-hub:{CLIP}", photos)
    without(hub, how, monkeypatch)
    hub.asked.clear()
    assert score(capsys, f"hf-hub:{CLIP}", photos) == before
    assert score(capsys, f"hf-hub:{CLIP}@{FINE}", photos) == before
    assert hub.asked == []


@pytest.mark.parametrize("how", ["offline", "no network"])
def test_without_the_hub_and_the_file_one_line_says_what_to_do(
    hub, pair, how, monkeypatch, capsys, photos
):
    names = {f"hf-hub:{CLIP}": ""}
    if how == "offline":  # else the library tries for half a minute to get what alone is missing
        path = local_path(f"hf-hub:{CLIP}@zero-shot")
        (path / "model.safetensors").resolve().unlink()
        names |= {f"hf-hub:{CLIP}@zero-shot": f" --revision {ZERO}"}
    without(hub, how, monkeypatch)
    for name, at in names.items():
        with pytest.raises(SystemExit):
            main(["score", name, str(photos)])
        (line,) = lines(capsys)
        assert line.startswith(f"error: {CLIP} cannot be fetched (")
        assert ("HF_HUB_OFFLINE is set" in line) == (how == "offline")
        assert f"on a machine with a network run `hf download {CLIP}{at}`" in line


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"{}", b'{"sha": 1}', b'[{"type": "file"}]'])
def test_an_answer_that_is_no_hubs_is_one_line(hub, pair, answer):
    hub.lists = answer
    with pytest.raises(WiseftError, match=r"^me/clip cannot be fetched \([^\n]*$"):
        local_path(f"hf-hub:{CLIP}")


def test_a_cache_of_another_program_serves_and_it_is_said(hub, pair, monkeypatch, said):
    for name in files_in(pair[1]):
        huggingface_hub.hf_hub_download(CLIP, name, endpoint=hub.url)
    without(hub, "offline", monkeypatch)
    path = local_path(f"hf-hub:{CLIP}")
    assert origin(path)["revision"] == FINE
    assert said[0].endswith("taken as it lies in the hub's cache, which may lack files of it")


def test_a_store_for_all_repositories_is_followed(hub, pair, tmp_path):
    """The library keeps files from Xet once for a whole cache, and links to them."""
    local_path(f"hf-hub:{CLIP}")
    cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
    snapshot = cache / "models--me--clip" / "snapshots" / FINE
    blob = (snapshot / "model.safetensors").readlink().name
    assert _shared_blobs.publish_blob_to_shared_store(
        blob_path=str(snapshot.parents[1] / "blobs" / blob),
        xet_hash="d" * 64,
        cache_dir=str(cache),
        expected_size=(snapshot / "model.safetensors").stat().st_size,
    )
    assert (snapshot.parents[1] / "blobs" / blob).is_symlink()
    expected = safetensors.torch.load_file(pair[1] / "model.safetensors")
    for where in (snapshot, f"hf-hub:{CLIP}"):
        assert open_model(local_path(where)).tensors.keys() == expected.keys()


def test_a_killed_download_goes_on_with_what_is_missing(hub, tmp_path, fork, wait):
    torch.manual_seed(1)
    transformers.CLIPModel(clip_config()).save_pretrained(tmp_path / "s", max_shard_size="1MB")
    hub.add(CLIP, files := files_in(tmp_path / "s"))
    first, *_, last = sorted(name for name in files if "-of-" in name)
    hub.slow = last
    process = fork(lambda: local_path(f"hf-hub:{CLIP}"))
    while not any(each.endswith(last) for each in hub.asked):
        time.sleep(0.05)
    time.sleep(0.2)
    os.kill(process, signal.SIGKILL)
    assert wait(process) == -signal.SIGKILL
    assert not (tmp_path / "assets").exists()
    hub.asked.clear()
    hub.slow = ""
    opened = open_model(local_path(f"hf-hub:{CLIP}"))
    assert any(each.endswith(last) for each in hub.asked)
    assert not any(each.endswith(first) for each in hub.asked)
    content = {n: (opened.path / n).read_bytes() for n in files if n != "generation_config.json"}
    assert content == {n: files[n] for n in content}


def test_a_broken_connection_is_resumed(hub, pair, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    content = (pair[1] / "model.safetensors").read_bytes()
    hub.cut["model.safetensors"] = 2**20
    path = local_path(f"hf-hub:{CLIP}")
    assert (path / "model.safetensors").read_bytes() == content
    assert hub.ranges == [f"bytes={2**20}-"]


def test_progress_is_lines_where_there_is_no_terminal(hub, pair, monkeypatch, said):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    bar = progress.Meter(desc="model.safetensors", total=8_000_000, unit="B", unit_scale=True)
    bar.delay = 0.0
    bar.update(2_000_000)
    assert said[-1].startswith("model.safetensors: 2.00M of 8.00MB, ")
    bar.close()
    before = len(said)
    local_path(f"hf-hub:{CLIP}")
    assert said[before:] == [f"hf-hub:{CLIP}: model.safetensors of {CLIP}, revision {FINE}"]


def test_nothing_is_shown_where_nobody_listens(hub, pair, monkeypatch, capsys):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    local_path(f"hf-hub:{CLIP}")
    assert capsys.readouterr() == ("", "")
