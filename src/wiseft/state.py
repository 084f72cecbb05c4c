"""Resume state of a long job: two generations, safetensors and JSON, no pickle.

The folder is no declared output of a rule, because Snakemake deletes those before a job. It is
keyed by everything that the result depends on: a state of other settings is discarded.
"""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from wiseft.io import atomic_path, sha256_json

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class State:
    """Where a job stands after `step` steps: its tensors and its training curve so far."""

    step: int
    tensors: dict[str, Tensor]
    curve: list[dict[str, Any]] = field(default_factory=list)


class StateStore:
    """Saves and loads the states of one job; `identity` is what its result depends on."""

    def __init__(self, folder: Path, identity: dict[str, Any]):
        self.folder = Path(folder)
        self.key = sha256_json(identity)

    def save(self, state: State) -> None:
        """Write a state atomically; the one before is kept, older ones are deleted."""
        metadata = {
            "key": self.key,
            "step": str(state.step),
            "curve": json.dumps(state.curve),
        }
        tensors = {key: value.detach().cpu().contiguous() for key, value in state.tensors.items()}
        with atomic_path(self.folder / f"step-{state.step:09d}.safetensors") as temporary:
            save_file(tensors, temporary, metadata=metadata)
        for old in self._files()[2:]:
            old.unlink()

    def load(self) -> State | None:
        """Return the newest good state of this job, or None.

        A damaged state and one of other settings are named in the log and skipped.
        """
        for path in self._files():
            try:
                return self._read(path)
            except (SafetensorError, OSError, KeyError, ValueError) as error:
                log.warning("resume state %s is not usable (%s); trying the one before", path, error)
        return None

    def clear(self) -> None:
        """Delete the states: the job is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("step-*.safetensors"), reverse=True)

    def _read(self, path: Path) -> State:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata["key"] != self.key:
                raise ValueError("it belongs to other settings")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return State(int(metadata["step"]), tensors, json.loads(metadata["curve"]))
