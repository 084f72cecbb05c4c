"""Peak speeds of GPUs, from their makers' data sheets."""

from __future__ import annotations

from dataclasses import dataclass

from wiseft.errors import WiseftError


@dataclass(frozen=True)
class Peak:
    """Dense peak of one GPU in TFLOP/s (1e12 a second; a multiply-add counts as two).

    Attributes:
        fp32: without TF32, as everything in fp32 is computed here.
        half: fp16 and bf16 with sums in fp32.
        tf32: of TensorFloat-32; 0 where there is none, or it is not known.
    """

    fp32: float
    half: float
    tf32: float = 0.0

    def of(self, precision: str) -> float:
        """Return the peak of a precision: fp32, tf32, bf16 or fp16."""
        return {"fp32": self.fp32, "tf32": self.tf32 or self.fp32}.get(precision, self.half)


UTILISATION = {"fp32": 2 / 3, "half": 0.4}
"""Shares of the peak that large batches of these models roughly reach; stated, not measured."""

PEAKS = {
    "t4": Peak(8.1, 65.0),
    "v100": Peak(15.7, 125.0),  # SXM2; bf16 is no faster than fp32 there
    "a100": Peak(19.5, 312.0, 156.0),
    "l40s": Peak(91.6, 362.0, 183.0),
    "h100": Peak(67.0, 989.5, 494.7),  # SXM
    "h200": Peak(67.0, 989.5, 494.7),
}


def peak_of(gpu: str) -> Peak:
    """Return the peak of a GPU: a name of `PEAKS`, or `FP32,HALF` in TFLOP/s.

    Raises:
        WiseftError: if it is neither.
    """
    if gpu in PEAKS:
        return PEAKS[gpu]
    try:
        fp32, half = (float(part) for part in gpu.split(","))
        if min(fp32, half) > 0:
            return Peak(fp32, half)
    except ValueError:
        pass
    raise WiseftError(
        f"unknown GPU {gpu}; give one of {', '.join(PEAKS)}, or its peak in fp32 and in half "
        "precision in TFLOP/s, such as 82.6,165.2"
    )
