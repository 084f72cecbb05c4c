"""Tokenizers: CLIP's, which comes with open_clip, and those made of files, which travel inside the
description of an architecture, so that no job needs a hub.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from wiseft.base.temporary import temporary_folder
from wiseft.errors import WiseftError

FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
)
"""Names that a tokenizer's files may have; none is code."""
_MOST_BYTES = 256 * 1024**2
"""Of one of them, unpacked."""
NEEDS_TRANSFORMERS = (
    "needs the package transformers, which is not installed; install the extra `align`: "
    "pip install 'wiseft[align]'"
)


def pack(files: Iterable[Path]) -> dict[str, str]:
    """Return files as texts (zlib, base64), by name."""
    return {
        path.name: base64.b64encode(zlib.compress(path.read_bytes(), 9)).decode("ascii")
        for path in sorted(files, key=lambda path: path.name)
    }


@contextlib.contextmanager
def unpacked(files: Mapping[str, str]) -> Iterator[Path]:
    """Yield a temporary folder with the files that `pack` made texts of.

    Raises:
        WiseftError: if a name is none of a tokenizer's, or a text is damaged or grows too large.
    """
    with temporary_folder("wiseft-tokenizer") as folder:
        for file, text in files.items():
            if file not in FILES:
                raise WiseftError(
                    f"the tokenizer has a file {file!r}, but may have {', '.join(FILES)} alone"
                )
            try:
                inflate = zlib.decompressobj()
                content = inflate.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
                if not inflate.eof:
                    raise ValueError("it is cut short, or unpacks to more than 256 MiB")
            except (binascii.Error, zlib.error, ValueError, TypeError) as error:
                raise WiseftError(
                    f"the tokenizer's file {file} is damaged ({error}); fetch the model again"
                ) from None
            (folder / file).write_bytes(content)
        yield folder


def load_hf(folder: Path | str, **options: Any) -> Any:
    """Return a tokenizer of transformers from its files, or from a hub's name.

    Raises:
        WiseftError: if transformers is not installed, or there is no such tokenizer.
    """
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise WiseftError(f"the tokenizer {folder} {NEEDS_TRANSFORMERS}") from None
    try:
        return AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False, **options)
    except (OSError, ValueError, ImportError) as error:
        raise WiseftError(
            f"the tokenizer {folder} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error


def refuse_long(
    prompts: Sequence[str], tokens: Tensor, count: Callable[[str], int], pad: int
) -> None:
    """Refuse prompts with more tokens than the model reads: their end would be cut off unseen.

    Args:
        tokens: int64 (n, context length), of the prompts.
        count: returns the tokens of a prompt, start and end included; called for full rows only.
        pad: the token that fills up a row.

    Raises:
        WiseftError: naming the first.
    """
    context = tokens.shape[1]
    for row in (tokens[:, -1] != pad).nonzero().flatten().tolist():
        if (length := count(prompts[row])) > context:
            raise WiseftError(
                f"prompt {prompts[row]!r} has {length} tokens, but the model reads {context}; "
                "shorten the template or the class name"
            )
