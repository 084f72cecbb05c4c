"""Interpolation of two checkpoints of other programs, into the format of the first.

What comes out loads where the first one loads: its file format, names, dtypes, wrappers, prefixes,
configuration and tokenizer are kept.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from wiseft.combine.linear_combination import interpolate
from wiseft.errors import WiseftError, some
from wiseft.foreign import huggingface
from wiseft.foreign.configs import check_described, compare_configs, tied_names
from wiseft.foreign.door import Opened, open_model
from wiseft.foreign.formats import Checkpoint
from wiseft.foreign.forms import module_names
from wiseft.foreign.processors import compare_processors
from wiseft.foreign.tokenizer_files import compare_tokenizers
from wiseft.foreign.wrappers import key_of
from wiseft.thetas.tensor_file import LazyTensors, examples
from wiseft.thetas.tensor_views import check_fit, floating, renamed

log = logging.getLogger(__name__)

_PIECE = 2**18
"""Elements that are mixed at a time."""
_DERIVED = re.compile(
    r"(.*\.)?(num_batches_tracked|n_averaged|(position|token_type)_ids|relative_position_index"
    r"|attention_bias_idxs|causal_mask|attn\.bias|input_resolution|context_length|vocab_size)"
)
"""Tensors of no floating-point numbers that a program makes itself where they are missing:
counters; places, masks and sizes (of OpenAI's archives) that follow from the configuration."""
_KEPT = 2**24
"""Bytes of which glibc keeps twice as many at hand once so large a block was freed. Else it gives
the memory of each piece back, and asks for it anew: three times the time."""


def merge_opened(
    like: Opened,
    other: Opened,
    alpha: str,
    output: Path,
    device: torch.device | str = "cpu",
    alphas: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Write (1 - alpha) a + alpha b in the format of `a`, which is `like`; b is `other`.

    The two may be in different formats of one architecture: open_clip and a CLIPModel of
    transformers, a `.pt` file and safetensors. Floating tensors are computed in fp32 and get the
    dtype that they have in `a`; at alpha 0 the tensors are `a`'s. All others must be equal, except
    counters of batches, which are those of `b`. Moving averages that both have are merged, too.

    Args:
        like: of `open_both`, as is `other`; not two thetas of wiseft.
        alpha: of three decimals, in [0, 1].
        output: a new file, or folder where `a` is one.
        device: that mixes.
        alphas: of single tensors, by their names in `a`, in place of `alpha`.

    Raises:
        WiseftError: if their architectures differ (lists the tensors in which they do).
    """
    first, second, a, b = like.checkpoint, other.checkpoint, like.path, other.path
    also = {
        key: _between(each, second.also[key], alpha, device, alphas)
        for key, each in first.also.items()
    }
    mixed = _between(first, second, alpha, device, alphas)
    like.write(mixed, output, also=also)
    for each in (first, second):
        if each.left:
            log.info(f"{each.path}: not merged, and not in {output}: {some(each.left, 12)}")
    if first.kind == "torchscript":
        log.info(f"{a} is a TorchScript archive; {output} is a plain state dict with its tensors")
    integers = len(first.tensors) - len(floating(examples(first.tensors)))
    kept = f", {integers} that are no floating-point numbers kept" if integers else ""
    beside = f"; and those of {', '.join(map(key_of, also))}" if also else ""
    n = len(first.tensors) - integers
    log.info(f"{output}: {n} tensors between {a} and {b} at alpha {alpha}{kept}{beside}")


def are_thetas(like: Opened, other: Opened) -> bool:
    """Whether both are thetas of wiseft, of which the first is always the zero-shot one."""
    return like.header is not None and other.header is not None


def open_both(
    a: Path, b: Path, weights: str | None, base: Opened | None = None
) -> tuple[Opened, Opened]:
    """Return two models whose configurations fit.

    Args:
        b: may be an adapter of PEFT for `base`; then it is that model with it merged.
        weights: the key of the weights in `.pt` files that hold several mappings of tensors.
        base: None: `a`.

    Raises:
        WiseftError: if a checkpoint is refused, or their configurations differ.
    """
    like = open_model(a, weights=weights, also=True)
    other = open_model(b, base or like, weights, also=True)
    first, second = like.checkpoint, other.checkpoint
    if are_thetas(like, other):
        return like, other
    if like.own:
        raise WiseftError(
            f"{a} was written by wiseft, and its header says what it was made of; give the other "
            "checkpoint first, bring that one in with `wiseft import`, or let `wiseft sweep` make "
            "both alike; `wiseft export` writes a theta as another checkpoint is"
        )
    _check_keys(first, second, weights)
    compare_configs(first, second)
    if first.path.is_dir() and second.path.is_dir():
        compare_processors((first.path, first.config), (second.path, second.config))
        compare_tokenizers(first.path, second.path)
    for each in (first, second):
        check_described(each)
    return like, other


def _check_keys(first: Checkpoint, second: Checkpoint, weights: str | None) -> None:
    """Refuse a key that neither file has, and averages that only one has."""
    both = (first, second)
    if weights is not None and weights not in [key_of(each.wrapper) for each in both]:
        raise WiseftError(f"neither {first.path} nor {second.path} has weights under {weights}")
    if odd := [key_of(key) for key in first.also.keys() ^ second.also.keys()]:
        raise WiseftError(
            f"of {first.path} and {second.path} one alone holds {odd[0]} beside the weights, which "
            "programs may load in their place; name what to merge with --weights, or save it alone"
        )


def _between(
    first: Checkpoint,
    second: Checkpoint,
    alpha: str,
    device: torch.device | str,
    alphas: Mapping[str, str],
) -> Mixed:
    """Return the tensors between two checkpoints that fit."""
    if odd := [name for name in alphas if name not in first.tensors]:
        raise WiseftError(f"{odd[0]} gets an alpha of its own, but not all of {first.path} has it")
    every = {**dict.fromkeys(first.tensors, alpha), **alphas}
    return Mixed(first.tensors, fitting(first, second), every, device, examples(first.tensors))


def fitting(first: Checkpoint, second: Checkpoint) -> Mapping[str, Tensor]:
    """Return the second's tensors under the first's names. Raises WiseftError if they don't fit."""
    end = _named_like(first, second)
    if first.tensors.keys() != end.keys():
        end = _untied(first, second, end)
    start, other = (floating(examples(each)) for each in (first.tensors, end))
    try:
        check_fit(start, other, f"{second.path}, beside {first.path},")
    except WiseftError as error:
        raise WiseftError(
            f"{error}\nOf an encoder with a head and a zero-shot model, `wiseft sweep` makes two "
            "classifiers, and writes the one in between as the second checkpoint is."
        ) from None
    for name in sorted(first.tensors.keys() ^ end.keys()):
        if not _DERIVED.fullmatch(name):
            raise WiseftError(
                f"{name} is in one of {first.path} and {second.path} alone, and is no "
                "floating-point number, so nothing says what a model between them has there; "
                "remove it, or save both models by one program"
            )
    for name in (first.tensors.keys() & end.keys()) - start.keys():
        one, two = first.tensors[name], end[name]
        same = one.shape == two.shape and (_is_counter(name) or bool((one == two).all()))
        if not same:
            raise WiseftError(
                f"{name} differs between {first.path} and {second.path}, but is {one.dtype}, and "
                "only real floating-point numbers are averaged; save both models with real "
                "floating-point weights (complex ones by torch.view_as_real)"
            )
    return end


def _untied(
    first: Checkpoint, second: Checkpoint, end: Mapping[str, Tensor]
) -> Mapping[str, Tensor]:
    """Return the second's tensors with another name of a tied tensor put in or left out, where one
    file has it and the other has not, and its values are those of the tensor.
    """
    start, names = first.tensors, {name: name for name in end}
    for name, one in tied_names(first.config or second.config, start).items():
        holder = start if name in start else end
        odd = (name in start) != (name in end) and one in start and one in end
        if odd and torch.equal(holder[name], holder[one]):
            log.info(f"{name} is {one} under another name, and one file alone has it")
            if name in start:
                names[name] = one
            else:
                del names[name]
    return renamed(end, names)


def _is_counter(name: str) -> bool:
    """Whether a tensor counts batches that were trained on, which no prediction depends on."""
    return name.split(".")[-1] in ("num_batches_tracked", "n_averaged")


class Mixed(LazyTensors):
    """The first's tensors; floating ones lie between it and the other, in dtypes of `shapes`."""

    def __init__(
        self,
        first: Mapping[str, Tensor],
        other: Mapping[str, Tensor],
        alphas: Mapping[str, str],
        device: torch.device | str,
        shapes: Mapping[str, Tensor],
    ):
        self._both, self._alphas, self._device = (first, other), alphas, device
        self.shapes = shapes
        torch.empty(_KEPT, dtype=torch.uint8)

    def __getitem__(self, name: str) -> Tensor:
        return torch.cat(list(self.pieces(name))).view(self.shapes[name].shape)

    def pieces(self, name: str) -> Iterator[Tensor]:
        """Yield what is mixed, so that no tensor is in fp32 as a whole."""
        dtype, alpha = self.shapes[name].dtype, self._alphas[name]
        if not dtype.is_floating_point:
            counted = _is_counter(name) and name in self._both[1] and float(alpha) > 0
            yield self._both[counted][name].flatten().to(dtype)
            return
        both = (of[name].flatten().split(_PIECE) for of in self._both)
        for pair in zip(*both, strict=True):
            one, other = ({name: piece.to(self._device)} for piece in pair)
            yield interpolate(one, other, alpha)[name].to("cpu", dtype)


def _named_like(first: Checkpoint, second: Checkpoint) -> Mapping[str, Tensor]:
    """Return the second's tensors under the first's names."""
    start, tensors = first.tensors, second.tensors
    before, after = _lone_prefix(start, tensors), _lone_prefix(tensors, start)
    for each, prefix in ((first, before), (second, after)):
        if prefix:
            n = len(each.tensors)
            log.info(f"{each.path}: prefix {prefix} of {n} tensors taken off to compare them")
    config = first.config or second.config
    found = _in_form(_stripped(start, before), _stripped(tensors, after), config)
    return renamed(found, {before + name: name for name in found}) if before else found


def _lone_prefix(names: Iterable[str], others: Iterable[str]) -> str:
    """Return what begins every name, module by module, and none of the others; else nothing."""
    own, found = list(names), ""
    while True:
        longer = f"{found}{own[0].removeprefix(found).partition('.')[0]}."
        if not all(each.startswith(longer) for each in own):
            return found
        if any(each.startswith(longer.removeprefix(found)) for each in others):
            return found
        found = longer


def _stripped(tensors: Mapping[str, Tensor], prefix: str) -> Mapping[str, Tensor]:
    names = {name.removeprefix(prefix): name for name in tensors}
    return renamed(tensors, names) if prefix else tensors


def _in_form(
    first: Mapping[str, Tensor], tensors: Mapping[str, Tensor], config: Mapping[str, Any]
) -> Mapping[str, Tensor]:
    if first.keys() != tensors.keys() and (ours := module_names(config, first)):
        theirs = module_names(config, tensors)
        back = {theirs[name]: ours[name] for name in ours.keys() & theirs.keys()}
        return renamed(tensors, {back.get(name, name): name for name in tensors})
    first_is_hf, second_is_hf = huggingface.is_clip(first), huggingface.is_clip(tensors)
    if first_is_hf and not second_is_hf:
        flat = {name.removeprefix("text."): name for name in floating(examples(tensors))}
        return huggingface.from_open_clip(renamed(tensors, flat))
    if first_is_hf or not second_is_hf:
        return tensors
    tensors = huggingface.to_open_clip(tensors)
    if any(key.startswith("text.") for key in first):  # open_clip's module for the tower
        outside = ("visual.", "logit_")
        names = {k if k.startswith(outside) else f"text.{k}": k for k in tensors}
        return renamed(tensors, names)
    return tensors
