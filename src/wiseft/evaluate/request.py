"""What an evaluation is asked for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from wiseft.base.alphas import parse_alphas
from wiseft.base.progress import Meter
from wiseft.errors import WiseftError
from wiseft.evaluate.passes import LAST, STANDARD, Inference
from wiseft.evaluate.views import Evaluation, SuiteEvaluation
from wiseft.images.store import Manifest, open_manifest
from wiseft.models.batch_size import BatchSize
from wiseft.models.precision import Arithmetic
from wiseft.thetas.theta import Theta, load_theta
from wiseft.zeroshot.text_head import with_head_of

log = logging.getLogger(__name__)


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
        precision: arithmetic of the forward passes, one of `wiseft.models.precision`.
        compile: whether image towers are compiled; no identity goes by it.
        combinations: how the two ends are combined; see `passes.COMBINATIONS`.
        logits: the alphas whose logits are stored in full.
        head: a theta whose head and classes take the place of those of both ends: what is seen is
            what their image towers retain; None: their own.
        state: folder from which a killed evaluation goes on, emptied at the end; None: it does not.
        progress: counts images times alphas, of each combination; evaluations that are kept are
            skipped.
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
    head: Path | None = None
    state: Path | None = None
    progress: Meter | None = None

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

    def inference(self) -> Inference:
        """Return how forward passes are made."""
        device = torch.device(self.device)
        advice = "evaluate on a device with more memory, or set the model's precision to bf16"
        arithmetic = Arithmetic(self.precision, device)
        if str(arithmetic) != "fp32":
            log.info(f"arithmetic of the image tower: {arithmetic}")
        batch_size = BatchSize(self.batch_size or 1, advice=advice)
        return Inference(device, arithmetic, batch_size, self.compile)

    def grid(self) -> list[str]:
        """Return the sorted alphas.

        Raises:
            WiseftError: if an alpha is malformed, or parts of the request do not fit together.
        """
        alphas = parse_alphas(self.alphas)
        if self.theta_0 is None and alphas != [LAST]:
            raise WiseftError(
                f"without theta_0 only alpha {LAST} can be evaluated, found {', '.join(alphas)}; "
                "give theta_0 too"
            )
        if absent := [alpha for alpha in self.logits if alpha not in alphas]:
            raise WiseftError(
                f"logits are to be stored at alpha {', '.join(absent)}, but the grid is "
                f"{', '.join(alphas)}; add it there"
            )
        if self.batch_size is not None and self.batch_size < 1:
            raise WiseftError(f"batch size must be at least 1, found {self.batch_size}")
        return alphas

    def suite(self) -> list[tuple[Manifest, Evaluation]]:
        """Return every dataset with what to evaluate of it.

        Raises:
            WiseftError: if a manifest is missing or broken, or other datasets are to be evaluated.
        """
        manifests = [open_manifest(path) for path in self.manifests]
        names = [manifest.dataset for manifest in manifests]
        wanted = self.evaluate.root
        if not names or len(set(names)) != len(names) or set(names) != set(wanted):
            raise WiseftError(
                "the datasets and what to evaluate must name the same datasets, each once; found "
                f"{', '.join(names) or 'none'} and {', '.join(wanted) or 'none'}"
            )
        return [(manifest, wanted[manifest.dataset]) for manifest in manifests]
