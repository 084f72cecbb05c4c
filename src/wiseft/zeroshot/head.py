"""The zero-shot head (paper section 2, appendix D.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import open_clip
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional

from wiseft.errors import WiseftError
from wiseft.zeroshot.prompts import fill_templates

BATCH_SIZE = 256


def build_head(
    model: nn.Module,
    tokenizer: open_clip.SimpleTokenizer,
    prompt_names: Sequence[Sequence[str]],
    templates: Sequence[str],
    batch_size: int = BATCH_SIZE,
) -> Tensor:
    """Return the head's weight, fp32 (classes, width), on the CPU.

    Every class's prompt features are L2-normalised, averaged, L2-normalised again and multiplied
    by exp(logit_scale) once (paper D.1); so the bias of the head is zero.

    Args:
        model: an open_clip model in eval mode.
        tokenizer: called with a list of prompts, returns int64 (n, context length).
        prompt_names: the names of every class; each is put into every template.
        templates: sentences with `{c}` where the name goes.
        batch_size: prompts a pass through the text tower.

    Raises:
        WiseftError: if a prompt is longer than the model's context.
    """
    prompts = fill_templates(prompt_names, templates)
    flat = [prompt for of_class in prompts for prompt in of_class]
    tokens = tokenizer(flat)
    _check_length(flat, tokens, tokenizer)
    features = encode_prompts(model, tokens, batch_size)
    of_classes = features.split([len(of_class) for of_class in prompts])
    means = torch.stack([of_class.mean(dim=0) for of_class in of_classes])
    scale = cast(Tensor, model.logit_scale).detach().exp().reshape(()).float().cpu()
    return functional.normalize(means, dim=-1) * scale


@torch.no_grad()
def encode_prompts(model: nn.Module, tokens: Tensor, batch_size: int = BATCH_SIZE) -> Tensor:
    """Return the L2-normalised text features, fp32 (n, width), on the CPU.

    In a causal tower that pools at the end token nothing behind that token has any influence, so
    prompts are sorted by length and each batch is cut to its longest; other towers see the whole
    context.

    Args:
        model: an open_clip model in eval mode.
        tokens: int64 (n, context length).
        batch_size: prompts a pass.
    """
    device = cast(Tensor, model.logit_scale).device
    # The end token has the highest number of the vocabulary (CLIP pools at the argmax).
    lengths = tokens.argmax(dim=-1) + 1
    order = torch.argsort(lengths, stable=True)
    cut = _can_be_cut(model)
    encoded = []
    for chosen in order.split(batch_size):
        batch = tokens[chosen].to(device)
        length = int(lengths[chosen].max()) if cut else tokens.shape[1]
        encoded.append(_encode(model, batch[:, :length]).float().cpu())
    features = torch.cat(encoded)
    return torch.empty_like(features).index_copy_(0, order, features)


def _can_be_cut(model: nn.Module) -> bool:
    return (
        isinstance(model, open_clip.CLIP)
        and model.attn_mask is not None
        and model.text_pool_type == "argmax"
    )


def _encode(model: Any, tokens: Tensor) -> Tensor:
    length = tokens.shape[1]
    if not isinstance(model, open_clip.CLIP) or length == model.context_length:
        return cast(Tensor, model.encode_text(tokens, normalize=True))
    # open_clip adds all positions to the tokens whatever their number; so the positions and the
    # causal mask are replaced by their beginnings for this call.
    beginnings = {
        "positional_embedding": model.positional_embedding[:length],
        "attn_mask": model.attn_mask[:length, :length],
    }
    outputs = functional_call(model, beginnings, kwargs={"image": None, "text": tokens})
    return cast(Tensor, outputs["text_features"] if isinstance(outputs, dict) else outputs[1])


def _check_length(
    prompts: Sequence[str], tokens: Tensor, tokenizer: open_clip.SimpleTokenizer
) -> None:
    context = tokens.shape[1]
    for row in (tokens[:, -1] != 0).nonzero().flatten().tolist():
        length = len(tokenizer.encode(prompts[row])) + 2  # start and end
        if length > context:
            raise WiseftError(
                f"prompt {prompts[row]!r} has {length} tokens, but the model reads {context}; "
                "shorten the template or the class name"
            )
