"""Downloads from a real server on the loopback interface that drops, truncates, lies, dawdles."""

from __future__ import annotations

import hashlib
import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
import urllib3
from tests.data.fetching.http_server import Fault

from wiseft.base import io as disk
from wiseft.base import progress, speed
from wiseft.base.messages import shown
from wiseft.base.transfer import http as module
from wiseft.base.transfer.checksums import Checksums
from wiseft.base.transfer.http import download
from wiseft.errors import WiseftError
from wiseft.study.data.fetching.entry_files import verify_file

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
EXPECTED = Checksums(sha256=SHA256, size=len(CONTENT))
DROP = Fault(drop_after=100_000)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data" / "images.tar"


@pytest.fixture
def fetch(path):
    """Download without waiting; what was said is in `fetch.said`."""

    def run(*urls, expected=EXPECTED, **options):
        options = {"back_off": 0.001, "timeout": 5.0, **options}
        with shown(run.said.append):
            return download(urls, path, expected, **options)

    run.said = []
    return run


def assert_whole(path: Path) -> None:
    """The file is right and nothing else is left."""
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def part_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.part")


# ---------------------------------------------------------------------------- checksums


def test_verify_returns_the_sha256_and_checks_every_sum(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(CONTENT)
    blob = hashlib.sha1(b"blob %d\0" % len(CONTENT) + CONTENT).hexdigest()
    md5 = hashlib.md5(CONTENT).hexdigest()
    assert verify_file(file, Checksums(SHA256.upper(), md5, blob, len(CONTENT))) == SHA256
    assert verify_file(file, Checksums()) == SHA256


def test_the_git_blob_is_what_git_prints(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"hello\n")
    verify_file(file, Checksums(git_blob="ce013625030ba8dba906f756967f9e9ca394464a"))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (Checksums(size=5), r"expected 5 bytes, found 300000"),
        (Checksums(sha256="0" * 64), rf"expected sha256 0{{64}}, found {SHA256}"),
        (Checksums(sha256=SHA256, md5="0" * 32), r"expected md5 0{32}, found [0-9a-f]{32}"),
        (Checksums(git_blob="0" * 40), r"expected git blob 0{40}, found [0-9a-f]{40}"),
    ],
)
def test_verify_names_file_expected_and_found(tmp_path, expected, message):
    file = tmp_path / "a.tar"
    file.write_bytes(CONTENT)
    with pytest.raises(WiseftError, match=rf"a\.tar: {message}"):
        verify_file(file, expected)


# ---------------------------------------------------------------------------- the plain way


def test_a_download_returns_its_address_and_leaves_only_the_file(server, path, fetch):
    url = server.serve("images.tar", CONTENT)
    assert fetch(url) == url
    assert_whole(path)
    assert server.ranges() == [None]


def test_a_right_file_is_not_fetched_again(server, path, fetch):
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    assert fetch(server.serve("images.tar", CONTENT)) == ""
    assert not server.log


def test_a_wrong_file_is_named_and_not_touched(server, path, fetch):
    path.parent.mkdir()
    path.write_bytes(b"the user's own")
    with pytest.raises(WiseftError, match=r"expected 300000 bytes, found 14\. It was not touched"):
        fetch(server.serve("images.tar", CONTENT))
    assert path.read_bytes() == b"the user's own"
    assert not server.log


def test_a_folder_or_a_dead_link_in_its_place_is_not_touched(server, path, fetch):
    path.parent.mkdir()
    path.symlink_to("nowhere")
    with pytest.raises(WiseftError, match="a link that leads nowhere"):
        fetch(server.serve("images.tar", CONTENT))
    assert path.is_symlink()


@pytest.mark.parametrize("chunked", [True, False])
def test_a_file_of_which_nothing_is_known_is_brought_whole(server, path, fetch, chunked):
    fetch(server.serve("images.tar", CONTENT, chunked=chunked), expected=Checksums())
    assert_whole(path)


