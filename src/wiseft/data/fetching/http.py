"""Fetching of one file over HTTP: mirrors, resumption, retries, and a checksum before it gets its
name."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from urllib.parse import urlsplit

from wiseft.data.fetching.transfer import CHUNK, SCHEMES, Failed, Partial, Refused, transfer
from wiseft.errors import WiseftError
from wiseft.io import gigabytes, require_file, require_space
from wiseft.locks import exclusive
from wiseft.progress import Meter, print_line

LONGEST_WAIT = 60.0
"""Seconds between two attempts at most."""

LONGEST_RETRY_AFTER = 300.0
"""A server that asks for a longer wait than these seconds is given up."""

PROGRESS = 1 << 20
"""An attempt that brings this many new bytes does not count as a failed one."""


@dataclass(frozen=True)
class Checksums:
    """What is known of a file; None where it is not.

    Args:
        sha256: 64 hex digits.
        md5: 32 hex digits.
        git_blob: SHA-1 of ``blob <size>\\0`` and the content, as ``git hash-object`` prints it.
        size: in bytes.
    """

    sha256: str | None = None
    md5: str | None = None
    git_blob: str | None = None
    size: int | None = None

    @property
    def decisive(self) -> bool:
        """Whether a checksum is among them, so that a wrong file is found out."""
        return any((self.sha256, self.md5, self.git_blob))


def verify_file(path: Path, expected: Checksums, say: Callable[[str], None] = print_line) -> str:
    """Compare a file with what is known of it, in one read.

    Args:
        say: called with progress lines where reading takes longer than ten seconds.

    Returns:
        The file's SHA-256.

    Raises:
        WiseftError: the file is missing, or names the first thing that differs: size, SHA-256,
            MD5, git blob.
    """
    sha256, fault = _compare(require_file(path), expected, say)
    if fault:
        raise WiseftError(f"{path}: {fault}.")
    return sha256


def download(
    urls: Sequence[str],
    path: Path,
    expected: Checksums,
    *,
    retries: int = 4,
    back_off: float = 1.0,
    timeout: float = 30.0,
    say: Callable[[str], None] = print_line,
) -> str:
    """Bring a file to `path`; does nothing if it is there and right.

    What has arrived is kept as ``.<name>.part`` beside it, between attempts and runs, and continued
    by a range request. Two processes that want the same file take turns.

    Args:
        urls: http and https addresses of the same file, tried in this order.
        retries: further attempts per address in a row that bring less than 1 MiB.
        back_off: seconds before the second attempt; doubled for each one after, with jitter.
        timeout: seconds without a byte after which a connection counts as lost.
        say: called with what goes wrong, and with progress where stderr is not a terminal.

    Returns:
        The address it came from; empty if it was there.

    Raises:
        WiseftError: the file that is there is another one (it is not touched); no address gave the
            right file (the message says what each one answered); there is too little space.
    """
    _require_addresses(urls, path)
    if already_there(path, expected, say):
        return ""
    with exclusive(path.with_name(f".{path.name}.lock"), say):
        if already_there(path, expected, say):
            return ""
        part = Partial(path)
        answers = []
        for url in urls:
            try:
                _fetch(url, part, expected, _Patience(retries, back_off), timeout, say)
            except Refused as answer:
                say(f"{url} {answer}")
                answers.append(f"  {url} {answer}")
                continue
            _name(part, path)
            return url
        raise WiseftError(_nobody_gave(path, expected, part, answers))


class _Patience:
    """Counts failures in a row and waits after each, longer and longer."""

    def __init__(self, retries: int, back_off: float):
        self.retries = retries
        self.back_off = back_off
        self.failures = 0
        self.furthest = 0

    def wait(self, failure: Failed, done: int, say: Callable[[str], None], url: str) -> None:
        if done >= self.furthest + PROGRESS:
            self.failures = 0
        self.furthest = max(self.furthest, done)
        self.failures += 1
        if self.failures > self.retries:
            raise Refused(f"{failure}; given up after {self.failures} attempts") from failure
        longest = min(LONGEST_WAIT, self.back_off * 2 ** (self.failures - 1))
        seconds = longest * random.uniform(0.5, 1.0)
        if failure.wait is not None:
            if failure.wait > LONGEST_RETRY_AFTER:
                raise Refused(f"{failure} and asks to wait {failure.wait:.0f} s") from failure
            seconds = max(seconds, failure.wait)
        say(f"{url}: {failure}; next attempt in {seconds:.0f} s, from {done / 1e6:.1f} MB on")
        sleep(seconds)


def _fetch(
    url: str,
    part: Partial,
    expected: Checksums,
    patience: _Patience,
    timeout: float,
    say: Callable[[str], None],
) -> None:
    """Complete the part from one address and check it; once more from the start if it is wrong."""
    faults = 0
    while True:
        resumed = part.size() > 0
        _complete(url, part, expected, patience, timeout, say)
        _, fault = _compare(part.file, expected, say)
        if not fault:
            return
        part.discard()
        faults += 1
        if faults == 2:
            raise Refused(f"gave another file: {fault}")
        kind = "continued" if resumed else "whole"
        say(f"{url}: the {kind} file is wrong ({fault}); fetching it from the start")


def _complete(
    url: str,
    part: Partial,
    expected: Checksums,
    patience: _Patience,
    timeout: float,
    say: Callable[[str], None],
) -> None:
    if expected.size is not None and part.size() > expected.size:
        part.discard()
    patience.furthest = part.size()
    while not part.file.exists() or part.size() != expected.size:
        if expected.size is not None:
            require_space(part.file.parent, expected.size - part.size(), part.file.name)
        try:
            transfer(
                url,
                part,
                size=expected.size,
                checked=expected.decisive,
                timeout=timeout,
                say=say,
            )
        except Failed as failure:
            patience.wait(failure, part.size(), say, url)
        else:
            return


def _compare(path: Path, expected: Checksums, say: Callable[[str], None]) -> tuple[str, str | None]:
    """Return a file's SHA-256 and, if it is another file, what was expected and found."""
    size = path.stat().st_size
    if expected.size is not None and size != expected.size:
        return "", f"expected {expected.size} bytes, found {size}"
    hashes = {
        "sha256": hashlib.sha256(),
        "md5": hashlib.md5(usedforsecurity=False),
        "git blob": hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False),
    }
    wanted = {"sha256": expected.sha256, "md5": expected.md5, "git blob": expected.git_blob}
    used = [hashes[key] for key in hashes if key == "sha256" or wanted[key]]
    name = path.name.removeprefix(".").removesuffix(".part")
    with path.open("rb") as file, Meter(f"{name}: checking", size, say=say) as meter:
        while data := file.read(CHUNK):
            for one in used:
                one.update(data)
            meter.add(len(data))
    sha256 = hashes["sha256"].hexdigest()
    for key, value in wanted.items():
        if value and (found := hashes[key].hexdigest()) != value.lower():
            return sha256, f"expected {key} {value}, found {found}"
    return sha256, None


