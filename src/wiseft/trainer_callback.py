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

from wiseft.alphas import parse_alphas
from wiseft.combine.linear import interpolate
from wiseft.errors import WiseftError
from wiseft.io import atomic_path, write_json, write_text
from wiseft.tabulate.intervals import clopper_pearson
from wiseft.tabulate.selection import choose_alpha
from wiseft.towers import floating

try:
    from transformers import Trainer, TrainerCallback
except ImportError as error:
    raise WiseftError(
        f"the callback needs transformers and accelerate ({error}): pip install 'wiseft[trainer]'"
    ) from None

ALPHAS = tuple(f"{step * 0.05:.3f}" for step in range(21))
HELD_OUT = "held-out"


class WiseftCallback(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Keeps theta_0, and at the end writes the curve and the model at the alpha that it chose.

    In `output`: `theta_0.safetensors`, the weights before the first step; `curve.csv`, accuracy by
    alpha and set with 95 % intervals; `choice.json`; `model/`, as `save_pretrained` writes it. The
    trainer's own model is left as it was trained.

    Args:
        trainer: of an image or text classifier; then `trainer.add_callback(callback)`.
        output: a new folder, or that of the training that is resumed; every process must see it.
        held_out: data of the fine-tuning's distribution that alpha is chosen on.
        shifts: other data by name, which is measured and has no part in the choice.
        rule: as in `wiseft.choose_alpha`.

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
        rule: str = "held-out-1se",
    ) -> None:
        self.trainer, self.output, self.rule = trainer, Path(output), rule
        self.sets = {HELD_OUT: held_out, **(shifts or {})}
        self.alphas = parse_alphas(alphas)
        self.start = self.output / "theta_0.safetensors"
        choose_alpha({0.0: 1.0}, 1, rule)  # a wrong rule is told now, not after the training

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Write the weights that the training starts from; of a resumed one they are there."""
        weights = self._weights()
        if self.start.exists() != bool(state.global_step):
            raise WiseftError(
                f"{self.start} is there, but this training is new; name another output"
                if self.start.exists()
                else f"{self.start} is missing: this training began without the callback"
            )
        if not state.global_step and state.is_world_process_zero:
            with atomic_path(self.start) as temporary:
                save_file(
                    {name: tensor.cpu().clone() for name, tensor in weights.items()}, temporary
                )

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Measure every alpha, choose one and write its model."""
        weights, theta_0 = self._weights(), load_file(self.start)
        theta_1 = {name: tensor.cpu().clone() for name, tensor in weights.items()}
        rows = []
        try:
            for alpha in self.alphas:
                _put(weights, interpolate(theta_0, theta_1, alpha))
                rows += [{"alpha": alpha, "set": name, **self._counts(name)} for name in self.sets]
            curve = pd.DataFrame(rows)
            curve["accuracy"] = curve["n_correct"] / curve["n"]
            curve["ci_low"], curve["ci_high"] = clopper_pearson(curve["n_correct"], curve["n"])
            own = curve[curve["set"] == HELD_OUT]
            accuracy = dict(zip(own["alpha"], own["accuracy"], strict=True))
            alpha = choose_alpha(accuracy, n := int(own["n"].iloc[0]), self.rule)
            _put(weights, interpolate(theta_0, theta_1, alpha))
            if state.is_world_process_zero:
                self._model().save_pretrained(self.output / "model")
                if self.trainer.processing_class is not None:
                    self.trainer.processing_class.save_pretrained(self.output / "model")
                write_text(self.output / "curve.csv", curve.to_csv(index=False))
                write_json(self.output / "choice.json", {"alpha": alpha, "rule": self.rule, "n": n})
        finally:
            _put(weights, theta_1)

    def _model(self) -> Any:
        return self.trainer.accelerator.unwrap_model(self.trainer.model)

    def _weights(self) -> dict[str, Tensor]:
        """Return the floating tensors of the model itself, not copies."""
        if self.trainer.is_fsdp_enabled or self.trainer.is_deepspeed_enabled:
            raise WiseftError("the weights are in parts (FSDP, DeepSpeed); train without, or merge")
        if hasattr(model := self._model(), "peft_config"):
            raise WiseftError(
                "the model is an adapter of PEFT, whose factors can't be interpolated; save it, "
                "then run `wiseft merge` on its merged weights"
            )
        return floating(model.state_dict())

    def _counts(self, name: str) -> dict[str, int]:
        found = self.trainer.predict(self.sets[name])
        logits = found.predictions[0] if isinstance(found.predictions, tuple) else found.predictions
        if logits is None or found.label_ids is None:
            raise WiseftError(
                f"set {name} has no labels, or the trainer keeps no predictions of it"
            )
        right = np.argmax(logits, axis=-1) == found.label_ids
        return {"n": int(right.size), "n_correct": int(right.sum())}


@torch.no_grad()
def _put(live: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in live.items():
        tensor.copy_(tensors[name])