def test_an_empty_file_is_a_file(server, path, fetch):
    expected = Checksums(sha256=hashlib.sha256(b"").hexdigest(), size=0)
    fetch(server.serve("empty", b""), expected=expected)
    assert path.read_bytes() == b""


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://host/a", "/a/b", "http://", ""])
def test_only_http_addresses_are_fetched(path, fetch, url):
    with pytest.raises(WiseftError, match=r"expected an address that begins with http://"):
        fetch(url)
    assert not path.parent.exists()


def test_no_address_at_all_says_where_to_put_the_file(path, fetch):
    with pytest.raises(WiseftError, match=f"copy it to {path}"):
        fetch()


def test_redirects_are_followed(server, path, fetch):
    target = server.serve("real.tar", CONTENT)
    away = Fault(status=302, headers={"Location": target})
    fetch(server.serve("moved", b"", always=away))
    assert_whole(path)


@pytest.mark.parametrize("away", ["file:///etc/hostname", "ftp://127.0.0.1/images.tar"])
def test_redirects_to_other_schemes_are_refused(server, path, fetch, away):
    url = server.serve("evil", b"", always=Fault(status=302, headers={"Location": away}))
    with pytest.raises(WiseftError, match=r"leads to no address of http or https"):
        fetch(url)
    assert len(server.log) == 1


def test_the_proxy_of_the_environment_is_asked(server, path, fetch, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.replace("http://", ""))
    url = "http://files.invalid/images.tar"
    server.files[url] = server.files[server.serve("a", CONTENT).removeprefix(server.url)]
    fetch(url)
    assert_whole(path)


