"""What `import wiseft` offers: classifiers in memory, and the weights between two models.

Random state, number of threads and default device of the caller's torch are left alone.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from wiseft.base.alphas import FIXED_ALPHA, format_alpha
from wiseft.combine import linear_combination
from wiseft.combine.files import interpolate_files, mixed_header, mixture
from wiseft.errors import WiseftError
from wiseft.foreign.as_classifier import classifier_of
from wiseft.foreign.door import Features, Given, open_model
from wiseft.foreign.named import local_path
from wiseft.foreign.scaled_adapter import write_scaled
from wiseft.images.decode import decode, fit
from wiseft.models.classifier import ImageClassifier, build_classifier
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.tensor_file import TENSORS_SUM, tensors_sha256
from wiseft.thetas.tensor_views import floating
from wiseft.thetas.theta import Theta, check_compatible, header_dict, identity, save_theta
from wiseft.tool.merge import are_thetas, merge_opened, open_both
from wiseft.tool.merge_by_recipe import by_recipe

log = logging.getLogger(__name__)

Picture = Path | str | Image.Image
"""A file, or an image of Pillow; it is resized and cropped as the model wants it."""


class Classifier:
    """A classifier of images (paper section 3), which `load` and `interpolate` make.

    Attributes:
        theta: its tensors, on the CPU (`image.*`, `head.weight`, `head.bias`), and header.
        device: that images are classified on.
    """

    def __init__(self, theta: Theta, device: torch.device | str = "cpu") -> None:
        self.theta, self.device = theta, torch.device(device)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the logits."""
        return list(self.theta.header.class_names)

    @cached_property
    def module(self) -> ImageClassifier:
        """The torch module, in eval mode: uint8 (n, 3, size, size) to logits (n, classes)."""
        return build_classifier(self.theta.header, self.theta.tensors, seed=0).to(self.device)

    @torch.inference_mode()
    def logits(self, images: Sequence[Picture], batch_size: int = 64) -> Tensor:
        """Return the logits of images, fp32 (n, classes), on the CPU; `batch_size` go at once.

        Raises:
            WiseftError: if a file is missing or no image.
        """
        logits = [torch.empty(0, len(self.class_names))]
        for start in range(0, len(images), batch_size):
            pixels = np.stack([self._pixels(each) for each in images[start : start + batch_size]])
            batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).to(self.device)
            logits.append(self.module(batch).cpu())
        return torch.cat(logits)

    def predict(self, images: Sequence[Picture], batch_size: int = 64) -> list[str]:
        """Return the name of the likeliest class of each image. Raises as `logits`."""
        names = self.class_names
        return [names[place] for place in self.logits(images, batch_size).argmax(dim=1).tolist()]

    def save(self, path: Path | str) -> None:
        """Write it as a theta, which every command of wiseft reads."""
        save_theta(path, self.theta.tensors, self.theta.header)

    def _pixels(self, image: Picture) -> np.ndarray:
        transform = self.theta.header.transform
        if isinstance(image, Image.Image):
            return fit(image.convert("RGB"), transform)
        return decode(Path(image), transform)


Weights = TypeVar("Weights", Classifier, Mapping[str, Tensor])


def load(
    path: Path | str,
    *,
    classes: Sequence[str] | None = None,
    templates: Sequence[str] | None = None,
    head: Path | None = None,
    architecture: str | None = None,
    preprocessing: Preprocessing | None = None,
    features: Features | None = None,
    weights: str | None = None,
    device: torch.device | str = "cpu",
) -> Classifier:
    """Read a classifier or a zero-shot model, in any form that `wiseft sweep` takes or writes.

    Args:
        path: a theta, or a file or folder of open_clip, transformers or timm, such as
            the `model_path` of a sweep, with a head and names of classes beside it; or a name, such
            as `hf-hub:OWNER/NAME` or `ViT-B-32/openai`.
        classes: names of a head's classes in its order, or of those that a zero-shot model gets a
            head for; None: what lies with the model.
        templates: prompts of a zero-shot model; None: "a photo of a {c}."
        head, architecture, preprocessing: what a checkpoint does not say, as in `sweep`.
        features: that its head takes, `raw` or `normalised`; None: what lies with the model says,
            else L2-normalised ones.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.

    Raises:
        WiseftError: if the checkpoint is refused, or nothing names the classes.
    """
    given = Given(architecture, preprocessing, templates, classes, head, features)
    opened = open_model(local_path(path), weights=weights)
    return Classifier(classifier_of(opened, given, "`classes`")[0], device)


