"""Diagonal Fisher information, and merging weighted by it (Matena and Raffel 2022).

Elements of the weights that a model's predictions depend on more count for more in the mean. The
authors' code has it beside the paper's method, with the same floor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from wiseft.classifier import ImageClassifier
from wiseft.combine.ensembles import uniforms
from wiseft.combine.linear import Coefficient, check_finite
from wiseft.data.prepared.store import Split, batches
from wiseft.errors import WiseftError
from wiseft.tensor_file import StoredTensors, open_tensors, tensor_writer

FLOOR = 1e-8
"""The least that an element counts, so that one that no sample depends on has a mean too."""

SAMPLED, LABELS = "sampled", "labels"
KIND = "fisher"


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
        range(0, len(chosen), size), batches(split, size, chosen), strict=True
    ):
        pixels = classifier.pixels(images.to(squares.device))
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


class FisherCoefficients(Mapping[str, Sequence[Coefficient]]):
    """What `combine` multiplies each element with: c_i F_i / sum_j c_j F_j.

    Tensors without Fisher information (BatchNorm's statistics) are combined linearly. Equal
    Fisher information gives the linear combination.

    Args:
        fishers: Fisher information of each theta.
        names: of all tensors of a theta.
        coefficients: one a theta, at least 0, that sum to 1.
        floor: the least that an element counts.

    Raises:
        WiseftError: if the numbers disagree, the coefficients are no weights, Fisher information
            is of another architecture or (when asked for) not finite or negative.
    """

    def __init__(
        self,
        fishers: Sequence[Mapping[str, Tensor]],
        names: Sequence[str],
        coefficients: Sequence[float],
        floor: float = FLOOR,
    ):
        if len(fishers) != len(coefficients):
            raise WiseftError(
                f"{len(fishers)} Fisher files but {len(coefficients)} coefficients; give one of "
                "each for every theta"
            )
        if not all(c >= 0 for c in coefficients) or abs(sum(coefficients) - 1) > 1e-6:
            raise WiseftError(
                f"the coefficients {list(coefficients)} must be at least 0 and sum to 1"
            )
        for place, fisher in enumerate(fishers):
            differing = fishers[0].keys() ^ fisher.keys()
            if wrong := sorted(differing | (fisher.keys() - set(names))):
                raise WiseftError(
                    f"Fisher information {place} is of another architecture: {wrong[0]} is not in "
                    "it, in another's, or in the thetas"
                )
        self._fishers = fishers
        self._names = dict.fromkeys(names)
        self._coefficients = list(coefficients)
        self._floor = floor

    def __getitem__(self, name: str) -> Sequence[Coefficient]:
        if name not in self._fishers[0] or 1.0 in self._coefficients:
            return self._coefficients
        weighted = [
            coefficient * self._floored(fisher[name], name).double()
            for coefficient, fisher in zip(self._coefficients, self._fishers, strict=True)
        ]
        if len({each.shape for each in weighted}) != 1:
            shapes = [tuple(each.shape) for each in weighted]
            raise WiseftError(
                f"Fisher information of {name} has the shapes {shapes}; estimate anew"
            )
        total = torch.stack(weighted).sum(dim=0)
        shares = [(each / total).float() for each in weighted]
        # (1 - a, a) exactly is what `combine` interpolates between.
        return [1.0 - shares[1], shares[1]] if len(shares) == 2 else shares

    def _floored(self, fisher: Tensor, name: str) -> Tensor:
        check_finite(fisher, f"Fisher information of {name}")
        if bool((fisher < 0).any()):
            raise WiseftError(f"Fisher information of {name} is negative; estimate it again")
        return fisher.clamp(min=self._floor)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def save_fisher(path: Path, fisher: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
    """Write Fisher information.

    Args:
        about: what it is of: `theta` (identity), `dataset`, `manifest` (identity), `split`,
            `samples`, `labels`, `seed`.
    """
    with tensor_writer(path, fisher, {"kind": KIND, **about}) as file:
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
    if header["theta"] != theta:
        raise WiseftError(
            f"{path} is of the theta with identity {header['theta'][:12]}, but the theta in its "
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
                found = grad(self._log_likelihood)(self._parameters, pixels[0], labels[0])
                found = {name: each[None] for name, each in found.items()}
            else:
                of_samples = vmap(grad(self._log_likelihood), in_dims=(None, 0, 0))
                found = of_samples(self._parameters, pixels, labels)
        for name, total in self._sums.items():
            total += found.pop(name).square_().sum(dim=0)

    def mean(self, samples: int) -> dict[str, Tensor]:
        """Return the mean over samples by the names of a theta, on the CPU."""
        found = {
            name.removeprefix("classifier."): (total / samples).cpu()
            for name, total in self._sums.items()
        }
        for name, tensor in found.items():
            check_finite(tensor, f"the Fisher information of {name}")
        return found

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