def _require_addresses(urls: Sequence[str], path: Path) -> None:
    if not urls:
        raise WiseftError(f"no address is known to fetch {path.name} from; copy it to {path}.")
    for url in urls:
        if not _is_address(url):
            raise WiseftError(
                f"{path.name}: expected an address that begins with http:// or https://, found "
                f"{url}. A file that is on this machine is put at {path} instead."
            )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in SCHEMES and bool(parts.netloc)


def already_there(path: Path, expected: Checksums, say: Callable[[str], None] = print_line) -> bool:
    """Tell whether a file is there and right.

    Raises:
        WiseftError: something else has its name; it is not touched.
    """
    if not os.path.lexists(path):
        return False
    if not path.is_file():
        raise WiseftError(
            f"{path}: expected a file, found a folder or a link that leads nowhere. It was not "
            "touched: move it away, and fetch the file again."
        )
    _, fault = _compare(path, expected, say)
    if fault:
        raise WiseftError(
            f"{path}: {fault}. It was not touched: delete it or move it away, and fetch it again."
        )
    return True


def _name(part: Partial, path: Path) -> None:
    with part.file.open("rb") as file:
        os.fsync(file.fileno())
    part.file.replace(path)
    part.notes.unlink(missing_ok=True)


def _nobody_gave(path: Path, expected: Checksums, part: Partial, answers: Sequence[str]) -> str:
    lines = [f"{path.name} could not be downloaded:", *answers]
    if kept := part.size():
        lines.append(f"{gigabytes(kept)} are kept, and the next run goes on from there.")
    sums = {"sha256": expected.sha256, "md5": expected.md5, "git blob": expected.git_blob}
    known = next((f" (expected {key} {value})" for key, value in sums.items() if value), "")
    lines.append(
        f"Try again later, or fetch it on another machine and put it at {path}{known}; then run "
        "the same command again."
    )
    return "\n".join(lines)
