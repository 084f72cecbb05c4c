"""Interpolation from file to file."""

from __future__ import annotations

from pathlib import Path

from wiseft.alphas import format_alpha
from wiseft.combine.linear import ends, interpolate
from wiseft.theta import check_compatible, load_theta, make_header, save_theta


def interpolate_files(theta_0: Path, theta_1: Path, alpha: float | str, output: Path) -> str:
    """Write the theta between two files and return its SHA-256.

    The header is of kind `combined`; it names the coefficients and, as parents, the SHA-256 of
    the two files.

    Raises:
        WiseftError: if alpha is not one of three decimals in [0, 1], a file is missing or
            broken, or the two are of different architectures, classes or preprocessing.
    """
    alpha = format_alpha(alpha)
    start, end = load_theta(theta_0), load_theta(theta_1)
    check_compatible(start, end)
    header = make_header(
        "combined",
        "combine",
        architecture=end.header.architecture,
        preprocessing=end.header.preprocessing,
        class_names=end.header.class_names,
        parents={"theta_0": str(start.sha256), "theta_1": str(end.sha256)},
        seed=end.header.seed,
        settings={
            "combination": "weight",
            "alpha": alpha,
            "coefficients": dict(zip(("theta_0", "theta_1"), ends(alpha), strict=True)),
        },
    )
    return save_theta(output, interpolate(start.tensors, end.tensors, alpha), header)
