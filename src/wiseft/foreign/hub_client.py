"""The hub's own client with bounds: a hub or mirror that is slow, huge or none ends in an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from huggingface_hub import errors, set_client_factory
from huggingface_hub.utils import _http

from wiseft.base import speed

TIMEOUT = 60.0
"""Seconds without a byte; by itself the hub's client waits for ever."""
LARGEST_ANSWER = 16 * 1024**2
"""Bytes of an answer that is no file."""


@contextmanager
def bounded(largest: int | None = None) -> Iterator[None]:
    """Let the hub's client ask with bounds while the block lasts; it raises `errors.HTTPError`.

    Args:
        largest: bytes of an answer; None: as many as it declares, or `speed.LARGEST`.
    """
    before = _http._GLOBAL_CLIENT_FACTORY
    set_client_factory(lambda: _with_bounds(before(), largest))
    try:
        yield
    finally:
        set_client_factory(before)


def _with_bounds(client: Any, largest: int | None) -> Any:
    client.timeout = TIMEOUT
    client.headers["Accept-Encoding"] = "identity"
    client.event_hooks["response"].append(partial(_watch, largest))
    return client


def _watch(largest: int | None, response: Any) -> None:
    """Refuse an answer that is none of a hub, and bound the reading of others."""
    headers, url = response.headers, response.url
    if response.status_code < 300 and headers.get("Content-Type", "").startswith("text/html"):
        what = "a web page, as a login or another site does; check HF_ENDPOINT and the network"
        raise errors.HTTPError(f"{url} answered with {what}")
    # A small body may unpack to any size, and none was asked for.
    if (coding := headers.get("Content-Encoding", "identity")) != "identity":
        raise errors.HTTPError(f"{url} answered in {coding}, but identity was asked for")
    most = largest or int(headers.get("Content-Length", speed.LARGEST))
    response.iter_raw = partial(_read, response.iter_raw, most)


def _read(raw: Callable[..., Iterator[bytes]], most: int, *given: Any) -> Iterator[bytes]:
    done, pace = 0, speed.Pace(errors.HTTPError)
    for data in raw(*given):
        if (done := done + len(data)) > most:
            raise errors.HTTPError(f"the answer has more than {most} bytes")
        pace.add(len(data))
        yield data