def test_a_proxy_gets_its_password_and_is_passed_over_for_what_the_environment_excepts(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://me:p%40ss@proxy.invalid:3128")
    monkeypatch.setenv("no_proxy", "near.invalid")
    found = module._manager("https://far.invalid/a")
    assert found.proxy.host == "proxy.invalid"
    assert found.proxy_headers == {"proxy-authorization": "Basic bWU6cEBzcw=="}
    assert module._manager("https://near.invalid:8443/a").proxy is None


def test_a_proxy_of_another_kind_is_told(path, fetch, monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(WiseftError, match="unsupported scheme socks5"):
        fetch("http://files.invalid/images.tar")


def test_a_certificate_that_nobody_vouches_for_is_not_asked_again(path, fetch, monkeypatch):
    def untrusted(*arguments, **options):
        error = module.ssl.SSLCertVerificationError("certificate verify failed")
        error.verify_message = "self-signed certificate"
        raise error

    monkeypatch.setattr(urllib3.connection.HTTPSConnection, "connect", untrusted)
    with pytest.raises(WiseftError, match=r"no certificate that .* trusts \(self-signed"):
        fetch("https://127.0.0.1:1/images.tar")
    assert len(fetch.said) == 1


def test_redirects_in_a_circle_are_given_up(server, path, fetch):
    url = server.serve("a", b"")
    server.serve("a", b"", always=Fault(status=302, headers={"Location": url}))
    with pytest.raises(WiseftError, match="too many redirects"):
        fetch(url, retries=0)
    assert len(server.log) == 11


# ---------------------------------------------------------------------------- broken connections


@pytest.mark.parametrize("fault", [DROP, Fault(end_after=100_000)])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_broken_download_is_continued_where_it_broke(server, path, fetch, fault, chunked):
    fetch(server.serve("images.tar", CONTENT, [fault], chunked=chunked))
    assert_whole(path)
    assert server.ranges() == [None, "bytes=100000-"]
    assert server.log[1].if_range == '"1"'
    assert server.log[1].status == 206


def test_without_a_strong_etag_the_date_is_the_validator(server, path, fetch):
    fetch(server.serve("images.tar", CONTENT, [DROP], etag='W/"1"'))
    assert_whole(path)
    assert server.log[1].if_range == "Wed, 21 Oct 2015 07:28:00 GMT"


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, path, fetch):
    fetch(server.serve("images.tar", CONTENT, [DROP], ranges=False))
    assert_whole(path)
    assert [request.status for request in server.log] == [200, 200]


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_read_from_the_start(
    server, path, fetch, honours_if_range
):
    """Without a checksum only the validator can tell; mixing both files would go unnoticed."""
    url = server.serve("images.tar", bytes(len(CONTENT)), [DROP])
    with pytest.raises(WiseftError):
        fetch(url, expected=Checksums(), retries=0)
    assert part_of(path).stat().st_size == 100_000
    server.serve("images.tar", CONTENT, etag='"2"', honours_if_range=honours_if_range)
    fetch(url, expected=Checksums())
    assert_whole(path)


def test_another_size_of_the_whole_tells_a_changed_file_too(server, path, fetch):
    nameless = {"etag": None, "last_modified": None}
    url = server.serve("images.tar", bytes(400_000), [DROP], **nameless)
    with pytest.raises(WiseftError):
        fetch(url, expected=Checksums(sha256=SHA256), retries=0)
    server.serve("images.tar", CONTENT, **nameless)
    fetch(url, expected=Checksums(sha256=SHA256))
    assert_whole(path)
    assert "the file changed at the server" in fetch.said[-1]


def test_without_validator_and_checksum_nothing_is_continued(server, path, fetch):
    url = server.serve("images.tar", CONTENT, [DROP], etag=None, last_modified=None)
    fetch(url, expected=Checksums())
    assert_whole(path)
    assert server.ranges() == [None, None]


def test_without_a_validator_a_checksum_allows_to_continue(server, path, fetch):
    fetch(server.serve("images.tar", CONTENT, [DROP], etag=None, last_modified=None))
    assert_whole(path)
    assert server.ranges() == [None, "bytes=100000-"]


def test_the_next_mirror_continues_what_the_first_began(server, path, fetch):
    first = server.serve("a.tar", CONTENT, [DROP], always=Fault(status=404), etag='"a"')
    second = server.serve("b.tar", CONTENT, etag='"b"')
    assert fetch(first, second) == second
    assert_whole(path)
    assert server.ranges() == [None, "bytes=100000-", "bytes=100000-"]


def test_a_part_that_is_longer_than_the_file_at_the_server_is_thrown_away(server, path, fetch):
    path.parent.mkdir()
    part_of(path).write_bytes(bytes(400_000))
    fetch(server.serve("images.tar", CONTENT), expected=Checksums(sha256=SHA256))
    assert_whole(path)
    assert [request.status for request in server.log] == [416, 200]


@pytest.mark.parametrize("expected", [EXPECTED, Checksums(sha256=SHA256)])
def test_a_complete_part_is_only_checked(server, path, fetch, expected):
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT)
    fetch(server.serve("images.tar", CONTENT), expected=expected)
    assert_whole(path)
    assert [request.status for request in server.log] == ([] if expected.size else [416])


def test_torn_notes_beside_the_part_count_as_none(server, path, fetch):
    path.parent.mkdir()
    part_of(path).write_bytes(CONTENT[:1000])
    part_of(path).with_suffix(".part.json").write_text('{"url": "ht')
    fetch(server.serve("images.tar", CONTENT))
    assert_whole(path)
    assert server.ranges() == ["bytes=1000-"]


