"""The hub's own client with bounds: a hub or mirror that is slow, huge or none ends in an error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from json import JSONDecodeError
from typing import Any

from huggingface_hub import constants, errors, set_client_factory
from huggingface_hub.utils import _http

from wiseft.base import speed
from wiseft.base.progress import Meter
from wiseft.errors import WiseftError

TIMEOUT = 60.0
"""Seconds without a byte; by itself the hub's client waits for ever."""
LARGEST_ANSWER = 16 * 1024**2
"""Bytes of an answer that is no file."""
NO_HUB: tuple[type[Exception], ...] = (errors.HTTPError, JSONDecodeError, LookupError, OSError)
NO_HUB += (AssertionError, AttributeError, RuntimeError, TypeError)
"""What the hub's client raises where nothing answers, or something else than a hub."""
_WORTH = 2**20
"""Bytes of a file whose download is shown."""


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


@contextmanager
def asking(repository: str, revision: str | None, otherwise: str = "") -> Iterator[dict[str, Any]]:
    """Ask the hub for files of a repository; yield the options of its functions that fetch.

    Args:
        otherwise: ends the message where the hub can't be reached: what else to do.

    Raises:
        WiseftError: if the hub has no such repository or revision, refuses it or cannot be reached.
    """
    options = {"repo_id": repository, "revision": revision, "library_name": "wiseft"}
    try:
        with bounded():
            yield options | {"endpoint": os.environ.get("HF_ENDPOINT"), "tqdm_class": _OfFile}
    except errors.HFValidationError:
        raise WiseftError(f"{repository} is no name of a repository; correct it") from None
    except errors.RevisionNotFoundError:
        raise WiseftError(f"{repository} has no revision {revision}; correct it") from None
    except errors.GatedRepoError:
        raise WiseftError(
            f"{repository} is gated: accept its terms on the hub, then give a token in HF_TOKEN"
        ) from None
    except errors.RepositoryNotFoundError:
        raise WiseftError(
            f"the hub has no repository {repository}, or it is private: then give a token in "
            "HF_TOKEN"
        ) from None
    except NO_HUB as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of this machine, such as a full disk
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        off = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else reason
        at = f" --revision {revision}" if revision else ""
        raise WiseftError(
            f"{repository} cannot be fetched ({off}), and the hub's cache has not all of it; on a "
            f"machine with a network run `hf download {repository}{at}` and bring its cache here, "
            f"{constants.HF_HUB_CACHE}{otherwise}"
        ) from None


class _OfFile(Meter):
    """Shows how far a file is, if it is large; the client counts files and what is left, too."""

    def __init__(self, *given: Any, **look: Any):
        super().__init__(*given, **look | {"disable": (look.get("total") or 0) < _WORTH})


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