def interpolate(theta_0: Weights, theta_1: Weights, alpha: float | str) -> Weights:
    """Return (1 - alpha) theta_0 + alpha theta_1 (paper equation 1), in fp32; the ends are copies.

    Args:
        theta_0: the zero-shot classifier, or a state dict, whose integer tensors are kept.
        theta_1: the fine-tuned one in the same form, of the same architecture and classes.
        alpha: in [0, 1], of at most three decimals.

    Raises:
        WiseftError: if the two do not fit, a tensor is not finite, or alpha is none.
    """
    if not (isinstance(theta_0, Classifier) and isinstance(theta_1, Classifier)):
        return {
            **theta_0,
            **linear_combination.interpolate(floating(theta_0), floating(theta_1), alpha),
        }
    check_compatible(theta_0.theta, theta_1.theta)
    coefficients = dict(zip(("theta_0", "theta_1"), linear_combination.ends(alpha), strict=True))
    mixed = mixture(cast(Any, [theta_0.theta, theta_1.theta]), linear_combination.ends(alpha))
    settings = {"alpha": format_alpha(alpha), "coefficients": coefficients}
    header, tensors = mixed_header(mixed, settings, mixed.like.seed), dict(mixed.tensors)
    known = identity(header_dict(header) | {TENSORS_SUM: tensors_sha256(tensors)})
    return cast(Any, Classifier(Theta(tensors, header, known), theta_0.device))


def merge(
    a: Path | str,
    b: Path | str,
    output: Path | str,
    alpha: float | str = FIXED_ALPHA,
    weights: str | None = None,
) -> None:
    """Write (1 - alpha) a + alpha b in the format of `a`, as `wiseft merge` does.

    Args:
        a, b: files, folders or names, such as `hf-hub:OWNER/NAME` or `ViT-B-32/openai`.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.

    Raises:
        WiseftError: if a checkpoint is refused, the two do not fit, or `output` exists.
    """
    merge_files(a, b, alpha, Path(output), weights=weights)


def merge_files(
    a: Path | str,
    b: Path | str,
    alpha: float | str,
    output: Path,
    device: torch.device | str = "cpu",
    weights: str | None = None,
    as_adapter: bool = False,
    recipe: Mapping[str, Any] | None = None,
    more: Sequence[Path | str] = (),
) -> None:
    """Write what is between two models of any form, as `wiseft.tool.merge.merge_opened` does.

    Args:
        a: a file, a folder with a configuration, or a name (`wiseft.foreign.named`).
        b: is given in the same way; or it is an adapter of PEFT for `a`, which is merged into `a`.
        alpha: in [0, 1], of at most three decimals.
        output: a new file, or folder where `a` is one.
        device: that mixes; two thetas of wiseft, and recipes, are mixed on the CPU.
        weights: the key of the weights in `.pt` files that hold several mappings of tensors.
        as_adapter: write the adapter `b`, scaled, instead of `a` with it merged.
        recipe: of `wiseft combine`, with its `kind`. The model that it makes of `a`, `b` and `more`
            takes the place of `b`. If it needs an `alpha` and has none, it gets this one, and alpha
            is 1.
        more: further fine-tuned models that the recipe takes, or adapters for `a`.

    Raises:
        WiseftError: if alpha is none, a checkpoint is refused, the two do not fit, or `output`
            exists.
    """
    alpha = format_alpha(alpha)
    if output.exists() or output.is_symlink():
        raise WiseftError(f"{output} exists and is not touched; name another file or folder")
    if more if recipe is None else as_adapter:
        raise WiseftError("give --more with a --recipe, and --as-adapter without one")
    start, end, *others = map(local_path, [a, b, *more])
    if recipe is not None:
        by_recipe([start, end, *others], recipe, alpha, weights, start)(output)
        log.info(f"{output}: from {a} to what {recipe['kind']} makes, alpha {alpha}")
        return
    if as_adapter:
        write_scaled(end, open_model(start, weights=weights, also=True).checkpoint, alpha, output)
        log.info(f"{output}: the adapter {b} for {a}, scaled to alpha {alpha}")
        return
    both = open_both(start, end, weights)
    if are_thetas(*both):
        interpolate_files(start, end, alpha, output)
    else:
        merge_opened(*both, alpha, output, device)