def test_attempts_that_bring_much_do_not_use_up_the_retries(server, path, fetch, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS", 50_000)
    fetch(server.serve("images.tar", CONTENT, [Fault(drop_after=60_000)] * 4), retries=1)
    assert_whole(path)
    assert len(server.log) == 5


def test_a_server_that_never_comes_further_is_given_up(server, path, fetch, monkeypatch):
    monkeypatch.setattr(module, "PROGRESS", 50_000)
    url = server.serve("images.tar", CONTENT, always=DROP, ranges=False)
    with pytest.raises(WiseftError, match="given up after 3 attempts"):
        fetch(url, retries=2)
    assert not path.exists()


def test_the_attempts_at_an_address_name_it_once_and_the_last_one_again(server, path, fetch):
    """Five attempts at a slow server were 2,951 characters, most of them said before."""
    url = server.serve("images.tar", CONTENT, always=Fault(status=503))
    with pytest.raises(WiseftError, match="given up after 5 attempts"):
        fetch(url, retries=4)
    assert [url in line for line in fetch.said] == [True, False, False, False, True]
    assert all("answered 503" in line for line in fetch.said)


def test_a_slow_download_does_not_say_so_all_the_time(server, path, fetch, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.1)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    began = time.monotonic()
    fetch(server.serve("images.tar", CONTENT, [Fault(pause=0.02, piece=10_000)]))
    lines = sum("downloading" in line for line in fetch.said)
    assert 1 <= lines <= (time.monotonic() - began) / 0.2, "not one in every interval"


def test_a_stalled_connection_is_left_and_continued(server, path, fetch):
    stall = Fault(pause=0.6, piece=100_000)
    fetch(server.serve("images.tar", CONTENT, [stall]), timeout=0.3)
    assert_whole(path)
    assert server.ranges() == [None, "bytes=100000-"]


def test_a_server_that_trickles_is_left_and_continued(server, path, fetch, monkeypatch):
    """Every byte is in time, but all of them would take hours."""
    monkeypatch.setattr(speed, "WINDOW", 0.2)
    trickle = Fault(pause=0.05, piece=100)
    fetch(server.serve("images.tar", CONTENT, [trickle]))
    assert_whole(path)
    assert len(server.ranges()) == 2
    assert int(re.fullmatch(r"bytes=(\d+)-", server.ranges()[1])[1]) >= 300, "the part was kept"
    assert any("the server is too slow: " in line for line in fetch.said)
    with pytest.raises(WiseftError, match=r"too slow: .* fewer than 10000 .*; given up"):
        path.unlink()
        fetch(server.serve("images.tar", CONTENT, always=trickle), retries=1)


def test_a_body_without_a_size_ends(server, path, fetch, monkeypatch):
    monkeypatch.setattr(speed, "LARGEST", 200_000)
    expected = "sent more than the 200000 bytes that are allowed without a size"
    with pytest.raises(WiseftError, match=expected):
        fetch(server.serve("images.tar", CONTENT, chunked=True), expected=Checksums(sha256=SHA256))
    assert list(path.parent.iterdir()) == []
    fetch(server.serve("images.tar", CONTENT, chunked=True))
    assert_whole(path)


# ---------------------------------------------------------------------------- wrong bytes


def test_wrong_bytes_once_are_fetched_again_from_the_start(server, path, fetch):
    fetch(server.serve("images.tar", CONTENT, [Fault(wrong=True)]))
    assert_whole(path)
    assert server.ranges() == [None, None]
    assert any("the whole file is wrong (expected sha256" in line for line in fetch.said)


def test_a_wrong_part_of_an_earlier_run_costs_one_more_fetch(server, path, fetch):
    path.parent.mkdir()
    part_of(path).write_bytes(bytes(1000))
    fetch(server.serve("images.tar", CONTENT))
    assert_whole(path)
    assert server.ranges() == ["bytes=1000-", None]


def test_wrong_bytes_always_lead_to_the_next_mirror(server, path, fetch):
    bad = server.serve("bad.tar", CONTENT, always=Fault(wrong=True))
    good = server.serve("good.tar", CONTENT)
    assert fetch(bad, good) == good
    assert_whole(path)
    assert [request.path for request in server.log] == ["/bad.tar", "/bad.tar", "/good.tar"]


def test_wrong_bytes_everywhere_leave_nothing(server, path, fetch):
    with pytest.raises(WiseftError, match=f"gave another file: expected sha256 {SHA256}, found"):
        fetch(server.serve("images.tar", CONTENT, always=Fault(wrong=True)))
    assert list(path.parent.iterdir()) == []


def test_another_length_is_refused_before_it_is_read(server, path, fetch):
    with pytest.raises(WiseftError, match="offers 299999 bytes, expected 300000"):
        fetch(server.serve("images.tar", CONTENT[:-1]))
    assert len(server.log) == 1


def test_more_bytes_than_expected_are_refused(server, path, fetch):
    with pytest.raises(WiseftError, match="sent more than the 300000 bytes expected"):
        fetch(server.serve("images.tar", CONTENT + b"x", chunked=True))
    assert list(path.parent.iterdir()) == []


def test_a_web_page_is_not_taken_for_the_file(server, path, fetch):
    page = Fault(body=b"<!DOCTYPE html> sign in", content_type="text/html; charset=utf-8")
    with pytest.raises(WiseftError, match="answered with a web page"):
        fetch(server.serve("images.tar", CONTENT, always=page), expected=Checksums())
    assert not path.exists()


# ---------------------------------------------------------------------------- statuses and mirrors


@pytest.mark.parametrize("status", [403, 404, 410])
def test_a_final_answer_leads_to_the_next_mirror_at_once(server, path, fetch, status):
    gone = server.serve("a", b"", always=Fault(status=status))
    good = server.serve("images.tar", CONTENT)
    assert fetch(gone, good) == good
    assert len(server.log) == 2


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_a_passing_answer_is_asked_again(server, path, fetch, status):
    fetch(server.serve("images.tar", CONTENT, [Fault(status=status)] * 2))
    assert_whole(path)
    assert len(server.log) == 3


def test_the_back_off_doubles_and_heeds_retry_after(server, path, fetch, monkeypatch):
    waits = []
    monkeypatch.setattr(module, "sleep", waits.append)
    busy = Fault(status=503, headers={"Retry-After": "70"})
    faults = [Fault(status=500), Fault(status=500), Fault(status=500), busy]
    fetch(server.serve("images.tar", CONTENT, faults), back_off=1.0)
    assert waits[0] == 0
    assert 2 <= waits[1] <= 3 < 4 <= waits[2] <= 5
    assert waits[3] == 70


def test_a_retry_after_may_be_a_date_and_is_not_heeded_without_limit(server, path, fetch):
    busy = Fault(status=503, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})
    other = server.serve("b.tar", CONTENT)
    assert fetch(server.serve("a.tar", CONTENT, always=busy), other) == other
    assert [request.path for request in server.log] == ["/a.tar", "/b.tar"]
    assert "asks to wait over 300 s" in fetch.said[0]


