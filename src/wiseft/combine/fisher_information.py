"""Diagonal Fisher information, by which the recipe `fisher` weights the elements of thetas."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wiseft.combine.ensembles import uniforms
from wiseft.combine.linear_combination import check_finite
from wiseft.errors import WiseftError
from wiseft.images.store import Split, batches, open_manifest, open_split
from wiseft.images.subsets import draw_subset
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.models.runtime import check_writable
from wiseft.thetas.tensor_file import StoredTensors, open_tensors, tensor_writer
from wiseft.thetas.theta import load_theta

log = logging.getLogger(__name__)

SAMPLED, LABELS = "sampled", "labels"
KIND = "fisher"


def fisher_file(
    theta: Path,
    dataset: Path,
    output: Path,
    *,
    split: str = "train",
    samples: int | None = None,
    labels: str = SAMPLED,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> None:
    """Estimate and write the Fisher information of a theta.

    The header holds the identities of the theta and of the dataset, and the samples.

    Args:
        dataset: manifest of the reference that the theta's head is of.
        samples: how many of the split, drawn by the seed; None: all.
        labels: `sampled` or `labels`; see `estimate_fisher`.

    Raises:
        WiseftError: if an input is missing or broken, the dataset has other classes than the
            theta, or there are fewer samples than are asked for.
    """
    check_writable(output)
    model, manifest = load_theta(theta), open_manifest(dataset)
    if manifest.class_names != model.header.class_names:
        raise WiseftError(
            f"dataset {manifest.dataset} has other classes than {theta}; give the "
            "reference that its head is of"
        )
    images = open_split(manifest.path, split, model.header.transform)
    if samples is not None and samples > len(images):
        raise WiseftError(
            f"{samples} samples are asked for, but {manifest.dataset}, split "
            f"{split}, has {len(images)}; lower the number or leave it out"
        )
    indices = draw_subset(len(images), samples, seed)
    start = time.perf_counter()
    classifier = build_classifier(model.header, model.tensors).to(device)
    fisher = estimate_fisher(classifier, images, labels=labels, seed=seed, indices=indices)
    header = {
        "theta": model.identity,
        "dataset": manifest.dataset,
        "manifest": manifest.identity([split]),
        "split": split,
        "samples": len(indices),
        "labels": labels,
        "seed": seed,
    }
    save_fisher(output, fisher, header)
    rate = len(indices) / (time.perf_counter() - start)
    log.info(f"fisher: wrote {output} ({len(indices)} samples, {rate:.1f} samples/s)")


def estimate_fisher(
    classifier: ImageClassifier,
    split: Split,
    *,
    labels: str = SAMPLED,
    seed: int = 0,
    indices: NDArray[np.int64] | None = None,
) -> dict[str, Tensor]:
    """Return the mean over samples of the squared gradient of log p(y|x), by parameter.

    BatchNorm uses its running statistics, which are no parameters and have no Fisher information.

    Args:
        classifier: in eval mode, on the device that computes.
        labels: `sampled`: y is drawn from p(y|x), the Fisher information proper; `labels`: y is
            the sample's label, the so-called empirical one.
        seed: of the drawn labels, each of which depends on the seed and its sample's id alone.
        indices: of the samples; None: all of the split.

    Returns:
        fp32, on the CPU, by the names that the parameters have in a theta.

    Raises:
        WiseftError: if there is no sample, a label is of a class that is never predicted, or a
            gradient is not finite.
    """
    if labels not in (SAMPLED, LABELS):
        raise WiseftError(f"labels is {labels!r}, but must be {SAMPLED} or {LABELS}")
    chosen = np.arange(len(split)) if indices is None else indices
    if len(chosen) == 0:
        raise WiseftError(f"{split.dataset}, split {split.name}: there is no sample")
    parameters, device = dict(classifier.named_parameters()), classifier.head.weight.device
    sums = {name: torch.zeros_like(each) for name, each in parameters.items()}
    drawn = uniforms(seed, f"{split.dataset}/{split.name}", split.sample_ids)[chosen]
    read = batches(split, 1, chosen, device)
    for number, (image, true) in zip(torch.from_numpy(drawn), read, strict=True):
        logits = classifier(image)
        if labels == SAMPLED:
            label = draw_labels(logits.detach(), number[None])
        else:
            label = _known(true, classifier.never_predicted).to(device)
        likelihood = logits.log_softmax(dim=-1).gather(1, label[:, None]).sum()
        of_sample = torch.autograd.grad(likelihood, [*parameters.values()], materialize_grads=True)
        for total, gradient in zip(sums.values(), of_sample, strict=True):
            total += gradient.square()
    means = {name: (total / len(chosen)).cpu() for name, total in sums.items()}
    for name, tensor in means.items():
        check_finite(tensor, f"the Fisher information of {name}")
    return means


def draw_labels(logits: Tensor, numbers: Tensor) -> Tensor:
    """Return for every sample a class drawn from softmax(logits), int64 (n,).

    Args:
        logits: (n, classes).
        numbers: fp64 (n,) in [0, 1): the class is that in whose stretch of [0, 1] it falls.
    """
    ends = logits.double().softmax(dim=-1).cumsum(dim=-1)
    # Rounding may leave the last end below one; it is never below a number times itself.
    wanted = numbers.to(logits.device)[:, None] * ends[:, -1:]
    return torch.searchsorted(ends, wanted, right=True)[:, 0]


def save_fisher(path: Path, fisher: Mapping[str, Tensor], header: Mapping[str, Any]) -> None:
    """Write Fisher information.

    Args:
        header: what it is of: `theta` (identity), `dataset`, `manifest` (identity), `split`,
            `samples`, `labels`, `seed`.
    """
    with tensor_writer(path, fisher, {"kind": KIND, **header}) as file:
        for name, tensor in fisher.items():
            file.write(name, tensor)


def open_fisher(path: Path, theta: str) -> StoredTensors:
    """Return stored Fisher information.

    Args:
        theta: identity of the theta that it must be of.

    Raises:
        WiseftError: if the file is missing, damaged, no Fisher information, or of another theta.
    """
    tensors, header = open_tensors(path, "Fisher information")
    if header.get("kind") != KIND:
        raise WiseftError(
            f"{path} holds {header.get('kind')}, not Fisher information; make it with "
            "`wiseft fisher`"
        )
    if (own := str(header.get("theta"))) != theta:
        raise WiseftError(
            f"{path} is of the theta with identity {own[:12]}, but the theta in its "
            f"place has {theta[:12]}; give thetas and Fisher files in one order, or estimate it "
            "again"
        )
    return tensors


def _known(labels: Tensor, never_predicted: Sequence[int]) -> Tensor:
    wrong = sorted(set(labels.tolist()) & set(never_predicted))
    if wrong:
        raise WiseftError(
            f"samples of class {wrong[0]} are among those that Fisher information is estimated "
            f"from, but this head never predicts it; take labels: {SAMPLED}"
        )
    return labels
