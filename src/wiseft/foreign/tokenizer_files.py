"""Whether two folders of models read their inputs alike: tokenizers, and what a robot's policy
normalises by.
"""

from __future__ import annotations

import contextlib
import filecmp
import json
import logging
import re
from pathlib import Path
from typing import Any

from wiseft.base.io import read_json
from wiseft.errors import WiseftError, some
from wiseft.foreign.model_folder import STATISTICS, needed_files

log = logging.getLogger(__name__)

_WHOLE, _CONFIG = "tokenizer.json", "tokenizer_config.json"
_PARTS = re.compile(r"added_tokens\.json|vocab\.\w+|merges\.txt|.+\.(model|spm)|tekken\.json")
"""Files of a tokenizer that has no `tokenizer.json`."""
_READS = {"do_lower_case", "strip_accents", "add_prefix_space", "add_bos_token", "add_eos_token"}
"""Keys of `tokenizer_config.json` with which a text is read otherwise."""
_MAY_DIFFER = re.compile(r"(chat_t|generation|tokenizer|special|policy).+\.(json|jinja)")
"""Files of what is put around a text, which token begins or ends one, and devices."""
_NOISE = {"transformers_version", "_from_model_config", "version", "truncation", "padding"}


def compare_tokenizers(first: Path, second: Path) -> None:
    """Refuse two folders that read a text, or normalise what a robot sees, differently.

    Other files that differ beside the weights are named: what is merged has those of the first.

    Raises:
        WiseftError: naming files and, of those in JSON, keys and tokens.
    """
    one, other = needed_files(first), needed_files(second)
    whole = {_WHOLE} <= one.keys() & other
    odd, said = [], []
    for name, file in other.items():
        if name in one and filecmp.cmp(one[name], file, shallow=False):
            continue
        before, after = _content(one.get(name)), _content(file)
        differ = {key for key in before.keys() | after if before.get(key) != after.get(key)}
        said += [name] if differ and _MAY_DIFFER.fullmatch(name) else []
        part = _PARTS.fullmatch(name) and not whole
        if name == _CONFIG:
            differ &= {k for k in _READS if None not in (before.get(k), after.get(k))}
        elif not (part or name == _WHOLE or STATISTICS.fullmatch(name)):
            continue
        odd += [f"{name} ({some(sorted(differ))})"] if differ and name in one else []
    if odd:
        raise WiseftError(
            f"{first} and {second} read their inputs differently: {some(odd)}. Their mean can read "
            "in one way only; if the models were trained alike, make the files equal"
        )
    if said:
        log.info(f"{first} and {second} differ in {some(said)}; the result has the first's")


def _content(path: Path | None) -> dict[str, Any]:
    """Return what a file says; of a tokenizer its parts in one form, and its tokens beside them."""
    if path is None or path.suffix != ".json":
        return {"content": path.read_bytes()} if path else {}
    content = read_json(path)
    if path.name == _WHOLE:
        with contextlib.suppress(Exception):  # the library is not there, or does not know the file
            from tokenizers import Tokenizer

            whole = Tokenizer.from_file(str(path))
            tokens = {f"token {token}": place for token, place in whole.get_vocab().items()}
            content = json.loads(whole.to_str()) | tokens
    content = content if isinstance(content, dict) else {"content": content}
    return {key: value for key, value in content.items() if key not in _NOISE}
