"""Stage finetune: theta_0 and the reference train split give theta_1 (paper section 3, step 1)."""

from wiseft.finetune.resume import Interrupted
from wiseft.finetune.stage import Outputs, finetune, train_from_scratch
from wiseft.finetune.trainer import Way

__all__ = ["Interrupted", "Outputs", "Way", "finetune", "train_from_scratch"]
