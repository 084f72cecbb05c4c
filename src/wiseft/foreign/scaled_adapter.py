"""An adapter of PEFT, scaled: it is merged to the model at an alpha, and is as small as it was."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from wiseft.base.io import atomic_folder, read_object, write_json
from wiseft.errors import WiseftError
from wiseft.foreign.adapters import (
    CONFIG,
    FILES,
    adapted,
    config_of,
    files_of,
    is_adapter,
    module_of,
    names_in,
)
from wiseft.foreign.formats import Checkpoint, read_checkpoint
from wiseft.thetas.tensor_file import write_safetensors


def check_scalable(folder: Path) -> None:
    """Refuse what no scaled adapter stands for.

    Raises:
        WiseftError: if it is no LoRA, or a DoRA, whose merge is not linear in its factors.
    """
    if not is_adapter(folder):
        raise WiseftError(f"{folder} is no adapter of PEFT; leave out --as-adapter")
    if config_of(folder).use_dora:
        raise WiseftError(
            f"{folder} is a DoRA, whose norms are not linear in alpha: no adapter is the model "
            "between. Leave out --as-adapter, and the whole model is written"
        )


def write_scaled(folder: Path, base: Checkpoint, alpha: float | str, output: Path) -> None:
    """Write an adapter that PEFT merges to base + alpha (merged - base), as a new folder.

    What multiplies the factors, `lora_alpha`, is scaled; whole tensors are interpolated.

    Raises:
        WiseftError: as `check_scalable` and `adapted`.
    """
    check_scalable(folder)
    adapted(folder, base)
    lora, made, alpha = config_of(folder), dict[str, Tensor](), float(alpha)
    adapter = read_checkpoint(files_of(folder)[0]).tensors
    names = names_in(base, adapter)
    for key, tensor in adapter.items():
        module, end = module_of(key)
        start = tensor if end else base.tensors[names.get(module, module)]
        made[key] = torch.lerp(start.float(), tensor.float(), alpha).to(tensor.dtype)
    config = read_object(folder / CONFIG, "configuration of an adapter")
    config["lora_alpha"] = alpha * lora.lora_alpha
    config["alpha_pattern"] = {k: alpha * v for k, v in (lora.alpha_pattern or {}).items()}
    with atomic_folder(output) as temporary:
        write_json(temporary / CONFIG, config)
        write_safetensors(temporary / FILES[0], made, {"format": "pt"})
