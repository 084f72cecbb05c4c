"""Upload of a sweep's model with the hub's own library, to a hub on this machine."""

from __future__ import annotations

import gzip
import socket
from pathlib import Path
from time import monotonic

import huggingface_hub.constants
import pytest
from tests.sweep.records import WEIGHTS, make_sweep
from tests.sweep.upload_server import LARGE, TOKEN, Raw, running
from typer.testing import CliRunner

from wiseft.base import speed
from wiseft.cli import app
from wiseft.errors import WiseftError
from wiseft.foreign import hub_client
from wiseft.tool.hub import push, write_card

NAME = "me/birds"


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch):
    with running() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    make_sweep(tmp_path / "birds")
    write_card(tmp_path / "birds", "mit", None)
    return tmp_path / "birds"


def test_model_and_card_arrive_whole(hub, birds: Path):
    assert len(WEIGHTS) > LARGE, "one file goes by LFS, the others in the commit"
    assert push(birds, NAME) == f"{hub.url}/{NAME}"
    model = birds / "model"
    sent = {path.name: path.read_bytes() for path in model.iterdir()}
    assert hub.repositories == {NAME: sent}
    assert sent.keys() == {"README.md", "classes.json", "wise.pt"}
    assert list(hub.objects.values()) == [WEIGHTS]
    assert not hub.private[NAME]


def test_pushing_again_updates_the_repository(hub, birds: Path):
    push(birds, NAME, private=True)
    assert hub.private[NAME]
    write_card(birds, "apache-2.0", None, replace=True)
    done = CliRunner().invoke(app, ["push", str(birds), NAME])
    assert (done.exit_code, done.stdout.strip()) == (0, f"{hub.url}/{NAME}")
    assert b"license: apache-2.0" in hub.repositories[NAME]["README.md"]


def test_nothing_is_sent_without_a_card_or_of_a_changed_model(hub, birds: Path):
    (birds / "model" / "README.md").unlink()
    with pytest.raises(WiseftError, match=r"has no README\.md; write it first: wiseft card "):
        push(birds, NAME)
    write_card(birds, None, None)
    (birds / "model" / "wise.pt").write_bytes(b"other")
    with pytest.raises(WiseftError, match=r"wise\.pt is missing or was changed"):
        push(birds, NAME)
    (birds / "model" / "wise.pt").unlink()
    with pytest.raises(
        WiseftError, match=r"wise\.pt is missing or was changed; run `wiseft sweep`"
    ):
        push(birds, NAME)
    assert hub.repositories == {}


def test_a_wrong_token_and_refusals_are_one_sentence(hub, birds: Path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(WiseftError, match="give a token that may write there: `hf auth login`"):
        push(birds, NAME)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.refuse["/repos/create"] = 403
    with pytest.raises(
        WiseftError, match=r"refused me/birds \(.*403.*\); give a token that may write"
    ):
        push(birds, NAME)
    hub.refuse = {"/commit/": 500}
    with pytest.raises(WiseftError, match=r"the hub refused me/birds \(.*500.*goes on from there"):
        push(birds, NAME)
    hub.refuse = {}
    push(birds, NAME)
    assert "wise.pt" in hub.repositories[NAME]
    with pytest.raises(WiseftError, match=r"mend the name a/b/c \(owner/name\) or"):
        push(birds, "a/b/c")


def test_a_card_that_the_hub_refuses_is_named(hub, birds: Path):
    (birds / "model" / "README.md").write_text("---\nlicense: mit\n---\n")
    with pytest.raises(WiseftError, match=r"the card .*README\.md: .*model-index is inv"):
        push(birds, NAME)
    assert hub.repositories == {NAME: {}}


def test_without_network_it_says_what_to_run_where(birds: Path, monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{port}")
    expected = rf"On a machine with a network .*: wiseft push {birds} {NAME}; .* hf upload {NAME} "
    with pytest.raises(WiseftError, match=expected):
        push(birds, NAME)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WiseftError, match=expected):
        push(birds, NAME)


def test_what_the_sweep_did_not_write_stays_here(hub, birds: Path, tmp_path: Path):
    (tmp_path / "id_rsa").write_bytes(b"secret")
    (birds / "model" / "notes.json").symlink_to(tmp_path / "id_rsa")
    (birds / "model" / ".env").write_text("TOKEN=secret")
    (birds / "model" / "sub").mkdir()
    (birds / "model" / "sub" / "classes.json").write_text("secret")
    push(birds, NAME)
    assert hub.repositories[NAME].keys() == {"README.md", "classes.json", "wise.pt"}


def test_a_card_that_is_a_link_is_not_sent(hub, birds: Path, tmp_path: Path):
    (tmp_path / "id_rsa").write_text("secret")
    (birds / "model" / "README.md").unlink()
    (birds / "model" / "README.md").symlink_to(tmp_path / "id_rsa")
    with pytest.raises(WiseftError, match=r"README\.md is a link out of its folder"):
        push(birds, NAME)
    assert hub.repositories == {}


PAGE = b"<!DOCTYPE html><title>Sign in</title>"
BOMB = gzip.compress(bytes(50 * 1024**2))


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (Raw(PAGE, {"Content-Type": "text/html; charset=utf-8"}), "answered with a web page"),
        (Raw(PAGE), r"cannot be reached from here, or is none \(Expecting value"),
        (Raw(b'{"name": "birds"}'), r"or is none \('url'\)"),
        (Raw(b"[]"), "or is none"),
        (Raw(BOMB, {"Content-Encoding": "gzip"}), "answered in gzip, but identity was asked"),
        (Raw(bytes(200_000)), "the answer has more than 100000 bytes"),
        (Raw(bytes(200_000), length=False), "the answer has more than 100000 bytes"),
        (Raw(bytes(1_000), pause=0.02, piece=1), "too slow: .* fewer than 10000 a second"),
        (Raw(bytes(10), pause=1.0), "timed out"),
    ],
)
def test_a_hub_that_is_none_slow_or_huge_ends_in_a_sentence(
    hub, birds: Path, monkeypatch, answer: Raw, match: str
):
    monkeypatch.setattr(speed, "WINDOW", 0.2)
    monkeypatch.setattr(hub_client, "TIMEOUT", 0.5)
    monkeypatch.setattr("wiseft.tool.hub.LARGEST_ANSWER", 100_000)
    hub.answers["/repos/create"] = answer
    started = monotonic()
    with pytest.raises(WiseftError, match=match):
        push(birds, NAME)
    assert monotonic() - started < 20


def test_an_answer_of_another_kind_on_the_way_is_a_sentence(hub, birds: Path):
    """Where a mapping is expected, the hub's client reads its keys without a look."""
    hub.answers["/preupload/"] = Raw(b'"x"')
    with pytest.raises(WiseftError, match="cannot be reached from here, or is none"):
        push(birds, NAME)
