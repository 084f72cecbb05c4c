"""The one HTTP client: mirrors, resumption, retries, and a checksum before a file gets its name.

Requests, redirects, certificates, back-off and ``Retry-After`` are urllib3's. Its `Retry` repeats a
request as it was; a transfer that breaks off in the middle asks for less the next time, so the loop
over attempts is here, and takes from `Retry` how often and when.
"""

from __future__ import annotations

import contextlib
import logging
import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry
from urllib3.exceptions import HTTPError, InvalidHeader, LocationValueError, MaxRetryError

from wiseft.base import speed
from wiseft.base.io import gigabytes, require_space
from wiseft.base.locks import exclusive
from wiseft.base.progress import Meter
from wiseft.base.transfer.checksums import CHUNK, Checksums, already_there, compare_file
from wiseft.base.transfer.partial import Partial
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)

LONGEST_RETRY_AFTER = 300.0
"""A server that asks for a longer wait than these seconds is given up."""

PROGRESS = 1 << 20
"""An attempt that brings this many new bytes does not count as a failed one."""

TRANSIENT = (408, 425, 429, *range(500, 600))
"""Statuses that another attempt may mend; every other error is final."""

REDIRECTS = Retry(total=None, connect=0, read=0, other=0, status=0, redirect=10)
"""What urllib3 does by itself within one attempt: it follows redirects."""


class Interrupted(Exception):
    """The transfer broke off; the next attempt may go on from there.

    Args:
        message: what happened.
        wait: seconds that the server asks for before the next attempt.
    """

    def __init__(self, message: str, wait: float = 0.0):
        super().__init__(message)
        self.wait = wait


class Refused(Exception):
    """This address will not give the file, however often it is asked."""


def download(
    urls: Sequence[str],
    path: Path,
    expected: Checksums,
    *,
    retries: int = 4,
    back_off: float = 1.0,
    timeout: float = 30.0,
) -> str:
    """Bring a file to `path`; does nothing if it is there and right.

    What has arrived is kept as ``.<name>.part`` beside it, between attempts and runs, and continued
    by a range request. Two processes that want the same file take turns.

    Args:
        urls: http and https addresses of the same file, tried in this order.
        retries: further attempts per address in a row that bring less than 1 MiB.
        back_off: the second of them waits twice these seconds, each one after twice as long as the
            one before, with jitter.
        timeout: seconds without a byte after which a connection counts as lost; so does one that is
            slower than `wiseft.base.speed` allows.

    Returns:
        The address it came from; empty if it was there.

    Raises:
        WiseftError: the file that is there is another one (it is not touched); no address gave the
            right file (the message says what each one answered); there is too little space.
    """
    if already_there(path, expected):
        return ""
    _require_addresses(urls, path)
    with exclusive(path.with_name(f".{path.name}.lock")):
        if already_there(path, expected):
            return ""
        part = Partial(path)
        retry = Retry(
            retries, status_forcelist=TRANSIENT, backoff_factor=back_off, backoff_jitter=back_off
        )
        answers = []
        for url in urls:
            try:
                _Address(url, part, expected, retry, timeout).fetch()
            except Refused as answer:
                log.info(f"{url} {answer}")
                answers.append(f"  {url} {answer}")
                continue
            part.rename_to(path)
            return url
        raise WiseftError(_all_failed(path, expected, part, answers))


