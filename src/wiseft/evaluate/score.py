"""A model of the user's on a folder of the user's: no catalogue entry, no manifest, nothing kept.

The folder is indexed in a temporary folder, the head is built where the model has none, and the
suite's own passes do the rest; no weights are written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from wiseft.base.io import atomic_path
from wiseft.base.messages import quiet
from wiseft.base.names import last_names
from wiseft.base.temporary import temporary_folder
from wiseft.errors import WiseftError
from wiseft.evaluate.chunks import chunks, images_of_a_pass
from wiseft.evaluate.passes import LAST, Inference, SingleSweep
from wiseft.evaluate.spaces import Head, own_projection
from wiseft.evaluate.views import check_logits
from wiseft.foreign.as_classifier import classifier_of, raw, zero_shot_of
from wiseft.foreign.class_names import names_in
from wiseft.foreign.door import Features, Given, Opened, open_model
from wiseft.foreign.folder_classes import (
    RENAME,
    WNID,
    better_in,
    better_order,
    class_names_of,
    map_classes,
    require_names,
)
from wiseft.foreign.named import local_path
from wiseft.foreign.towers import has_head
from wiseft.foreign.twins import told_apart, twins_of
from wiseft.images.index import read_index
from wiseft.images.index_folder import index_source
from wiseft.images.manifest import Manifest, open_manifest
from wiseft.images.sources import find
from wiseft.images.store import open_split
from wiseft.models.batch_size import BatchSize
from wiseft.models.fused import use_onednn
from wiseft.models.precision import Arithmetic
from wiseft.tabulate.intervals import clopper_pearson, paired
from wiseft.thetas.preprocessing import Preprocessing
from wiseft.thetas.theta import Theta
from wiseft.zeroshot.prompts import TEMPLATES
from wiseft.zeroshot.theta_0 import theta_0_of

log = logging.getLogger(__name__)

_SPLIT = "test"


@dataclass(frozen=True)
class Score:
    """What came out.

    Attributes:
        n: images.
        n_correct: of them, those whose first class is their folder's.
        n_top5: of them, those of whose first five classes one is; None of up to five classes.
        classes: by name of the class: images, right ones.
        restricted: classes of the head that no prediction was allowed to be, since the folder has
            none of them.
        broken: files that were left out, and why.
        images: by path in the folder: the class of its folder and the predicted one.
    """

    n: int
    n_correct: int
    n_top5: int | None
    classes: dict[str, tuple[int, int]]
    restricted: int
    broken: list[str]
    images: dict[str, tuple[str, str]] = field(repr=False)

    @property
    def accuracy(self) -> float:
        """Share of right predictions."""
        return self.n_correct / self.n

    @property
    def top5(self) -> float | None:
        """Share of images one of whose first five classes is right; None of up to five classes."""
        return None if self.n_top5 is None else self.n_top5 / self.n

    @property
    def mean_recall(self) -> float:
        """Mean, over the classes that have images, of the share of them that are right."""
        shares = [right / n for n, right in self.classes.values() if n]
        return sum(shares) / len(shares)

    def numbers(self) -> dict[str, Any]:
        """Return all of it but the images as plain data; shares are fractions."""
        shares = {"accuracy": self.accuracy, "top5": self.top5, "mean_recall": self.mean_recall}
        classes = {name: {"n": n, "n_correct": k} for name, (n, k) in self.classes.items()}
        whole = asdict(replace(self, images={}))
        del whole["images"]
        return shares | whole | {"classes": classes}

    def right(self) -> NDArray[np.bool_]:
        """Return which images are right, (n,) in the order of their paths."""
        pairs = [self.images[path] for path in sorted(self.images)]
        return np.array([label == predicted for label, predicted in pairs])


def score_folder(
    checkpoint: Path | str | Opened,
    data: Path | str,
    *,
    architecture: str | None = None,
    preprocessing: Preprocessing | None = None,
    templates: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    features: Features | None = None,
    weights: str | None = None,
    class_names: Mapping[str, str] | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    skip_broken: bool = False,
    image_column: Sequence[str] = (),
    label_column: Sequence[str] = (),
    limit: int | None = None,
) -> Score:
    """Score a model on a folder that has a folder of images for every class.

    A classifier predicts the classes that it was made for; only those that the folder has count,
    as the paper does for ImageNet-R and -A. A zero-shot model gets a head of prompts over the
    folder's classes.

    Args:
        checkpoint: a theta, a classifier or a zero-shot model, in any form that `wiseft sweep`
            takes or writes; or a name (`wiseft.foreign.named`); or one that is open already.
        data: images in any form that `wiseft.images.sources` reads, such as `<class>/<image>`;
            `:SPLIT` behind it names a split, else that is `test` or the only one. Classes are
            called as the model's classes are, by wnids of ImageNet, or by numbers from 0 in the
            order of the model's classes.
        architecture: of a file without one: a name of open_clip, or a JSON file.
        preprocessing: of such a file; None: that of OpenAI's CLIPs.
        templates: prompts of a zero-shot model; None: `TEMPLATES`. Given, no head is used.
        classes: names of a head's classes in its order; None: those that the checkpoint brings.
        features: that the head takes, `raw` or `normalised`; None: what the checkpoint says, else
            L2-normalised ones, and it is said how raw ones would do.
        weights: the key of the weights in a `.pt` that holds several mappings of tensors.
        class_names: name of the class by name of its folder, where the folder's won't do.
        batch_size: images in a forward pass; None: as many as an evaluation takes.
        skip_broken: leave out what can't be read as an image, and list it; else it is an error.
        image_column: names of columns of tables that are not called as usual.
        label_column: likewise; of tar shards, extensions or keys of JSON.
        limit: score so many images, drawn at random by seed 0, which are the same ones for every
            model; None: all. Predictions stay among all classes of the images.

    Raises:
        WiseftError: if the model can't be read or has neither a head nor a text tower, the folder
            has no images, or a class of the folder is none of the model's.
    """
    opened = checkpoint if isinstance(checkpoint, Opened) else _open(checkpoint, weights)
    given = Given(architecture, preprocessing, templates, classes, None, features)
    ready = opened.header is not None
    _check_used(opened, given)
    broken: list[str] | None = [] if skip_broken else None
    place = find(data, image=image_column, label=label_column)
    source = place.open(place.choose(_SPLIT))
    named = class_names or {}
    with temporary_folder("wiseft-score") as work:
        names = class_names_of(source, named)
        manifest = work / "manifest.json"
        index_source({_SPLIT: source}, manifest, "folder", names, broken=broken, limit=limit)
        stated = True
        if ready or (has_head(opened) and not templates):
            theta, stated = classifier_of(opened, given, "--classes")
            where = (str(opened.path), RENAME if ready else f"{RENAME}, or with --classes the head")
            shown, own = [item[0] for item in names], names_in(theta.header)
            map_classes(manifest, shown, own, where, source)
        else:
            require_names(source, named)
            theta = _prompted(opened, given, names, manifest, device)
        result = _score(theta, manifest, batch_size, device, broken or [])
        if not stated:
            with quiet():
                other = _score(raw(theta), manifest, batch_size, device, [])
            log.info(
                "the model does not say what features its head takes: L2-normalised ones are used; "
                f"with --features raw the accuracy is {100 * other.accuracy:.2f} %"
            )
        return result


def score_folders(
    checkpoints: Sequence[Path | str], sources: Sequence[Path | str], **options: Any
) -> dict[str, dict[str, Score]]:
    """Return the scores of models on images, by the name of the source and of the model.

    A model whose tensors fit two architectures, of which nothing says the right one, is scored as
    both. The one that is right on more of all images counts, and it is said which.

    Args:
        options: of `score_folder`, the same for all.

    Raises:
        WiseftError: as `score_folder`.
    """
    models, sets = (
        dict(zip(last_names(list(map(Path, given))), given, strict=True))
        for given in (checkpoints, sources)
    )
    found: dict[str, dict[str, Score]] = {name: {} for name in sets}
    for model, path in models.items():
        for name, score in _scores(path, sets, options).items():
            found[name][model] = score
    return found


def _scores(
    path: Path | str, sets: Mapping[str, Path | str], options: dict[str, Any]
) -> dict[str, Score]:
    """Return the scores of a model by the name of the source."""
    opened = _open(path, options.get("weights"))
    twins = [] if options.get("architecture") else twins_of(opened)
    tries = {name: options | {"architecture": name} for name in twins} or {"": options}
    tried = {
        name: {each: score_folder(opened, data, **given) for each, data in sets.items()}
        for name, given in tries.items()
    }
    if not twins:
        return tried[""]
    right = {
        name: {opened.path.name: np.concatenate([score.right() for score in scores.values()])}
        for name, scores in tried.items()
    }
    chosen, why = told_apart(right)
    log.info(f"{opened.path}: {why}")
    return tried[chosen]


def compared(scores: Mapping[str, Score]) -> list[dict[str, Any]]:
    """Return a row a model: accuracy and, but for the first, the paired difference to the first.

    Shares and differences are fractions.
    """
    rows: list[dict[str, Any]] = []
    first = next(iter(scores.values()))
    for name, score in scores.items():
        low, high = map(float, clopper_pearson(score.n_correct, score.n))
        row = {"model": name, "accuracy": score.accuracy, "interval": [low, high]}
        row |= {"n": score.n, "n_correct": score.n_correct}
        if rows:
            row |= {"over_first": paired(first.right(), score.right())._asdict()}
        rows.append(row)
    return rows


def write_predictions(path: Path, scores: Mapping[str, Mapping[str, Score]]) -> None:
    """Write the prediction of every image, a row an image, as Parquet.

    Columns: `set` (the folder), `image` (its path there), `label`, and `prediction/<model>`.
    """
    import pandas as pd

    parts = []
    for name, by_model in scores.items():
        images = next(iter(by_model.values())).images
        labels = [label for label, _ in images.values()]
        part = pd.DataFrame({"set": name, "image": list(images), "label": labels})
        for model, score in by_model.items():
            part[f"prediction/{model}"] = [score.images[image][1] for image in images]
        parts.append(part)
    with atomic_path(path) as temporary:
        pd.concat(parts, ignore_index=True).to_parquet(temporary, index=False)


def _open(checkpoint: Path | str, weights: str | None) -> Opened:
    path = local_path(checkpoint)
    if not path.exists():
        raise WiseftError(f"the model {path} is not there")
    return open_model(path, weights=weights)


def _check_used(opened: Opened, given: Given) -> None:
    """Refuse what is said of a checkpoint that has no use for it."""
    said = {
        "architecture": given.architecture,
        "preprocessing": given.preprocessing,
        "prompts": given.templates,
    }
    if opened.header and (unused := [name for name, value in said.items() if value is not None]):
        raise WiseftError(
            f"{opened.path} is a theta, which says it itself: leave out --{unused[0]}"
        )
    headless = opened.header or given.templates or not has_head(opened)
    if headless and (given.classes or given.features):
        raise WiseftError(
            f"--classes and --features are of a head, but {opened.path} brings none that is used"
        )


def _prompted(
    opened: Opened, given: Given, names: list[list[str]], manifest: Path, device: str
) -> Theta:
    """Return a zero-shot model with a head of prompts over the classes of a folder."""
    if wnids := [name for (name,) in names if WNID.fullmatch(name)]:
        raise WiseftError(
            f"the folder {wnids[0]} is called as a wnid, which is no class of ImageNet-1k; say "
            "with --class-names what it is"
        )
    templates = given.templates or TEMPLATES
    theta = theta_0_of(zero_shot_of(opened, given), manifest, templates, device=device)
    log.info(f"{len(names)} classes, the first prompt: {templates[0].replace('{c}', names[0][0])}")
    return theta


def _score(
    theta: Theta, manifest: Path, batch_size: int | None, device: str, broken: list[str]
) -> Score:
    folder = open_manifest(manifest)
    index = read_index(folder, _SPLIT)
    labels = torch.tensor(index["label"].tolist())
    names, start = folder.class_names, time.perf_counter()
    parts = _logits_of(theta, folder, _SPLIT, batch_size, device)
    top = torch.cat([part.topk(min(5, len(names)), dim=1).indices.cpu() for part in parts])
    n = len(labels)
    log.info(f"{n:,} images in {time.perf_counter() - start:.1f} s")
    found = top == labels[:, None]
    classes = {}
    for label, name in enumerate(names):
        own = found[labels == label, 0]
        classes[name] = (len(own), int(own.sum()))
    if other := better_order(labels.numpy(), top[:, 0].numpy(), len(names)):
        moved = [(names[row], names[at]) for row, at in enumerate(other[0]) if row != at]
        meant = ", ".join(f"{called} is {real}" for called, real in moved[:5])
        log.warning(
            f"warning: the head {better_in(other, 'images')}: what it calls {meant}"
            f"{', ...' * (len(moved) > 5)}; compare the names of its classes with the folders"
        )
    pairs = zip(labels.tolist(), top[:, 0].tolist(), strict=True)
    named = [(names[label], names[best]) for label, best in pairs]
    return Score(
        n,
        int(found[:, 0].sum()),
        int(found.any(dim=1).sum()) if len(names) > 5 else None,
        classes,
        len(theta.header.class_names) - len(names),
        broken,
        dict(zip(index["sample_id"], named, strict=True)),
    )


@torch.inference_mode()
def _logits_of(
    theta: Theta, manifest: Manifest, split: str, batch_size: int | None, device: str
) -> Iterator[torch.Tensor]:
    """Yield the logits of one theta on one split, fp32 (n, classes of the dataset), in order, as an
    evaluation computes them, up to 1e-5 of the largest on a CPU; nothing is written.

    Raises:
        WiseftError: as `evaluate_suite`.
    """
    target = torch.device(device)
    inference = Inference(target, Arithmetic("fp32", target), BatchSize(batch_size or 1))
    sweep = SingleSweep(theta, inference)
    if device == "cpu":
        use_onednn(sweep.model.image)
    if batch_size is None:
        inference.batch_size.size = images_of_a_pass(sweep)
    images = open_split(manifest.path, split, *sweep.transforms)
    projection = own_projection(manifest, Head(theta.header.class_names, "head"))
    with inference.arithmetic.kernels(deterministic=True):
        for pixels in chunks(sweep, [images], together=False):
            for _, _, logits in sweep.logits(pixels, [LAST]):
                check_logits(logits, sweep.never_predicted)
                yield projection(logits) if projection else logits
