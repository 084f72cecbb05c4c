"""Diagonal Fisher information, by which the recipe `fisher` weights the elements of thetas."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from wiseft.combine.ensembles import uniforms
from wiseft.combine.linear_combination import check_finite
from wiseft.errors import WiseftError
from wiseft.images.split import draw_subset
from wiseft.images.store import Split, batches, open_manifest, open_split
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
    batch_size: int = 32,
    device: torch.device | str = "cpu",
) -> None:
    """Estimate and write the Fisher information of a theta.

    The header holds the identities of the theta and of the dataset, and the samples.

    Args:
        dataset: manifest of the reference that the theta's head is of.
        samples: how many of the split, drawn by the seed; None: all.
        labels: `sampled` or `labels`; see `estimate_fisher`.
        batch_size: samples at once, as far as memory allows.

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
    fisher = estimate_fisher(
        classifier, images, labels=labels, seed=seed, indices=indices, batch_size=batch_size
    )
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
    batch_size: int = 32,
    memory: int = 2**30,
) -> dict[str, Tensor]:
    """Return the mean over samples of the squared gradient of log p(y|x), by parameter.

    BatchNorm uses its running statistics, which are no parameters and have no Fisher information.

    Args:
        classifier: in eval mode, on the device that computes.
        labels: `sampled`: y is drawn from p(y|x), the Fisher information proper; `labels`: y is
            the sample's label, the so-called empirical one.
        seed: of the drawn labels, each of which depends on the seed and its sample's id alone.
        indices: of the samples; None: all of the split.
        batch_size: gradients of so many samples are computed at once,
        memory: as long as they fit into so many bytes.

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
    squares = _Squares(classifier)
    size = max(1, min(batch_size, memory // squares.bytes_a_sample))
    numbers = uniforms(seed, f"{split.dataset}/{split.name}", split.sample_ids)[chosen]
    for start, (images, true) in zip(
        range(0, len(chosen), size), batches(split, size, chosen, squares.device), strict=True
    ):
        pixels = classifier.pixels(images)
        if labels == SAMPLED:
            drawn = torch.from_numpy(numbers[start : start + size])
            y = draw_labels(squares.logits(pixels), drawn)
        else:
            y = _known(true, classifier.never_predicted).to(squares.device)
        squares.add(pixels, y)
    return squares.mean(len(chosen))


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


class _Squares:
    """Sums squared gradients of single samples."""

    def __init__(self, classifier: ImageClassifier):
        self.device = classifier.head.weight.device
        self._model = _FromPixels(classifier)
        # vmap knows no other memory format.
        self._parameters = {
            name: parameter.detach().contiguous()
            for name, parameter in self._model.named_parameters()
        }
        self._buffers = dict(self._model.named_buffers())
        self._sums = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self.bytes_a_sample = sum(p.nbytes for p in self._parameters.values())

    def logits(self, pixels: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        with torch.no_grad():
            return cast(Tensor, self._model(pixels))

    def add(self, pixels: Tensor, labels: Tensor) -> None:
        """Add the squared gradients of samples."""
        pixels = pixels.contiguous()
        # Other kernels of attention know no vmap on a CPU.
        with sdpa_kernel(SDPBackend.MATH):
            if len(pixels) == 1:
                gradients = grad(self._log_likelihood)(self._parameters, pixels[0], labels[0])
                gradients = {name: each[None] for name, each in gradients.items()}
            else:
                of_samples = vmap(grad(self._log_likelihood), in_dims=(None, 0, 0))
                gradients = of_samples(self._parameters, pixels, labels)
        for name, total in self._sums.items():
            total += gradients.pop(name).square_().sum(dim=0)

    def mean(self, samples: int) -> dict[str, Tensor]:
        """Return the mean over samples by the names of a theta, on the CPU."""
        means = {
            name.removeprefix("classifier."): (total / samples).cpu()
            for name, total in self._sums.items()
        }
        for name, tensor in means.items():
            check_finite(tensor, f"the Fisher information of {name}")
        return means

    def _log_likelihood(
        self, parameters: dict[str, Tensor], pixels: Tensor, label: Tensor
    ) -> Tensor:
        state = (parameters, self._buffers)
        logits: Tensor = functional_call(self._model, state, (pixels[None],))[0]
        return logits.log_softmax(dim=-1).gather(0, label[None])[0]


class _FromPixels(nn.Module):
    """A classifier of normalised pixels (n, 3, S, S)."""

    def __init__(self, classifier: ImageClassifier):
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor) -> Tensor:
        return self.classifier.logits(self.classifier.encode(pixels))


def _known(labels: Tensor, never_predicted: Sequence[int]) -> Tensor:
    wrong = sorted(set(labels.tolist()) & set(never_predicted))
    if wrong:
        raise WiseftError(
            f"samples of class {wrong[0]} are among those that Fisher information is estimated "
            f"from, but this head never predicts it; take labels: {SAMPLED}"
        )
    return labels
