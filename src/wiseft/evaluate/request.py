"""What an evaluation is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wiseft.evaluate.sweep import STANDARD
from wiseft.evaluate.views import SuiteEvaluation
from wiseft.theta import Theta, load_theta
from wiseft.zeroshot.text_head import with_head_of


@dataclass(frozen=True)
class Request:
    """What to evaluate.

    Attributes:
        theta_0: the zero-shot end; None to evaluate `theta_1` alone.
        manifests: the datasets of the suite.
        evaluate: what to evaluate of each of them, by name.
        output_dir: files go to `<output_dir>/<dataset>/`.
        metadata: model, reference, method, variant, run and seed, as they stand in the metrics; the
            heads predict the classes of that reference.
        like: manifests of the datasets that views are like; nothing but the JSON is read.
        batch_size: images in a forward pass; None: `usual_batch_size`, or as many as fit a GPU.
        precision: arithmetic of the forward passes, one of `wiseft.precision`.
        compile: whether image towers are compiled; no identity goes by it.
        combinations: how the two ends are combined; see `sweep.COMBINATIONS`.
        logits: the alphas whose logits are stored in full.
        sparse: whether predictions at inner alphas may be inferred; see `wiseft.evaluate.sparse`.
        head: a theta whose head and classes take the place of those of both ends: what is seen is
            what their image towers retain; None: their own.
        state: folder from which a killed evaluation goes on, emptied at the end; None: it does not.
        progress: called with how many images at one alpha, of one combination, were computed.
    """

    theta_0: Path | None
    theta_1: Path
    alphas: list[str]
    manifests: list[Path]
    evaluate: SuiteEvaluation
    output_dir: Path
    metadata: dict[str, Any]
    batch_size: int | None = None
    precision: str = "fp32"
    compile: bool = False
    device: str = "cpu"
    like: Sequence[Path] = ()
    combinations: Sequence[str] = STANDARD
    logits: Sequence[str] = ()
    sparse: bool = False
    head: Path | None = None
    state: Path | None = None
    progress: Callable[[int], None] | None = None

    def load(self) -> tuple[Theta | None, Theta, dict[str, str | None]]:
        """Return both ends as they are seen, and the identities of the thetas behind them.

        Raises:
            WiseftError: if a theta is missing or damaged, or the head is of another architecture.
        """
        theta_0 = load_theta(self.theta_0) if self.theta_0 else None
        theta_1 = load_theta(self.theta_1)
        thetas = {"theta_0": theta_0.identity if theta_0 else None, "theta_1": theta_1.identity}
        if self.head is not None:
            other = load_theta(self.head)
            thetas["head"] = other.identity
            theta_0 = with_head_of(other, theta_0) if theta_0 else None
            theta_1 = with_head_of(other, theta_1)
        return theta_0, theta_1, thetas
