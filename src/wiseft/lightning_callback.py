"""A callback of Lightning: both ends of a training as checkpoints that `wiseft sweep` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wiseft.errors import WiseftError

try:
    from lightning.pytorch import Callback
except ImportError:
    raise WiseftError("Lightning is missing: pip install lightning") from None


class WiseftCallback(Callback):
    """Writes `zero-shot.ckpt` before the first step and `fine-tuned.ckpt` after the last.

    Both are checkpoints of Lightning without the state of an optimiser.

    Args:
        output: a new folder, or that of the training that is resumed.

    Raises:
        WiseftError: at the start of a training, if `output` is of another one.
    """

    def __init__(self, output: Path | str) -> None:
        self.start, self.end = (Path(output) / f"{n}.ckpt" for n in ("zero-shot", "fine-tuned"))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Write the weights that the training starts from; of a resumed one they are there."""
        if self.start.exists() != bool(trainer.global_step):
            what = "has no" if trainer.global_step else "belongs to another training: it has a"
            raise WiseftError(f"{self.start.parent} {what} {self.start.name}; name another output")
        trainer.strategy.barrier()  # all processes have looked before the first one writes
        if not trainer.global_step:
            trainer.save_checkpoint(self.start, weights_only=True)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the weights that the training ends with."""
        trainer.save_checkpoint(self.end, weights_only=True)
