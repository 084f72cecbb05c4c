"""The family of open_clip: CLIP of every architecture, SigLIP, CoCa, CLIP with another text tower.

An architecture is an open_clip model config. Keys may be added, so that no hub is needed to build
the model: `tokenizer` (`{"files": {name: text}}`, see `wiseft.models.towers.tokenizers`) and, in
`text_cfg`, `hf_config`, the configuration of a text tower of transformers; and `normalise: false`
for a classifier whose features are not L2-normalised before the head.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from wiseft.base.io import read_json
from wiseft.base.temporary import temporary_folder
from wiseft.errors import WiseftError
from wiseft.models.towers import IMAGE, PrefixSharing, ZeroShotModel, explained, seeded, tokenizers

VISUAL = "visual."
IMAGE_NAMES = (VISUAL, IMAGE)
_CLIP_TOKENS = 49408


class OpenClipModel(ZeroShotModel):
    """A model of open_clip; `module` is open_clip's own."""

    def __init__(self, architecture: Mapping[str, Any], module: nn.Module):
        super().__init__(architecture, module, _pooled_only(cast(nn.Module, module.visual)))

    @property
    def logit_scale(self) -> Tensor:
        """The logarithm of what cosines are multiplied by."""
        return cast(Tensor, self.module.logit_scale).reshape(())

    @property
    def logit_bias(self) -> Tensor | None:
        """SigLIP's bias; None of other models."""
        bias = cast("Tensor | None", self.module.logit_bias)
        return None if bias is None else bias.reshape(())

    def tokenize(self, prompts: Sequence[str]) -> Tensor:
        """Return int64 (n, context length).

        Raises:
            WiseftError: if a prompt is longer, or the tokenizer is unknown or not that of the
                text tower.
        """
        tokens = cast(Tensor, self._tokenizer(list(prompts)))
        count, pad = _counter(self._tokenizer)
        tokenizers.refuse_long(prompts, tokens, count, pad)
        return tokens

    @functools.cached_property
    def _tokenizer(self) -> Any:
        return _tokenizer(self.architecture)

    def lengths(self, tokens: Tensor) -> Tensor | None:
        """Return how far every prompt reaches, for a causal tower that pools at the end token.

        Nothing behind that token has any influence there.
        """
        text = self._causal_text()
        if text is None:
            return None
        kind, end = text
        if kind == "argmax":
            # The end token has the highest number of the vocabulary.
            return tokens.argmax(dim=-1) + 1
        return (tokens == end).int().argmax(dim=-1) + 1

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Map int64 (n, length) to features (n, width); short ones only where `lengths` allows."""
        length, module = tokens.shape[1], cast(Any, self.module)
        if length < module.context_length and self._causal_text() is not None:
            return self._encode_short(tokens)
        return _first(module.encode_text(tokens, normalize=False))

    def prefix_sharing(self) -> PrefixSharing | None:
        """Return how a causal tower shares beginnings; its blocks are what tokens go through."""
        if self._causal_text() is None:
            return None
        weights = sum(each.numel() for each in self._text.transformer.parameters())
        return PrefixSharing(weights, self._encode_tree)

    def _encode_tree(self, tokens: Tensor, depths: Tensor, seen: Tensor, ends: Tensor) -> Tensor:
        """Map a tree of prompts to the features of its prompts, as open_clip maps each prompt."""
        text = self._text
        kind = text.transformer.get_cast_dtype()
        places = text.positional_embedding[depths]
        hidden = text.token_embedding(tokens).to(kind) + places.to(kind)
        mask = torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, -torch.inf)
        hidden = text.ln_final(text.transformer(hidden[None], attn_mask=mask)[0, ends])
        if (project := text.text_projection) is None:
            return cast(Tensor, hidden)
        return cast(Tensor, project(hidden) if isinstance(project, nn.Linear) else hidden @ project)

    @property
    def _text(self) -> Any:
        import open_clip

        module = cast(Any, self.module)
        return module if isinstance(module, open_clip.CLIP) else module.text

    def _causal_text(self) -> tuple[str, int] | None:
        """Return how a causal tower pools (argmax, eos) and its end token; None for others."""
        import open_clip
        from open_clip.transformer import TextTransformer

        module = cast(Any, self.module)
        if isinstance(module, open_clip.CLIP):
            kind, end, mask = module.text_pool_type, module.text_eos_id, module.attn_mask
        elif isinstance(getattr(module, "text", None), TextTransformer):
            text = module.text
            kind, end, mask = text.pool_type, text.eos_id, text.attn_mask
            if text.cls_emb is not None:  # CoCa pools at a token that it appends
                return None
        else:
            return None
        return (kind, end) if mask is not None and kind in ("argmax", "eos") else None

    def _encode_short(self, tokens: Tensor) -> Tensor:
        # open_clip takes the whole causal mask, and CLIP all positions, whatever the number of
        # tokens; so they are replaced by their beginnings for this call.
        import open_clip

        length, module = tokens.shape[1], cast(Any, self.module)
        if isinstance(module, open_clip.CLIP):
            beginnings = {
                "clip.positional_embedding": module.positional_embedding[:length],
                "clip.attn_mask": module.attn_mask[:length, :length],
            }
            return cast(Tensor, functional_call(_TextOf(module), beginnings, (tokens,)))
        short = {"attn_mask": module.text.attn_mask[:length, :length]}
        return _first(functional_call(module.text, short, (tokens,)))


class _TextOf(nn.Module):
    """A CLIP as a function of tokens alone, which `functional_call` needs."""

    def __init__(self, clip: Any):
        super().__init__()
        self.clip = clip

    def forward(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.clip.encode_text(tokens, normalize=False))


def _first(outputs: Any) -> Tensor:
    return cast(Tensor, outputs[0] if isinstance(outputs, tuple) else outputs)


def _pooled_only(visual: nn.Module) -> nn.Module:
    """Make an image tower return its pooled features alone, also where it offers tokens (CoCa)."""
    if getattr(visual, "output_tokens", False):
        visual.output_tokens = False  # type: ignore[assignment]
    return visual


# ------------------------------------------------------------------------------------- the family


def build(architecture: Mapping[str, Any], seed: int | None = None) -> OpenClipModel:
    """Return a model in eval mode, with random weights drawn from `seed`.

    Raises:
        WiseftError: if open_clip cannot build a model from the config.
    """
    return OpenClipModel(architecture, open_clip_model(architecture, seed).eval())


def build_image(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Return the image tower alone; with a seed it is that of `build`, CoCa's excepted.

    Raises:
        WiseftError: if open_clip cannot build it.
    """
    from open_clip.model import _build_vision_tower

    config = _config(architecture)
    vision = config["vision_cfg"] | {"timm_model_pretrained": False}
    with seeded(seed), _explained():
        # The tower comes first when open_clip builds a whole model: the same random numbers.
        visual = _build_vision_tower(
            config["embed_dim"], vision, bool(config.get("quick_gelu", False))
        )
    return _pooled_only(cast(nn.Module, visual))