@dataclass(frozen=True)
class _Address:
    """One address of a file, and what has arrived of the file.

    Args:
        retry: what is left to an address that has not failed yet.
        timeout: seconds.
    """

    url: str
    part: Partial
    expected: Checksums
    retry: Retry
    timeout: float

    def fetch(self) -> None:
        """Complete the part and check it; once more from the start if it is wrong.

        Raises:
            Refused: this address does not give this file.
            WiseftError: the disk is full or cannot be written.
        """
        for last in (False, True):
            resumed = self.part.size() > 0
            self._complete()
            _, fault = compare_file(self.part.file, self.expected)
            if not fault:
                return
            self.part.discard()
            if last:
                raise Refused(f"gave another file: {fault}")
            kind = "continued" if resumed else "whole"
            log.info(f"{self.url}: the {kind} file is wrong ({fault}); fetching it from the start")

    def _complete(self) -> None:
        size, retry = self.expected.size, self.retry
        if size is not None and self.part.size() > size:
            self.part.discard()
        furthest = self.part.size()
        while not self.part.file.exists() or self.part.size() != size:
            if size is not None:
                require_space(self.part.file.parent, size - self.part.size(), self.part.file.name)
            try:
                self._transfer()
                return
            except Interrupted as failure:
                if self.part.size() >= furthest + PROGRESS:
                    retry = self.retry
                furthest = max(furthest, self.part.size())
                retry = self._wait(retry, failure)

    def _wait(self, retry: Retry, failure: Interrupted) -> Retry:
        """Wait before the next attempt; return what is left after it."""
        try:
            left = retry.increment("GET", self.url, error=failure)
        except MaxRetryError:
            attempts = len(retry.history) + 1
            raise Refused(f"{failure}; given up after {attempts} attempts") from failure
        if failure.wait > LONGEST_RETRY_AFTER:
            longest = f"{LONGEST_RETRY_AFTER:.0f} s"
            raise Refused(f"{failure} and asks to wait over {longest}") from failure
        seconds = max(left.get_backoff_time(), failure.wait)
        done = self.part.size() / 1e6
        where = "" if retry.history else f"{self.url}: "  # named once, not at every attempt
        log.info(f"{where}{failure}; next attempt in {seconds:.0f} s, from {done:.1f} MB on")
        sleep(seconds)
        return left

    def _transfer(self) -> None:
        """Ask once for what the part lacks and append it.

        Raises:
            Interrupted: the connection was lost, the server is busy or the part was thrown away.
            Refused: this address does not give this file.
            WiseftError: the disk is full or cannot be written.
        """
        headers = {"User-Agent": "wiseft", "Accept-Encoding": "identity"}
        headers |= self.part.headers(self.url, checked=bool(self.expected.by_name))
        try:
            manager = _manager(self.url)
            response = manager.request(
                "GET",
                self.url,
                headers=headers,
                timeout=self.timeout,
                retries=REDIRECTS,
                preload_content=False,
                decode_content=False,
            )
        except LocationValueError as error:
            raise Refused(f"leads to no address of http or https ({error})") from error
        except MaxRetryError as error:
            raise _unreachable(error) from error
        with manager, response:
            if response.status == 416:
                self._nothing_left(response)
                return
            total = self._accept(response)
            try:
                self._append(response, total)
            except HTTPError as error:
                lost = f"the connection was lost after {self.part.size()} bytes"
                raise Interrupted(f"{lost} ({_cause(error)})") from error

    def _accept(self, response: BaseHTTPResponse) -> int | None:
        """Set the part up for the body to come; return the size of the whole file, if known."""
        self._require_file(response)
        headers, part, size = response.headers, self.part, self.expected.size
        length = headers.get("Content-Length", "").strip()
        if response.status == 206:
            total = self._continues(response)
        else:
            total = int(length) if length.isdecimal() else None
        if size is not None and total is not None and total != size:
            raise Refused(f"offers {total} bytes, expected {size}")
        if response.status == 200:
            if total is not None:
                require_space(part.file.parent, total, part.file.name)
            told = {"etag": headers.get("ETag"), "last_modified": headers.get("Last-Modified")}
            part.begin({"url": self.url, **told, "size": total})
        return total if total is not None else size

    def _require_file(self, response: BaseHTTPResponse) -> None:
        """Raise Interrupted or Refused for every answer that is not a file."""
        message = f"answered {response.status} {response.reason}"
        if self.retry.is_retry("GET", response.status):
            wait = None
            with contextlib.suppress(InvalidHeader):
                wait = self.retry.get_retry_after(response)
            raise Interrupted(message, wait or 0.0)
        if response.status not in (200, 206):
            raise Refused(message)
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind == "text/html" and not urlsplit(self.url).path.endswith(".html"):
            raise Refused("answered with a web page instead of the file")

    def _continues(self, response: BaseHTTPResponse) -> int | None:
        """Check that a partial answer continues the part; return the size of the whole."""
        sent = response.headers.get("Content-Range", "").strip()
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", sent)
        total = int(match[2]) if match and match[2] != "*" else None
        source, etag = self.part.source(), response.headers.get("ETag")
        changed = (
            source.get("url") == self.url and etag and source.get("etag") and etag != source["etag"]
        ) or (total and source.get("size") and total != source["size"])
        if match and int(match[1]) == self.part.size() and not changed:
            return total
        self.part.discard()
        if changed:
            raise Interrupted("the file changed at the server, so it is fetched from the start")
        raise Interrupted("the server sent another range than it was asked for")

    def _nothing_left(self, response: BaseHTTPResponse) -> None:
        """Raise Interrupted unless the server says that the part is the whole."""
        sent = response.headers.get("Content-Range", "").strip()
        if sent != f"bytes */{self.part.size()}":
            self.part.discard()
            raise Interrupted("the file at the server is shorter than what is here")

    def _append(self, response: BaseHTTPResponse, total: int | None) -> None:
        part, done, pace = self.part, self.part.size(), speed.Pace(Interrupted)
        name = part.file.name.removeprefix(".").removesuffix(".part")
        with part.writing():
            file = part.file.open("ab")
        # A slow server is attempted several times: not every ten seconds a line of each.
        with file, Meter(desc=f"{name}: downloading", total=total, initial=done) as meter:
            while total is None or done < total:
                if not (data := response.read1(CHUNK)):
                    break
                done += len(data)
                if done > (most := speed.LARGEST if total is None else total):
                    part.discard()
                    why = "that are allowed without a size" if total is None else "expected"
                    raise Refused(f"sent more than the {most} bytes {why}")
                with part.writing():
                    file.write(data)
                    file.flush()
                meter.update(len(data))
                pace.add(len(data))
        if total is not None and done < total:
            raise Interrupted(f"the connection ended after {done} of {total} bytes")


