"""One HTTP request: the rest of a file, appended to the part that is there."""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import http.client
import json
import re
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from wiseft.errors import WiseftError
from wiseft.io import require_space
from wiseft.progress import Meter

CHUNK = 1 << 20
"""Most bytes of one read."""

SCHEMES = ("http", "https")
PASSING = {408, 425, 429}
"""Client errors that another attempt may mend; every other 4xx is final."""


class Failed(Exception):
    """The transfer broke off; the next attempt may go on from there.

    Args:
        message: what happened.
        wait: seconds that the server asks for before the next attempt.
    """

    def __init__(self, message: str, wait: float | None = None):
        super().__init__(message)
        self.wait = wait


class Refused(Exception):
    """This address will not give the file, however often it is asked."""


class Partial:
    """The part of a file that is there: ``.<name>.part``, and ``.<name>.part.json`` that says which
    file of which server it is a part of."""

    def __init__(self, path: Path):
        self.file = path.with_name(f".{path.name}.part")
        self.notes = path.with_name(f".{path.name}.part.json")

    def size(self) -> int:
        """Return the bytes that are there."""
        return self.file.stat().st_size if self.file.exists() else 0

    def source(self) -> dict[str, Any]:
        """Return url, etag, last_modified and size as the server gave them; empty if unknown."""
        try:
            found = json.loads(self.notes.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def begin(self, source: Mapping[str, Any]) -> None:
        """Empty the file, then note where the bytes to come are from."""
        with self.writing():
            self.file.write_bytes(b"")
            # Not through a temporary file: a torn note counts as none, and a killed run leaves no
            # third file behind.
            self.notes.write_text(json.dumps(source), encoding="utf-8")

    def discard(self) -> None:
        """Remove both files."""
        self.file.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turn errors of the disk into a WiseftError, so that none is taken for one of the
        network."""
        try:
            yield
        except OSError as error:
            raise WiseftError(
                f"{self.file} cannot be written ({error.strerror}). What is there is kept; make "
                "room and run the same command again to go on."
            ) from error


class _Redirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme not in SCHEMES:
            raise Refused(f"leads to {newurl}, which is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _opener() -> urllib.request.OpenerDirector:
    """An opener for http and https alone: the default one also opens file:, ftp: and data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
        _Redirect(),
    ):
        opener.add_handler(handler)
    return opener


