"""Stage finetune: theta_0 and the reference train split give theta_1 (paper section 3, step 1)."""

from wiseft.finetune.stage import Outputs, finetune, train_from_scratch

__all__ = ["Outputs", "finetune", "train_from_scratch"]