def _manager(url: str) -> PoolManager:
    """Return what sends the request, through the proxy that the environment names for it."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if not proxy or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return PoolManager()
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    user = urllib3.util.parse_url(proxy).auth
    return ProxyManager(
        proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=user and unquote(user))
    )


def _unreachable(error: MaxRetryError) -> Interrupted | Refused:
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Refused(f"has no certificate that this machine trusts ({cause.verify_message})")
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        return Refused("names a host that is not known here")
    return Interrupted(f"could not be reached ({cause})")


def _cause(error: BaseException) -> BaseException:
    """Return what an error of urllib3 is made of: an error of the system's, where there is one."""
    # Only a MaxRetryError's reason is an error; ssl's is a text.
    parts = (getattr(error, "reason", None), error.__cause__, *error.args)
    inner = next((part for part in parts if isinstance(part, Exception)), None)
    return error if inner is None else _cause(inner)


def _require_addresses(urls: Sequence[str], path: Path) -> None:
    if not urls:
        raise WiseftError(f"no address is known to fetch {path.name} from; copy it to {path}.")
    for url in urls:
        with contextlib.suppress(ValueError):
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") and parts.netloc:
                continue
        raise WiseftError(
            f"{path.name}: expected an address that begins with http:// or https://, found "
            f"{url}. A file that is on this machine is put at {path} instead."
        )


def _all_failed(path: Path, expected: Checksums, part: Partial, answers: Sequence[str]) -> str:
    lines = [f"{path.name} could not be downloaded:", *answers]
    if kept := part.size():
        lines.append(f"{gigabytes(kept)} are kept, and the next run goes on from there.")
    known = next((f" (expected {key} {value})" for key, value in expected.by_name.items()), "")
    lines.append(
        f"Try again later, or fetch it on another machine and put it at {path}{known}; then run "
        "the same command again."
    )
    return "\n".join(lines)
