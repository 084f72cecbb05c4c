"""Stage zeroshot: prompts and the text tower give a head; with the image tower it is theta_0."""

from wiseft.zeroshot.head import build_head, encode_prompts
from wiseft.zeroshot.prompts import fill_templates, parse_templates
from wiseft.zeroshot.theta_0 import load_clip, make_theta_0

__all__ = [
    "build_head",
    "encode_prompts",
    "fill_templates",
    "load_clip",
    "make_theta_0",
    "parse_templates",
]