def image_size(architecture: Mapping[str, Any]) -> int:
    """Return the edge in pixels of the images that the tower reads.

    Raises:
        WiseftError: if they are not square.
    """
    size = architecture["vision_cfg"].get("image_size", 224)  # open_clip's default
    sizes = {size} if isinstance(size, int) else set(size)
    if len(sizes) != 1:
        raise WiseftError(f"the architecture reads images of {size} pixels; they must be square")
    return int(sizes.pop())


def preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of `Preprocessing` that open_clip evaluates a model with.

    The size is the architecture's.

    Args:
        config: open_clip's configuration of a tag, or the `preprocess_cfg` of a repository.

    Raises:
        WiseftError: if images are not in RGB, or the border that `longest` leaves is not black.
    """
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    known = merge_preprocess_dict(PreprocessCfg(), dict(config))
    if known["mode"] != "RGB":
        raise WiseftError(f"mode is {known['mode']}, but must be RGB")
    if known["resize_mode"] == "longest" and known["fill_color"] != 0:
        raise WiseftError(f"fill_color is {known['fill_color']}, but must be 0 (black)")
    if known["interpolation"] == "random":  # of training; open_clip evaluates with the default
        known["interpolation"] = "bicubic"
    return {key: known[key] for key in ("mean", "std", "resize_mode", "interpolation")}


def architecture_from_json(path: Path | str) -> dict[str, Any]:
    """Read an open_clip model config.

    Raises:
        WiseftError: if the file is missing or lacks one of the keys that open_clip needs.
    """
    return checked_config(read_json(path, "architecture"), path)


def checked_config(architecture: Any, where: Path | str) -> dict[str, Any]:
    """Return an open_clip model config as it is.

    Raises:
        WiseftError: if it lacks one of the keys that open_clip needs.
    """
    known = architecture if isinstance(architecture, dict) else {}
    towers = [key for key in ("vision_cfg", "text_cfg") if not isinstance(known.get(key), dict)]
    if missing := [*(["embed_dim"] if "embed_dim" not in known else []), *towers]:
        raise WiseftError(f"{where} is no open_clip model config: it lacks {', '.join(missing)}")
    return known


def open_clip_model(architecture: Mapping[str, Any], seed: int | None = None) -> nn.Module:
    """Build an open_clip model from its config, with random weights drawn from `seed`.

    The global random state is left as it was.

    Raises:
        WiseftError: if open_clip cannot build a model from the config.
    """
    import open_clip

    config = _config(architecture)
    with temporary_folder("wiseft-architecture") as folder:
        if (hf_config := config["text_cfg"].pop("hf_config", None)) is not None:
            hf_config.pop("auto_map", None)  # names code that transformers would offer to run
            (folder / "config.json").write_text(json.dumps(hf_config))
            config["text_cfg"]["hf_model_name"] = str(folder)
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
        quiet = _without_warnings("initialized randomly", "no CLIP weights found")
        with quiet, seeded(seed), _explained():
            # Without `pretrained_text=False` a text tower of transformers would be downloaded.
            model = open_clip.create_model(f"local-dir:{folder}", pretrained_text=False)
    return cast(nn.Module, model)


def _config(architecture: Mapping[str, Any]) -> dict[str, Any]:
    """Return the architecture without what is ours in it."""
    config = copy.deepcopy(dict(architecture))
    for key in ("family", "tokenizer", "normalise"):
        config.pop(key, None)
    return config


def _explained() -> contextlib.AbstractContextManager[None]:
    advice = "compare it with one of open_clip's own model configs"
    return explained("open_clip cannot build the architecture", advice)


@contextlib.contextmanager
def _without_warnings(*texts: str) -> Iterator[None]:
    """Drop root-logger records that contain a text: random weights are what is asked for."""

    def keep(record: logging.LogRecord) -> bool:
        return not any(text in record.getMessage() for text in texts)

    root = logging.getLogger()
    root.addFilter(keep)
    try:
        yield
    finally:
        root.removeFilter(keep)


# ------------------------------------------------------------------------------------- tokenizers


def _tokenizer(architecture: Mapping[str, Any]) -> Any:
    import open_clip
    from open_clip.tokenizer import HFTokenizer

    text: Mapping[str, Any] = architecture["text_cfg"]
    context = text.get("context_length", 77)
    options = dict(text.get("tokenizer_kwargs", {}))
    if packed := architecture.get("tokenizer"):
        with tokenizers.unpacked(packed["files"]) as folder:
            tokenizers.load_hf(folder)  # for its messages
            return HFTokenizer(
                str(folder),
                context_length=context,
                tokenizer_mode=text.get("tokenizer_mode"),
                **options | {"trust_remote_code": False},  # they are from a file
            )
    if text.get("hf_tokenizer_name"):
        raise WiseftError(
            f"the model uses the tokenizer {text['hf_tokenizer_name']}, whose files are not among "
            "its weights; make them with `wiseft weights`, which brings the tokenizer along"
        )
    tokenizer = open_clip.SimpleTokenizer(context_length=context, **options)
    vocabulary = text.get("vocab_size", _CLIP_TOKENS)
    if vocabulary < tokenizer.vocab_size:
        raise WiseftError(
            f"the model has {vocabulary} tokens, but CLIP's tokenizer has {tokenizer.vocab_size}; "
            "the text tower is of another tokenizer"
        )
    return tokenizer


def _counter(tokenizer: Any) -> tuple[Any, int]:
    """Return how to count a prompt's tokens, start and end included, and the padding token."""
    import open_clip

    if isinstance(tokenizer, open_clip.SimpleTokenizer):
        return lambda prompt: len(tokenizer.encode(prompt)) + 2, 0
    own = tokenizer.tokenizer

    def count(prompt: str) -> int:
        return len(own([tokenizer.clean_fn(prompt)], truncation=False)["input_ids"][0])

    return count, int(own.pad_token_id or 0)