def transfer(
    url: str,
    part: Partial,
    *,
    size: int | None,
    checked: bool,
    timeout: float,
    say: Callable[[str], None],
) -> None:
    """Ask `url` for what `part` lacks and append it.

    Args:
        size: bytes of the whole file, where it is known.
        checked: whether a checksum will decide on the result. Without one, a part is only
            continued if the server can tell that it still has the same file.
        timeout: seconds without a byte after which the connection counts as lost.
        say: called with progress lines.

    Raises:
        Failed: the connection was lost, the server is busy or the part had to be thrown away.
        Refused: this address does not give this file.
        WiseftError: the disk is full or cannot be written.
    """
    request = urllib.request.Request(url, headers=_headers(url, part, checked))
    try:
        with _opener().open(request, timeout=timeout) as response:
            total = _accept(url, response, part, size)
            _copy(response, part, total, say)
    except urllib.error.HTTPError as error:
        with error:
            _explain(error, part)
    except urllib.error.URLError as error:
        raise _unreachable(error.reason) from error
    except ValueError as error:  # http.client.InvalidURL is one
        raise Refused(f"is not an address ({error})") from error
    except http.client.IncompleteRead as error:
        raise Failed(f"the connection ended after {part.size()} bytes") from error
    except (OSError, http.client.HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise Failed(f"the connection was lost after {part.size()} bytes ({reason})") from error


def _headers(url: str, part: Partial, checked: bool) -> dict[str, str]:
    headers = {"User-Agent": "wiseft", "Accept-Encoding": "identity"}
    done = part.size()
    if not done:
        return headers
    source = part.source()
    validator = _validator(source) if source.get("url") == url else None
    if validator:
        headers["If-Range"] = validator
    elif not checked:
        return headers
    headers["Range"] = f"bytes={done}-"
    return headers


def _validator(source: Mapping[str, Any]) -> str | None:
    etag = source.get("etag")
    if etag and not etag.startswith("W/"):  # a weak one may not stand in If-Range
        return str(etag)
    return source.get("last_modified")


def _accept(url: str, response: Any, part: Partial, size: int | None) -> int | None:
    """Set `part` up for the body to come and return the size of the whole file, if known."""
    headers = response.headers
    if response.status == 206:
        total = _continues(url, headers, part)
    elif response.status == 200:
        total = _length(headers)
    else:
        raise Refused(f"answered {response.status} {response.reason}")
    if size is not None and total is not None and total != size:
        raise Refused(f"offers {total} bytes, expected {size}")
    if headers.get_content_type() == "text/html" and not urlsplit(url).path.endswith(".html"):
        raise Refused("answered with a web page instead of the file")
    if response.status == 200:
        if total is not None:
            require_space(part.file.parent, total, part.file.name)
        part.begin(
            {
                "url": url,
                "etag": headers.get("ETag"),
                "last_modified": headers.get("Last-Modified"),
                "size": total,
            }
        )
    return total if total is not None else size


def _continues(url: str, headers: Message, part: Partial) -> int | None:
    """Check that a partial answer continues the part, and return the size of the whole."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", "").strip())
    total = int(found[2]) if found and found[2] != "*" else None
    source = part.source()
    etag = headers.get("ETag")
    changed = (
        source.get("url") == url and etag and source.get("etag") and etag != source["etag"]
    ) or (total and source.get("size") and total != source["size"])
    if found and int(found[1]) == part.size() and not changed:
        return total
    part.discard()
    if changed:
        raise Failed("the file changed at the server, so it is fetched from the start")
    raise Failed("the server sent another range than it was asked for")


def _length(headers: Message) -> int | None:
    text = headers.get("Content-Length", "").strip()
    return int(text) if text.isdecimal() else None


def _copy(response: Any, part: Partial, total: int | None, say: Callable[[str], None]) -> None:
    done = part.size()
    name = part.file.name.removeprefix(".").removesuffix(".part")
    with part.writing():
        file = part.file.open("ab")
    with file, Meter(f"{name}: downloading", total, done, say=say) as meter:
        while total is None or done < total:
            data = response.read1(CHUNK)
            if not data:
                break
            done += len(data)
            if total is not None and done > total:
                part.discard()
                raise Refused(f"sent more than the {total} bytes expected")
            with part.writing():
                file.write(data)
                file.flush()
            meter.add(len(data))
    if total is not None and done < total:
        raise Failed(f"the connection ended after {done} of {total} bytes")


def _explain(error: urllib.error.HTTPError, part: Partial) -> None:
    """Turn an error status into Failed or Refused; return if it says that nothing is left to
    send."""
    if error.code == 416:
        found = re.fullmatch(r"bytes \*/(\d+)", error.headers.get("Content-Range", "").strip())
        if found and int(found[1]) == part.size():
            return
        part.discard()
        raise Failed("the file at the server is shorter than what is here") from error
    message = f"answered {error.code} {error.reason}"
    if error.code >= 500 or error.code in PASSING:
        raise Failed(message, _retry_after(error.headers.get("Retry-After"))) from error
    raise Refused(message) from error


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After header: a number, or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        when = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, (when - datetime.datetime.now(datetime.UTC)).total_seconds())


def _unreachable(reason: Any) -> Failed | Refused:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Refused(f"has no certificate that this machine trusts ({reason.verify_message})")
    if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME:
        return Refused("names a host that is not known here")
    return Failed(f"could not be reached ({reason})")
