"""theta_0: the image tower and the zero-shot head of a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wiseft.errors import WiseftError, some
from wiseft.images.manifest import Manifest
from wiseft.images.store import batches, open_manifest, open_split
from wiseft.models import towers
from wiseft.models.batch_size import BatchSize
from wiseft.models.classifier import ImageClassifier
from wiseft.models.runtime import check_writable
from wiseft.models.towers import ZeroShotModel, timm_models
from wiseft.thetas.preprocessing import parse_preprocessing
from wiseft.thetas.tensor_file import TENSORS_SUM
from wiseft.thetas.theta import Theta, identity, load_weights, make_header, save_theta
from wiseft.zeroshot.head import Head
from wiseft.zeroshot.matched_head import counterparts, match_head
from wiseft.zeroshot.spread import check_spread, renamed, spread_head
from wiseft.zeroshot.temperature import calibrate_temperature
from wiseft.zeroshot.text_head import Prompts

log = logging.getLogger(__name__)

_IMAGES = 256
"""Images a pass when a temperature is fitted."""


def make_theta_0(
    weights: Path, manifest: Path, templates: Sequence[str] | None, output: Path, **how: Any
) -> str:
    """Write theta_0 for the classes of a dataset and return its identity; see `theta_0_of`.

    Args:
        weights: the whole model.
        output: the theta file.
        how: the other arguments of `theta_0_of`.

    Raises:
        WiseftError: as `theta_0_of`, or if a file is missing, broken or can't be written.
    """
    check_writable(output)
    theta = theta_0_of(weights, manifest, templates, **how)
    return save_theta(output, theta.tensors, theta.header)


def theta_0_of(
    weights: Path | tuple[Mapping[str, Tensor], Mapping[str, Any], str],
    manifest: Path,
    templates: Sequence[str] | None,
    *,
    spread_over: Path | None = None,
    names_of: Path | None = None,
    label_map: Path | None = None,
    calibrate: str | None = None,
    precision: str = "fp32",
    device: str | torch.device = "cpu",
) -> Theta:
    """Return theta_0 for the classes of a dataset.

    A zero-shot model's head comes from prompts. It has a bias, as the authors' code has, which is
    that of the model's logits (zero but for SigLIP) and trained later. The text tower is dropped. A
    supervised model's head is made of its classifier's rows.

    Args:
        weights: the whole model: its file, which is read when all else fits, or tensors, header and
            what messages call it.
        manifest: of a prepared dataset; only its classes and label map are used, and its images
            where a temperature is fitted.
        templates: sentences with `{c}` where the class name goes; None for a supervised model.
        spread_over: manifest of the dataset that the label map is to; the head then predicts the
            classes of that one, each with the row of the class that it is a member of.
        names_of: manifest of a dataset that is mapped from this one; its class names stand in the
            prompts of the classes that its own are made of.
        label_map: JSON object of a supervised model's counterparts, see `counterparts`.
        calibrate: split of the dataset that a temperature is fitted on (paper C.7.1).
        precision: of the text tower, one of `wiseft.models.precision`.

    Raises:
        WiseftError: if the dataset has no label map to `spread_over`, the weights do not fit
            their own architecture, the tokenizer is missing or of another text tower, or templates
            are given for a supervised model or missing for another one.
    """
    dataset = open_manifest(manifest)
    reference = open_manifest(spread_over) if spread_over else None
    if reference:
        check_spread(dataset, reference)
    names = renamed(dataset, open_manifest(names_of)) if names_of else dataset.prompt_names
    tensors, raw, where = (
        (*load_weights(weights), str(weights)) if isinstance(weights, Path) else weights
    )
    architecture: dict[str, Any] = raw["architecture"]
    model = towers.load(architecture, tensors, where, share=True).to(device)
    if towers.family(architecture) == "timm":
        head = _matched(architecture, tensors, dataset, templates, label_map)
    else:
        head = _prompted(model, names, templates, label_map, precision)
    if calibrate is not None:
        head = _calibrated(model, raw["preprocessing"], head, dataset, calibrate)
    if reference:
        head = _spread(head, dataset, reference)
    header = make_header(
        "zero-shot",
        "zeroshot",
        architecture=architecture,
        preprocessing=raw["preprocessing"],
        class_names=(reference or dataset).class_names,
        parents={"weights": identity(raw)} if TENSORS_SUM in raw else {},
        seed=raw.get("seed"),
        settings=head.settings,
        never_predicted=head.never_predicted,
    )
    image = towers.image_tensors(architecture, tensors)
    return Theta(image | {"head.weight": head.weight, "head.bias": head.bias}, header)


def _prompted(
    model: ZeroShotModel,
    names: list[list[str]],
    templates: Sequence[str] | None,
    label_map: Path | None,
    precision: str,
) -> Head:
    if templates is None:
        raise WiseftError("a zero-shot model's head is made from prompts; give --prompts")
    if label_map is not None:
        raise WiseftError(
            "a label map is for a supervised model's classifier, but the weights are those of a "
            "model with a text tower; leave out --label-map"
        )
    prompts = Prompts(names, list(templates), precision)
    head = prompts.head(model)
    return Head(head["head.weight"], head["head.bias"], prompts.settings())


def _matched(
    architecture: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    dataset: Manifest,
    templates: Sequence[str] | None,
    label_map: Path | None,
) -> Head:
    if templates is not None:
        raise WiseftError(
            f"{architecture['model']} has no text tower that reads prompts: its head is made of "
            "its classifier's rows; leave out --prompts"
        )
    labels = timm_models.labels(architecture)
    wanted = counterparts(dataset, labels, label_map)
    weight, bias = (tensors[name] for name in timm_models.classifier_names(architecture))
    head = match_head(weight, bias, labels, wanted)
    never = head.never_predicted
    names = some([dataset.class_names[index] for index in never])
    log.info(
        f"{len(wanted) - len(never)} of {len(wanted)} classes of {dataset.dataset} have a "
        f"counterpart; {f'never predicted: {names}' if never else 'none is left out'}"
    )
    return head


def _calibrated(
    model: ZeroShotModel,
    preprocessing: Mapping[str, Any],
    head: Head,
    dataset: Manifest,
    split: str,
) -> Head:
    """Divide a head by the temperature that fits a split of the dataset."""
    linear = nn.Linear(head.weight.shape[1], len(head.weight))
    linear.load_state_dict({"weight": head.weight, "bias": head.bias})
    classifier = ImageClassifier(model.image, linear, preprocessing, model.normalise)
    classifier.to(model.device).to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    samples = open_split(dataset.path, split, parse_preprocessing(preprocessing).transform)
    size, logits, labels = BatchSize(_IMAGES), [], []
    with torch.inference_mode():
        for images, right in batches(samples, _IMAGES, device=model.device):
            logits += size.each(lambda p: classifier(p.to(model.device)).float().cpu(), images)
            labels.append(right)
    all_logits, all_labels = torch.cat(logits), torch.cat(labels)
    told = ~torch.isin(all_labels, torch.tensor(head.never_predicted, dtype=torch.int64))
    temperature = calibrate_temperature(all_logits[told], all_labels[told])
    log.info(f"temperature {temperature:.4f}, fitted on {int(told.sum())} images of {split}")
    fitted = {"split": split, "n": int(told.sum()), "temperature": temperature}
    return replace(
        head,
        weight=head.weight / temperature,
        bias=head.bias / temperature,
        settings=head.settings | {"calibration": fitted | {"dataset": dataset.identity([split])}},
    )


def _spread(head: Head, dataset: Manifest, reference: Manifest) -> Head:
    """Spread a head over the classes of the reference of the dataset's label map."""
    if head.never_predicted:
        raise WiseftError(
            f"the head of {dataset.dataset} has classes that are never predicted, so it can't be "
            f"spread over {reference.dataset}; make theta_0 for {reference.dataset} itself"
        )
    spread = {"from": dataset.dataset, "over": reference.dataset}
    return Head(
        spread_head(head.weight, dataset, reference),
        spread_head(head.bias[:, None], dataset, reference)[:, 0],
        head.settings | {"spread": spread},
    )
