"""A callback of transformers' Trainer: a fine-tuning ends with the weights of the best alpha."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from wiseft.base.alphas import parse_alphas
from wiseft.base.io import atomic_path, write_json, write_text
from wiseft.combine.linear_combination import interpolate
from wiseft.errors import WiseftError
from wiseft.tabulate.intervals import clopper_pearson
from wiseft.tabulate.selection import choose_alpha
from wiseft.thetas.tensor_views import floating
from wiseft.tool.record import HELD_OUT
from wiseft.tool.sweep import ALPHAS

try:
    from transformers import Trainer, TrainerCallback
except ImportError:
    raise WiseftError("transformers is missing: pip install 'wiseft[trainer]'") from None


class WiseftCallback(TrainerCallback):
    """Keeps theta_0, and at the end writes the curve and the model at the alpha that it chose.

    In `output`: `theta_0.safetensors`, the weights before the first step; `curve.csv`, accuracy by
    alpha and set with 95 % intervals; `choice.json`; `model/`, as `save_pretrained` writes it. The
    trainer's own model is left as it was trained.

    Args:
        trainer: of a classifier; then `trainer.add_callback(callback)`.
        output: a new folder, or that of the training that is resumed; all processes see it.
        held_out: data of the fine-tuning's distribution; alpha is chosen by one standard error.
        shifts: other data by name, which has no part in the choice.

    Raises:
        WiseftError: in training, if `output` is of another one, or the weights are those of an
            adapter or in parts on several devices.
    """

    def __init__(
        self,
        trainer: Trainer,
        output: Path | str,
        held_out: Any,
        shifts: Mapping[str, Any] | None = None,
        alphas: Iterable[float | str] = ALPHAS,
    ) -> None:
        self.trainer, self.output, self.alphas = trainer, Path(output), parse_alphas(alphas)
        self.sets = {HELD_OUT: held_out, **(shifts or {})}
        self.start = self.output / "theta_0.safetensors"

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Write the weights that the training starts from; of a resumed one they are there."""
        weights = self._weights()
        if not state.is_world_process_zero:
            return
        if self.start.exists() != bool(state.global_step):
            what = "has no" if state.global_step else "belongs to another training: it has a"
            raise WiseftError(f"{self.output} {what} {self.start.name}; name another output")
        if not state.global_step:
            with atomic_path(self.start) as temporary:
                save_file(_copies(weights), temporary)

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Measure every alpha, choose one and write its model."""
        weights, theta_0 = self._weights(), load_file(self.start)
        theta_1, rows = _copies(weights), []
        try:
            for alpha in self.alphas:
                _put(weights, interpolate(theta_0, theta_1, alpha))
                rows += [{"alpha": alpha, "set": name, **self._counts(name)} for name in self.sets]
            curve = pd.DataFrame(rows)
            curve["accuracy"] = curve["n_correct"] / curve["n"]
            curve["ci_low"], curve["ci_high"] = clopper_pearson(curve["n_correct"], curve["n"])
            own = curve[curve["set"] == HELD_OUT]
            accuracy = dict(zip(self.alphas, own["accuracy"].tolist(), strict=True))
            chosen = choose_alpha(accuracy, int(own["n"].iloc[0]))
            _put(weights, interpolate(theta_0, theta_1, chosen))
            if state.is_world_process_zero:
                for each in filter(None, (self._model(), self.trainer.processing_class)):
                    each.save_pretrained(self.output / "model")
                write_text(self.output / "curve.csv", curve.to_csv(index=False))
                write_json(self.output / "choice.json", {"alpha": chosen, "rule": "held-out-1se"})
        finally:
            _put(weights, theta_1)

    def _model(self) -> Any:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _weights(self) -> dict[str, Tensor]:
        """Return the floating tensors of the model itself, not copies."""
        parts = self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled
        if parts or hasattr(self._model(), "peft_config"):
            raise WiseftError(
                "whole weights are needed, not those of an adapter of PEFT, of FSDP or DeepSpeed; "
                "train without the callback, save the whole model and use `wiseft merge`"
            )
        return floating(self._model().state_dict())

    def _counts(self, name: str) -> dict[str, int]:
        found = self.trainer.predict(self.sets[name])
        logits = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
        if logits is None or found.label_ids is None:
            raise WiseftError(f"set {name} has no labels, or the trainer keeps no predictions")
        right = np.argmax(logits, axis=-1) == found.label_ids
        return {"n": int(right.size), "n_correct": int(right.sum())}


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().clone() for name, tensor in tensors.items()}


@torch.no_grad()
def _put(live: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in live.items():
        tensor.copy_(tensors[name])