def test_the_last_error_says_what_every_mirror_answered(server, path, fetch):
    gone = server.serve("gone.tar", b"", always=Fault(status=404))
    down = server.serve("down.tar", b"", always=Fault(status=500))
    closed = "http://127.0.0.1:9/images.tar"
    with pytest.raises(WiseftError) as error:
        fetch(gone, down, closed, retries=1)
    message = str(error.value)
    assert f"{gone} answered 404 Not Found" in message
    assert f"{down} answered 500 Internal Server Error; given up after 2 attempts" in message
    assert f"{closed} could not be reached ([Errno 111] Connection refused)" in message
    assert f"put it at {path} (expected sha256 {SHA256})" in message


def test_an_unknown_host_is_not_asked_again(path, fetch, monkeypatch):
    def unknown(*arguments):
        raise module.socket.gaierror(module.socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(module.socket, "getaddrinfo", unknown)
    with pytest.raises(WiseftError, match="names a host that is not known here"):
        fetch("http://no.such.host.invalid/a")
    assert len(fetch.said) == 1


def test_a_failed_download_keeps_its_part_and_says_so(server, path, fetch):
    with pytest.raises(WiseftError, match="the next run goes on from there"):
        fetch(server.serve("images.tar", CONTENT, [DROP], always=Fault(status=404)))
    assert part_of(path).read_bytes() == CONTENT[:100_000]
    assert sorted(p.name for p in path.parent.iterdir()) == [
        ".images.tar.part",
        ".images.tar.part.json",
    ]


# ---------------------------------------------------------------------------- disk


Usage = namedtuple("Usage", "total used free")


def test_space_is_checked_first_less_what_is_there(server, path, fetch, monkeypatch):
    url = server.serve("images.tar", CONTENT)
    free = disk.MARGIN + 200_000
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(10**12, 0, free))
    with pytest.raises(WiseftError, match=rf"needs 0\.27 GB in {path.parent}.*; 0\.27 GB are free"):
        fetch(url)
    assert not server.log
    part_of(path).write_bytes(CONTENT[:150_000])
    fetch(url)
    assert_whole(path)


