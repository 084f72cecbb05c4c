"""The model of a sweep on the Hugging Face hub: its card, README.md beside it, and its upload."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path, PurePath
from typing import Any

import pandas as pd
from huggingface_hub import EvalResult, HfApi, ModelCardData, errors

from wiseft.base.io import sha256_file, write_text
from wiseft.base.templates import plain, render
from wiseft.errors import WiseftError
from wiseft.foreign.hub_client import LARGEST_ANSWER, NO_HUB, bounded
from wiseft.foreign.model_folder import inside
from wiseft.tool.record import MODEL, TEST, Accuracy, End, Sweep, read_record
from wiseft.tool.show import is_shares, number

CARD = "README.md"
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def write_card(
    folder: Path, licence: str | None, base_models: list[str] | None, replace: bool = False
) -> Path:
    """Write the card of a sweep's model, and return its path.

    Args:
        licence: as the hub abbreviates it. Which one the weights may have is not known here.
        base_models: names of both ends on the hub; None: as the checkpoints say it, if they do.
        replace: whether another card (edited, or of other options) may be lost.

    Raises:
        WiseftError: if it is the folder of no sweep, or another card is there.
    """
    record, path, name = read_record(folder), folder / MODEL / CARD, folder.resolve().name
    alpha, zero_shot = record.recommended.alpha, "zero-shot-" if record.model.head else ""
    # A checkpoint may also say the folder that it was loaded from, which is nobody else's business.
    said = [end.base_model or "" for end in (record.zero_shot, record.fine_tuned, *record.more)]
    bases = base_models or [each for each in dict.fromkeys(said) if _HUB_NAME.fullmatch(each)]
    data = ModelCardData(
        model_name=name,
        license=licence,
        base_model=bases or None,
        base_model_relation="merge" if bases else None,
        library_name=record.model.loads_with.replace("torch", "pytorch"),
        pipeline_tag=None if record.evaluate else f"{zero_shot}image-classification",
        tags=["wise-ft", "merge"],
        eval_results=[
            _result(row, "other" if record.evaluate else "image-classification")
            for row in record.accuracy
            if (row.split, row.alpha) == (TEST, alpha)
        ],
    )
    text = f"---\n{data.to_yaml()}\n---\n\n{_body(record, name, licence, bases)}"
    if path.exists() and path.read_text(encoding="utf-8") != text and not replace:
        raise WiseftError(f"{path} is there and differs; keep it, or write it anew with --replace")
    write_text(path, text)
    return path


def _result(row: Accuracy, task: str) -> EvalResult:
    about: dict[str, Any] = {} if row.n is None else {"images" if task != "other" else "n": row.n}
    if row.ci_low is not None and row.ci_high is not None:
        about = {"ci_95": [round(row.ci_low, 6), round(row.ci_high, 6)], **about}
    return EvalResult(
        task_type=task,
        dataset_type="other" if task == "other" else "imagefolder",
        dataset_name=row.set,
        dataset_config=row.set,  # by which the hub tells folders apart
        dataset_split=row.split,
        metric_type=row.metric,
        metric_value=round(row.value, 6),
        metric_args=about or None,
    )


def _body(record: Sweep, name: str, licence: str | None, bases: list[str]) -> str:
    tuned = [record.fine_tuned, *record.more]
    ends = [("zero-shot", record.zero_shot), *(("fine-tuned", end) for end in tuned)]
    heads = {0.0: "zero-shot", record.recommended.alpha: "this model", 1.0: "fine-tuned"}
    shares = is_shares(pd.DataFrame([dict(row) for row in record.accuracy]))
    cells = {(r.set, r.split, r.alpha): number(dict(r), shares) for r in record.accuracy}
    what = "samples" if record.evaluate else "images"
    return render(
        "tool/card.md.j2",
        name=plain(name),
        record=record,
        licence=licence,
        bases=bases,
        columns=[what, "split", "number", *heads.values()],
        rows=[
            [
                plain(one.name),
                split,
                "" if n is None else n,
                *(cells.get((one.name, split, a), "") for a in heads),
            ]
            for one in record.sets
            for split, n in one.n.items()
        ],
        files=[
            (role, plain(f"{_called(end)}: {file}"), digest)
            for role, end in ends
            for file, digest in end.sha256.items()
        ],
        file=PurePath(record.model.file).relative_to(MODEL).as_posix(),
        plain=plain,
    )


def _called(end: End) -> str:
    """Return what a checkpoint is called where others read it: nothing of a path but its name."""
    return f"{end.path} at {end.revision}" if end.revision else PurePath(end.path).name


def push(folder: Path, repository: str, private: bool = False) -> str:
    """Upload a sweep's model and card to `owner/name`, made if new; return its address.

    What else lies in the folder stays here.

    Raises:
        WiseftError: if a file is not as the sweep wrote it, or the hub refuses or cannot be
            reached: then it says which command to run where.
    """
    model, recorded = folder / MODEL, read_record(folder).model.sha256
    for name, expected in recorded.items():
        if not (file := inside(model / name)).is_file() or sha256_file(file) != expected:
            raise WiseftError(f"{file} is missing or was changed; run `wiseft sweep` as before")
    if not inside(model / CARD).is_file():
        raise WiseftError(f"{model} has no {CARD}; write it first: wiseft card {folder}")
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="wiseft")
    try:
        with bounded(LARGEST_ANSWER):
            place = api.create_repo(repository, private=private or None, exist_ok=True)
            sent = [glob.escape(name) for name in (*recorded, CARD)]
            api.upload_folder(
                repo_id=place.repo_id,
                folder_path=model,
                allow_patterns=sent,
                commit_message="By wiseft",
            )
    except errors.HfHubHTTPError as error:
        advice = "the same command goes on from there"
        if error.response.status_code in (401, 403, 404):
            advice = "give a token that may write there: `hf auth login`, or HF_TOKEN"
        raise WiseftError(f"the hub refused {repository} ({_reason(error)}); {advice}") from None
    except NO_HUB as error:
        raise WiseftError(
            f"the hub cannot be reached from here, or is none ({_reason(error)}). On a machine "
            f"with a network and a copy of {folder}, run: wiseft push {folder} {repository}; or "
            f"without wiseft: hf upload {repository} {model} ."
        ) from None
    except ValueError as error:
        wrong = f"the name {repository} (owner/name) or the card {model / CARD}"
        raise WiseftError(f"mend {wrong}: {_reason(error)}") from None
    return str(place)


def _reason(error: Exception) -> str:
    return " ".join(str(error.__cause__ or error).split()) or type(error).__name__
