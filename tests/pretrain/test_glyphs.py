"""Glyphs: what is drawn, from what, and that files are checked."""

from __future__ import annotations

import base64
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wiseft.base.stages import VERSION
from wiseft.errors import StaleArtifact, WiseftError
from wiseft.study.pretrain.glyphs import (
    PEN_FAMILY,
    Glyphs,
    build_glyphs,
    load_drawings,
    save_drawings,
)
from wiseft.study.pretrain.pens import TEMPLATES, draw_pen_glyph
from wiseft.study.pretrain.typefaces import typeface_glyphs
from wiseft.thetas.tensor_file import tensor_writer


def test_templates_cover_the_digits_with_several_allographs():
    assert sorted(TEMPLATES) == list(range(10))
    assert all(len(allographs) >= 3 for allographs in TEMPLATES.values())


def test_pen_glyph_is_ink_inside_the_mask():
    rng = np.random.default_rng(1)
    for digit in range(10):
        mask = draw_pen_glyph(digit, 48, rng)
        assert mask.shape == (48, 48)
        assert mask.dtype == np.uint8
        assert 0.02 < (mask > 127).mean() < 0.4
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
        assert border.max() == 0, f"digit {digit} touches the border"


def test_pen_glyphs_follow_the_seed_alone():
    draw = [draw_pen_glyph(3, 32, np.random.default_rng(5)) for _ in range(2)]
    other = draw_pen_glyph(3, 32, np.random.default_rng(6))
    np.testing.assert_array_equal(draw[0], draw[1])
    assert (draw[0] != other).any()


def test_matplotlib_faces_give_ten_distinct_digits_a_face():
    glyphs = list(typeface_glyphs([], 24))
    assert len(glyphs) == 21 * 10
    assert [glyph.digit for glyph in glyphs[:10]] == list(range(10))
    first = np.stack([glyph.mask for glyph in glyphs[:10]])
    assert len(np.unique(first.reshape(10, -1), axis=0)) == 10


HEADER = '#{"define_cap_line": -12, "define_base_line": 9}'
# Seven strokes of a digital watch, clockwise from the top, the middle one last, around "R".
STROKES = ["NH VH", "VH VR", "VR V\\", "V\\ N\\", "N\\ NR", "NR NH", "NR VR"]
DIGITS = ["012345", "12", "01643", "01623", "5612", "05623", "065432", "012", "0123456", "650123"]


def hershey_wheel(path: Path, fonts: dict[str, list[str]]) -> Path:
    """Write a package that holds stroke fonts as Hershey-Fonts does: 16 characters before "0"."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:bz2") as tar:
        for name, characters in fonts.items():
            lines = [HEADER, *["12345  1JZ"] * 16, *characters, *["12345  1JZ"] * 70]
            text = "\n".join(lines).encode()
            member = tarfile.TarInfo(f"{name}")
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    blob = base64.b64encode(archive.getvalue()).decode()
    with zipfile.ZipFile(path, "w") as wheel:
        code = f"__compressed_fonts_base64 = B'''{blob}'''\n"
        wheel.writestr("HersheyFonts/HersheyFonts.py", code)
    return path


def watch(digit: int, edges: str = "JZ") -> str:
    """Return a digit as a line of a Hershey font."""
    points = " R".join(STROKES[int(stroke)].replace(" ", "") for stroke in DIGITS[digit])
    return f"12345{len(points) // 2 + 1:3d}{edges}{points}"


def test_the_header_of_a_hershey_font_is_no_character(tmp_path: Path):
    """The lines were once counted from the header: "/" was called 0, "0" 1, and "8" 9."""
    wheel = hershey_wheel(tmp_path / "Hershey.whl", {"watch": [watch(d) for d in range(10)]})
    glyphs = build_glyphs([wheel], 24, 0)
    ours = glyphs.select(["hershey/watch"])
    assert glyphs.digits[ours].tolist() == list(range(10)) * 3
    one, eight = (glyphs.masks[ours[digit]] > 127 for digit in (1, 8))
    columns = np.flatnonzero(one.any(0))
    assert np.ptp(columns) < 4, "a 1 is one vertical line"
    assert eight.sum() == max((glyphs.masks[i] > 127).sum() for i in ours[:10]), "8 has all strokes"


def test_a_typeface_whose_labels_are_off_by_one_is_named(tmp_path: Path):
    shifted = [watch(digit) for digit in (8, 0, 1, 2, 3, 4, 5, 6, 7, 8)]
    wheel = hershey_wheel(tmp_path / "Hershey.whl", {"shifted": shifted})
    with pytest.raises(WiseftError, match=r"hershey/shifted look like .* its labels are wrong"):
        build_glyphs([wheel], 24, 0)


def test_fonts_with_the_same_digits_are_drawn_once(tmp_path: Path):
    digits = [watch(digit) for digit in range(10)]
    other = [watch(digit, "IZ") for digit in range(10)]
    wheel = hershey_wheel(tmp_path / "Hershey.whl", {"a": digits, "b": digits, "c": other})
    families = {glyph.family for glyph in typeface_glyphs([wheel], 24)}
    assert {name for name in families if "hershey" in name} == {"hershey/a", "hershey/c"}


def test_a_wheel_without_typefaces_and_a_truncated_wheel_are_named(tmp_path: Path):
    empty = tmp_path / "font_none-1.whl"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("font_none/__init__.py", "")
    empty.write_bytes(buffer.getvalue())
    with pytest.raises(WiseftError, match=r"font_none-1\.whl holds no \.ttf"):
        list(typeface_glyphs([empty], 24))
    empty.write_bytes(buffer.getvalue()[:40])
    with pytest.raises(WiseftError, match="is damaged or cut short"):
        list(typeface_glyphs([empty], 24))


def test_glyph_file_round_trip_and_families(tmp_path: Path):
    glyphs = build_glyphs([], 24, 20)
    save_drawings(tmp_path / "glyphs.safetensors", glyphs)
    again = load_drawings(tmp_path / "glyphs.safetensors", Glyphs)
    np.testing.assert_array_equal(again.masks, glyphs.masks)
    assert again.names == glyphs.names
    assert len(again.select([PEN_FAMILY])) == 20
    assert len(again.select([PEN_FAMILY], invert=True)) == 210
    with pytest.raises(WiseftError, match="no glyphs of papyrus"):
        again.select(["papyrus"])


def test_glyph_file_of_an_older_version_is_refused(tmp_path: Path, monkeypatch, glyphs):
    path = tmp_path / "glyphs.safetensors"
    save_drawings(path, glyphs)
    monkeypatch.setitem(VERSION, "pretrain", 99)
    with pytest.raises(StaleArtifact, match="older version"):
        load_drawings(path, Glyphs)
    path.write_bytes(b"nonsense")
    with pytest.raises(WiseftError, match="not a whole safetensors file"):
        load_drawings(path, Glyphs)


def test_damaged_glyphs_are_refused(tmp_path: Path, glyphs):
    path = tmp_path / "glyphs.safetensors"
    save_drawings(path, glyphs)
    content = bytearray(path.read_bytes())
    content[-500] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(WiseftError, match="is damaged: expected tensors with SHA-256"):
        load_drawings(path, Glyphs)
    with tensor_writer(path, {}, {"kind": "fisher"}):
        pass
    with pytest.raises(WiseftError, match="holds fisher, no glyphs"):
        load_drawings(path, Glyphs)
