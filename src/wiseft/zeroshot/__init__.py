"""Stage zeroshot: prompts and the text tower give a head; with the image tower it is theta_0."""

from wiseft.zeroshot.head import build_head, encode_prompts
from wiseft.zeroshot.matched_head import match_head
from wiseft.zeroshot.prompts import fill_templates, parse_templates
from wiseft.zeroshot.temperature import calibrate_temperature
from wiseft.zeroshot.theta_0 import make_theta_0

__all__ = [
    "build_head",
    "calibrate_temperature",
    "encode_prompts",
    "fill_templates",
    "make_theta_0",
    "match_head",
    "parse_templates",
]