def test_space_is_checked_by_the_servers_word_where_the_size_is_unknown(
    server, path, fetch, monkeypatch
):
    free = disk.MARGIN + 200_000
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda folder: Usage(10**12, 0, free))
    with pytest.raises(WiseftError, match=r"GB are free"):
        fetch(server.serve("images.tar", CONTENT), expected=Checksums())


def test_a_full_disk_is_told_as_such_and_not_as_a_lost_connection(server, path, fetch, monkeypatch):
    def full(self, mode):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WiseftError, match=r"cannot be written \(No space left on device\)"):
        fetch(server.serve("images.tar", CONTENT))


def test_a_folder_that_cannot_be_made_is_told(server, fetch, path):
    path.parent.write_bytes(b"a file where the folder should be")
    with pytest.raises(WiseftError, match="cannot be written"):
        fetch(server.serve("images.tar", CONTENT))


# ---------------------------------------------------------------------------- progress


def test_a_short_download_says_nothing(server, path, fetch):
    fetch(server.serve("a", CONTENT))
    assert fetch.said == []


def test_a_long_download_says_how_far_it_is(server, path, fetch, monkeypatch):
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    monkeypatch.setattr(progress, "DELAY", 0.0)
    fetch(server.serve("a", CONTENT))
    assert re.search(
        r"images\.tar: downloading: [0-9.]+k? of [0-9.]+kB, [0-9.?]+k?M?B/s, [0-9:?]+ left",
        fetch.said[0],
    )
    assert "images.tar: checking" in fetch.said[-1]


# ---------------------------------------------------------------------------- processes


CHILD = """
import sys
from pathlib import Path
from wiseft.base.transfer.checksums import Checksums
from wiseft.base.transfer.http import download
url, path, sha256, size = sys.argv[1:]
print(download([url], Path(path), Checksums(sha256=sha256, size=int(size)), back_off=0.01))
"""


def start(url: str, path: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CHILD, url, str(path), SHA256, str(len(CONTENT))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


def test_a_killed_download_leaves_its_part_and_the_next_run_continues_it(server, path, fetch):
    slow = Fault(pause=0.05, piece=10_000)
    url = server.serve("images.tar", CONTENT, [slow])
    process = start(url, path)
    part = part_of(path)
    wait_for(lambda: part.exists() and part.stat().st_size > 30_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.communicate()
    left = sorted(p.name for p in path.parent.iterdir())
    assert left == [".images.tar.lock", ".images.tar.part", ".images.tar.part.json"]
    assert json.loads((path.parent / left[2]).read_text())["url"] == url
    done = part.stat().st_size
    fetch(url)
    assert_whole(path)
    assert server.ranges() == [None, f"bytes={done}-"]
    assert server.log[1].status == 206


def test_two_processes_download_once(server, path):
    url = server.serve("images.tar", CONTENT, [Fault(pause=0.05, piece=30_000)])
    first, second = start(url, path), start(url, path)
    outputs = [process.communicate(timeout=20) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0]
    assert sorted(out.strip() for out, _ in outputs) == ["", url]
    assert_whole(path)
    assert len(server.log) == 1
