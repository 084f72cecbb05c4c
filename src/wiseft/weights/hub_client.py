"""The hub's own client with bounds: a hub or mirror that is slow, huge or none ends in an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from typing import Any

from huggingface_hub import errors, set_client_factory
from huggingface_hub.utils import _http

from wiseft.data.fetching import speed

TIMEOUT = 60.0
"""Seconds without a byte; by itself the hub's client waits for ever."""
LARGEST_ANSWER = 16 * 1024**2
"""Bytes of an answer that is no file."""
_httpx = import_module(errors.HTTPError.__module__.partition(".")[0])
"""What the hub's client is made of: httpx or its successor."""


@contextmanager
def bounded(largest: int | None = None) -> Iterator[None]:
    """Let the hub's client ask with bounds while the block lasts; it raises `errors.HTTPError`.

    Args:
        largest: bytes of an answer; None: as many as it declares, or `speed.LARGEST`.
    """
    before = _http._GLOBAL_CLIENT_FACTORY
    set_client_factory(partial(_client, before, largest))
    try:
        yield
    finally:
        set_client_factory(before)


def _client(make: Callable[[], Any], largest: int | None) -> Any:
    client = make()
    client.timeout = TIMEOUT
    client.headers["Accept-Encoding"] = "identity"
    hooks = client.event_hooks
    client.event_hooks = {**hooks, "response": [*hooks["response"], partial(_watch, largest)]}
    return client


def _watch(largest: int | None, response: Any) -> None:
    """Refuse an answer that is none of a hub, and bound the reading of others."""
    kind = response.headers.get("Content-Type", "")
    if response.status_code < 300 and kind.startswith("text/html"):
        raise errors.HTTPError(
            f"{response.url} answered with a web page, as a login or another site does; check "
            "HF_ENDPOINT and the network"
        )
    # A small body may unpack to any size, and none was asked for.
    if (coding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise errors.HTTPError(f"{response.url} answered in {coding}, but identity was asked for")
    declared = response.headers.get("Content-Length", "")
    known = int(declared) if declared.isdecimal() else speed.LARGEST
    response.stream = _Watched(response.stream, known if largest is None else largest)


class _Watched(_httpx.SyncByteStream):  # type: ignore[name-defined]
    def __init__(self, stream: Any, largest: int):
        self._stream, self._largest = stream, largest

    def __iter__(self) -> Iterator[bytes]:
        done, pace = 0, speed.Pace()
        for data in self._stream:
            done += len(data)
            if done > self._largest:
                raise errors.HTTPError(f"the answer has more than {self._largest} bytes")
            try:
                pace.add(len(data))
            except speed.TooSlow as error:
                raise errors.HTTPError(f"the answer is too slow: {error}") from None
            yield data

    def close(self) -> None:
        self._stream.close()
