"""Resume state: what a killed training needs to go on with the very same weights.

Two generations are kept. A generation is a safetensors file and, written after it, a JSON file
with its SHA-256: without the latter, or with another sum, it does not count.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from wiseft.base.io import atomic_path, read_json, sha256_file, write_json
from wiseft.errors import WiseftError

log = logging.getLogger(__name__)

GENERATIONS = 2
_FORMAT = 1


class Checkpoints:
    """The states of one training in one folder.

    Args:
        folder: made when the first state is saved; other files in it are left alone.
        key: identity of the training; states of another key are discarded.
    """

    def __init__(self, folder: Path, key: str):
        self.folder = folder
        self.key = key

    def save(self, step: int, tensors: Mapping[str, Tensor]) -> None:
        """Save the state after `step` steps and drop all but the newest generations."""
        file = self.folder / f"step-{step:09d}.safetensors"
        with atomic_path(file, sum(value.nbytes for value in tensors.values())) as temporary:
            save_file({key: value.contiguous() for key, value in tensors.items()}, temporary)
        record = {"format": _FORMAT, "key": self.key, "step": step, "sha256": sha256_file(file)}
        write_json(file.with_suffix(".json"), record)
        self._prune()

    def load(self) -> dict[str, Tensor] | None:
        """Return the newest whole state, on the CPU; None if there is none to go on from."""
        markers = self._markers()
        for marker in markers:
            try:
                tensors = self._read(marker)
            except (WiseftError, SafetensorError, OSError) as error:
                log.info(f"resume state {marker.stem} is broken ({error}); trying the one before")
                continue
            if tensors is None:
                log.info("the resume state is of other settings, inputs or code: discarded")
                break
            return tensors
        if markers:
            log.info("training starts from the beginning")
        self.clear()
        return None

    def clear(self) -> None:
        """Remove all states, and the folder if nothing else is in it."""
        for file in self._files():
            file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # absent, or holds files of others
            self.folder.rmdir()

    def _read(self, marker: Path) -> dict[str, Tensor] | None:
        record = read_json(marker, "resume state")
        if not isinstance(record, dict) or "key" not in record:
            raise WiseftError(f"{marker} does not describe a state")
        if record["key"] != self.key or record.get("format") != _FORMAT:
            return None
        file = marker.with_suffix(".safetensors")
        if sha256_file(file) != record.get("sha256"):
            raise WiseftError(f"the checksum of {file.name} is not the recorded one")
        return load_file(file)

    def _markers(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.json"), reverse=True)

    def _files(self) -> list[Path]:
        # Names with a dot are what a write that was killed half-way left behind.
        return [f for pattern in ("step-*", ".step-*.tmp-*") for f in self.folder.glob(pattern)]

    def _prune(self) -> None:
        kept = {marker.stem for marker in self._markers()[:GENERATIONS]}
        for file in self._files():
            if file.stem not in kept:
                file.unlink(missing_ok=True)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as tensors named `optimiser.<parameter>.<name>`.

    A parameter that never had a gradient has none.
    """
    return {
        f"optimiser.{i}.{name}": value
        for i, parameter in enumerate(_parameters(optimiser))
        for name, value in optimiser.state[parameter].items()
        if isinstance(value, Tensor)
    }


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimiser_tensors` returned, into an optimiser whose kind is fused."""
    for i, parameter in enumerate(_parameters(optimiser)):
        prefix = f"optimiser.{i}."
        own = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if own:
            optimiser.state[parameter] = {k: _beside(parameter, v) for k, v in own.items()}


def _beside(parameter: Tensor, value: Tensor) -> Tensor:
    if value.shape != parameter.shape:
        return value.to(parameter.device)
    # The moments must lie in memory as the parameter does (channels_last): the fused optimiser
    # goes through all of them by address.
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _parameters(optimiser: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimiser.param_groups for parameter in group["params"]]
