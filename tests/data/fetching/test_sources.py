"""From an entry to a prepared dataset, over a real server; and what a user is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.data.fetching.http_server import Fault
from tests.data.project import entry, pets, pinned, tar, write_project

from wiseft.base.io import read_json
from wiseft.cli import main
from wiseft.images.manifest import open_manifest
from wiseft.images.store import open_split
from wiseft.study.config import Catalogue
from wiseft.study.data.fetching.entry_files import mirror_variable
from wiseft.thetas.preprocessing import Transform

ARCHIVE = tar(pets())


def run(capsys, *arguments) -> tuple[int, str, str]:
    try:
        main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as left:
        code = left.code or 0
    return code, *capsys.readouterr()


def make(root: Path, url: str | None, **changes):
    file = pinned("pets.tar.gz", ARCHIVE, **({"urls": [url]} if url else {"how": "Ask Ann"}))
    return write_project(root, {"pets": entry(files=[file], top="pets", **changes)})


def fetch(capsys, root, *options):
    return run(capsys, "data", "fetch", "pets", "--root", root, *options)


def prepare(capsys, root, name="pets"):
    folder = root / "datasets"
    record, manifest = folder / ".archives" / f"{name}.json", folder / name / "manifest.json"
    options = ("--manifest", manifest, "--fetched", record, "--root", root)
    return manifest, run(capsys, "data", "prepare", name, *options)


def test_one_new_file_is_a_new_dataset(capsys, tmp_path, server):
    """The entry alone: fetched through a bad line, verified, unpacked, indexed, decoded."""
    url = server.serve("pets.tar.gz", ARCHIVE, [Fault(drop_after=100)])
    root = make(tmp_path, url)
    code, _, err = fetch(capsys, root)
    assert code == 0, err
    manifest, (code, out, err) = prepare(capsys, root)
    assert code == 0, err
    assert "pets/test: 6 images" in out
    split = open_split(manifest, "test", Transform(size=8))
    assert split.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert split.sample_ids[3] == "dog/0.png"
    assert split.read([4])[0, 0, 0].tolist() == [10, 0, 200]
    assert read_json(root / "datasets/.archives/pets.json")["root"] is None


def test_wrong_bytes_are_never_unpacked(capsys, tmp_path, server):
    url = server.serve("pets.tar.gz", ARCHIVE, always=Fault(wrong=True))
    root = make(tmp_path, url)
    code, _, err = fetch(capsys, root)
    assert code == 1 and "sha256" in err
    assert not (root / "datasets/.archives/pets.json").exists()
    assert not (root / "datasets/.archives/pets/pets.tar.gz").exists()


def test_mirror_replaces_the_address_but_not_the_checksum(capsys, tmp_path, server, monkeypatch):
    root = make(tmp_path, "http://127.0.0.1:9/never/pets.tar.gz")
    good = server.serve("mirror/pets.tar.gz", ARCHIVE)
    bad = server.serve("bad/pets.tar.gz", b"something else", always=Fault())
    monkeypatch.setenv("WISEFT_MIRROR_PETS", bad.removesuffix("/pets.tar.gz"))
    code, _, err = fetch(capsys, root)
    assert code == 1 and "expected" in err
    monkeypatch.setenv("WISEFT_MIRROR_PETS", good.removesuffix("pets.tar.gz"))
    code, _, err = fetch(capsys, root)
    assert code == 0, err
    assert mirror_variable("cifar10.1-v4") == "WISEFT_MIRROR_CIFAR10_1_V4"


def test_what_only_the_user_can_bring_is_said_and_taken(capsys, tmp_path):
    root = make(tmp_path, None, access="registration")
    place = root / "datasets" / ".archives" / "pets" / "pets.tar.gz"
    code, _, err = fetch(capsys, root)
    assert code == 1
    assert f"dataset pets needs pets.tar.gz: put it at {place}" in err and "Ask Ann." in err
    code, out, _ = run(capsys, "data", "info", "pets", "--root", root)
    assert code == 0 and "not prepared" in out and f"put it at {place}" in out
    place.parent.mkdir(parents=True)
    place.write_bytes(ARCHIVE[:-1])
    code, _, err = fetch(capsys, root)
    assert code == 1 and str(place) in err and "expected" in err
    assert place.read_bytes() == ARCHIVE[:-1]  # a user's file is never deleted
    place.write_bytes(ARCHIVE)
    assert fetch(capsys, root)[0] == 0
    assert prepare(capsys, root)[1][0] == 0


@pytest.mark.parametrize("inner", ["", "pets"])
def test_own_copy_is_only_read(capsys, tmp_path, inner):
    root = make(tmp_path / "project", None)
    own = tmp_path / "mine"
    for name, content in pets(top="pets/" if inner else "").items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(content)
    for path in [own, *own.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = sorted(path for path in own.rglob("*"))
    config = root / "config" / "config.yaml"
    config.write_text(config.read_text() + f"  paths: {{pets: {own}}}\n")
    try:
        code, _, err = fetch(capsys, root)
        assert code == 0, err
        manifest, (code, _, err) = prepare(capsys, root)
        assert code == 0, err
        assert open_manifest(manifest).root == own / inner
        assert sorted(path for path in own.rglob("*")) == before
    finally:
        for path in [own, *own.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def test_archive_in_the_users_root_is_unpacked_elsewhere(capsys, tmp_path):
    root = make(tmp_path / "project", None)
    (tmp_path / "mine" / "pets").mkdir(parents=True)
    (tmp_path / "mine" / "pets" / "pets.tar.gz").write_bytes(ARCHIVE)
    config = root / "config" / "config.yaml"
    config.write_text(config.read_text() + f"  root: {tmp_path / 'mine'}\n")
    assert fetch(capsys, root)[0] == 0
    manifest, (code, _, err) = prepare(capsys, root)
    assert code == 0, err
    assert open_manifest(manifest).root == root / "datasets" / "pets" / "files" / "pets"
    assert [path.name for path in (tmp_path / "mine" / "pets").iterdir()] == ["pets.tar.gz"]


def test_a_named_folder_that_is_not_there_is_an_error(capsys, tmp_path):
    root = make(tmp_path, None)
    config = root / "config" / "config.yaml"
    config.write_text(config.read_text() + f"  paths: {{pets: {tmp_path / 'gone'}}}\n")
    code, _, err = fetch(capsys, root)
    assert code == 1 and "but nothing is there" in err and "datasets.paths.pets" in err


@pytest.mark.parametrize(
    ("n", "said"), [(2, "expected exactly 6 images, found 4"), (4, "6 images, found 8")]
)
def test_short_and_long_sets_fail(capsys, tmp_path, server, n, said):
    content = tar(pets(n))
    file = pinned("pets.tar.gz", content, urls=[server.serve("pets.tar.gz", content)])
    root = write_project(tmp_path, {"pets": entry(files=[file], top="pets")})
    assert fetch(capsys, root)[0] == 0
    manifest, (code, _, err) = prepare(capsys, root)
    assert code == 1 and said in err
    assert not manifest.exists()


def test_index_is_made_once(capsys, tmp_path, server):
    root = make(tmp_path, server.serve("pets.tar.gz", ARCHIVE))
    assert fetch(capsys, root)[0] == 0
    manifest, (code, *_) = prepare(capsys, root)
    assert code == 0
    index = manifest.parent / "test" / "index.parquet"
    before = index.stat().st_mtime_ns, manifest.read_bytes()
    shutil.rmtree(manifest.parent / "files" / "pets" / "dog")  # a scan would miss it
    assert prepare(capsys, root)[1][0] == 0
    assert (index.stat().st_mtime_ns, manifest.read_bytes()) == before
    code, _, err = run(capsys, "data", "verify", "pets", "--root", root)
    assert code == 1 and "dog/0.png was indexed with" in err


def test_held_out_samples_are_drawn_from_another_split(capsys, tmp_path, server):
    members = {
        f"pets/{split}/{name[5:]}": data
        for split in ("train", "test")
        for name, data in pets().items()
    }
    content = tar(members)
    file = pinned("pets.tar.gz", content, urls=[server.serve("pets.tar.gz", content)])
    changes = {
        "splits": {"train": 4, "held-out": 2, "test": 6},
        "held_out": {"of": "train", "count": 2},
        "evaluate": ["held-out", "test"],
    }
    root = write_project(tmp_path, {"pets": entry(files=[file], top="pets", **changes)})
    assert fetch(capsys, root)[0] == 0
    manifest, (code, _, err) = prepare(capsys, root)
    assert code == 0, err
    ids = {
        name: set(open_split(manifest, name, Transform(size=8)).sample_ids)
        for name in ("train", "held-out")
    }
    assert len(ids["train"]) == 4 and len(ids["held-out"]) == 2
    assert not ids["train"] & ids["held-out"]
    assert all(name.startswith("train/") for name in ids["held-out"])


def test_only_the_files_of_wanted_splits_are_fetched(capsys, tmp_path, server):
    test = {f"test/{name[5:]}": data for name, data in pets().items()}
    small = tar({name.removeprefix("test/"): data for name, data in test.items()})
    files = [
        pinned("train.tar.gz", b"?", how="Ask Ann", splits=["train"], into="train"),
        pinned("test.tar.gz", small, urls=[server.serve("test.tar.gz", small)], into="test"),
    ]
    files[1]["splits"] = ["test"]
    changes = {"splits": {"train": 9, "test": 6}}
    root = write_project(tmp_path, {"pets": entry(files=files, **changes)})
    assert fetch(capsys, root)[0] == 1
    assert fetch(capsys, root, "--split", "test")[0] == 0
    folder = root / "datasets"
    options = ("--fetched", folder / ".archives/pets.json", "--split", "test", "--root", root)
    manifest = folder / "pets" / "manifest.json"
    code, _, err = run(capsys, "data", "prepare", "pets", "--manifest", manifest, *options)
    assert code == 0, err
    assert list(open_manifest(manifest).splits) == ["test"]


def test_classes_by_their_ids_are_mapped_to_the_reference(capsys, tmp_path, server):
    """As ImageNet-R's 200 classes are ImageNet's: by wnid, whatever their order there."""
    ids = {"cat": "n02", "dog": "n09"}
    members = {name.replace(name[5:8], ids[name[5:8]]): data for name, data in pets().items()}
    content = tar(members)
    shift = entry(
        files=[pinned("r.tar.gz", content, urls=[server.serve("r.tar.gz", content)])],
        top="pets",
        class_ids=["n02", "n09"],
        options={"naming": "class-id"},
        label_map={"reference": "base", "by": "class-ids"},
    )
    names = {"class_names": ["eel", "dog", "cat"], "class_ids": ["n01", "n09", "n02"]}
    base = entry(root="/nowhere", **names)
    root = write_project(tmp_path, {"pets": shift, "base": base})
    assert fetch(capsys, root)[0] == 0
    manifest, (code, _, err) = prepare(capsys, root)
    assert code == 0, err
    found = open_manifest(manifest)
    assert found.label_map and found.label_map.reference == "base"
    assert found.label_map.members == [[2], [1]]
    assert found.class_ids == ["n02", "n09"]
    assert Catalogue(root).dataset("base").ids == ["n01", "n09", "n02"]


def test_a_file_that_changed_after_it_was_fetched_is_refused(capsys, tmp_path):
    """Between the two commands a disk or a person may have changed it."""
    root = make(tmp_path, None)
    path = tmp_path / "datasets" / ".archives" / "pets" / "pets.tar.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(ARCHIVE)
    assert fetch(capsys, root)[0] == 0
    changed = bytearray(ARCHIVE)
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    _, (code, _, error) = prepare(capsys, root)
    assert code == 1 and "pets.tar.gz" in error and "expected sha256" in error
    path.write_bytes(ARCHIVE)
    _, (code, _, error) = prepare(capsys, root)
    assert code == 0, error
