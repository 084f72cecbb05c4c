"""Results travel over the protocols of real remotes: S3 and SSH, served on loopback.

Their packages are large and not among the project's: `make test-remotes` installs them into
build/remotes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sharing.conftest import run_in
from tools.sharing.manifest import read_manifest, shared_files, verify, write_manifest

from wiseft.errors import WiseftError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SERVERS = Path(__file__).with_name("remotes.py")
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.fixture(scope="module")
def python() -> str:
    """A Python that has dvc-s3, dvc-ssh and moto."""
    needed = "import dvc_s3, dvc_ssh, moto.server, boto3"
    for candidate in (sys.executable, str(ROOT / "build" / "remotes" / "bin" / "python")):
        if Path(candidate).exists():
            done = subprocess.run([candidate, "-c", needed], capture_output=True, check=False)
            if done.returncode == 0:
                return candidate
    pytest.skip("dvc-s3, dvc-ssh and moto are not installed; make test-remotes installs them")


@pytest.fixture
def serve(python: str) -> Iterator[Callable[..., int]]:
    """Start a server and return its port; it is ended after the test."""
    running: list[subprocess.Popen[str]] = []

    def start(kind: str, *arguments: str) -> int:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen(
            [python, str(SERVERS), kind, str(port), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | KEYS,
            text=True,
        )
        running.append(server)
        assert server.stdout
        assert server.stdout.readline() == "ready\n"
        return port

    yield start
    for server in running:
        assert server.stdin
        server.stdin.close()
        try:
            server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def there_and_back(project: Path, python: str) -> Path:
    """Publish, clone elsewhere, pull the tables and then everything; return the clone."""

    def dvc(folder: Path, *arguments: str) -> None:
        run_in(folder, python, "-m", "dvc", *arguments)

    data = project / "data"
    write_manifest(data, shared_files(data))
    dvc(project, "add", "data")
    dvc(project, "push", "data.dvc")
    run_in(project, "git", "add", ".")
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org")
    run_in(project, "git", *identity, "commit", "--quiet", "--message", "Publish")
    run_in(project.parent, "git", "clone", "--quiet", str(project), "clone")
    clone = project.parent / "clone"
    dvc(clone, "pull", "data/tables")
    assert [path.name for path in (clone / "data").rglob("*") if path.is_file()] == ["x.csv"]
    dvc(clone, "pull")
    return clone


def test_s3(shared, python, serve, monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    address = f"http://127.0.0.1:{serve('s3')}"
    for key, value in (("url", "s3://results/wiseft"), ("endpointurl", address)):
        run_in(shared, python, "-m", "dvc", "remote", "modify", "default", key, value)
    clone = there_and_back(shared, python)
    sums = read_manifest(clone / "data")
    assert len(sums) == 2
    verify(clone / "data", sums)

    # DVC takes what an object's name promises; the manifest does not.
    spoil = (
        "import boto3, sys\n"
        f"c = boto3.client('s3', endpoint_url={address!r}, region_name='us-east-1')\n"
        "keys = [o['Key'] for o in c.list_objects_v2(Bucket='results')['Contents']]\n"
        "body = lambda k: c.get_object(Bucket='results', Key=k)['Body'].read()\n"
        "key, = [k for k in keys if body(k) == b'value\\n0.5\\n']\n"
        "c.put_object(Bucket='results', Key=key, Body=b'value\\n0.9\\n')\n"
    )
    run_in(shared, python, "-c", spoil)
    run_in(shared.parent, "git", "clone", "--quiet", str(shared), "later")
    later = shared.parent / "later"
    run_in(later, python, "-m", "dvc", "pull")
    with pytest.raises(WiseftError, match=r"x\.csv has SHA-256 .*1 of 2 files are not those"):
        verify(later / "data", read_manifest(later / "data"))


def test_ssh(shared, python, serve, tmp_path):
    port = serve("ssh", str(tmp_path))
    place = tmp_path / "served"
    place.mkdir()
    run_in(
        shared,
        python,
        "-m",
        "dvc",
        "remote",
        "modify",
        "default",
        "url",
        f"ssh://127.0.0.1:{port}{place}",
    )
    for key, value in (("user", "me"), ("keyfile", str(tmp_path / "key"))):
        run_in(shared, python, "-m", "dvc", "remote", "modify", "default", key, value)
    clone = there_and_back(shared, python)
    assert list(place.rglob("*")), "nothing arrived on the server"
    verify(clone / "data", read_manifest(clone / "data"))
