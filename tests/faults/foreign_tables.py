"""Tables and arrays of strangers: .mat, .parquet, .npy, .npz, CSV, JSON Lines and images."""

from __future__ import annotations

import io
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from tests.faults.harness import as_command, run
from tests.faults.model_files import _payload
from tests.faults.verdicts import Found, Ground, Verdict

Form = Callable[[Random, str], bytes]


def _mat(rng: Random) -> bytes:
    from scipy.io import savemat

    stream = io.BytesIO()
    names = np.empty(3, dtype=object)
    names[:] = ["0.jpg", "1.jpg", "2.jpg"]
    classes = np.empty(2, dtype=object)
    classes[:] = ["cat", "dog"]
    table = np.zeros(3, dtype=[("class", object), ("fname", object)])
    table["class"], table["fname"] = [1, 2, 1], names
    variables = {"annotations": table, "class_names": classes}
    savemat(stream, variables, do_compression=rng.random() < 0.5)
    return stream.getvalue()


def mat_damaged(rng: Random, canary: str) -> bytes:
    """A MATLAB file with bits flipped or cut."""
    return _damaged(_mat(rng), rng)


def mat_header(rng: Random, canary: str) -> bytes:
    """A MATLAB file whose elements say other types, sizes and dimensions."""
    content = bytearray(_mat(Random(rng.choice([1, 2, 3]))))
    for _ in range(rng.choice([1, 2, 4])):
        place = 128 + 4 * rng.randrange((len(content) - 132) // 4)
        value = rng.choice([0, 1, 14, 15, 17, 2**31 - 1, 2**32 - 1, 10**9, 0x10000])
        content[place : place + 4] = struct.pack("<I", value)
    return bytes(content)


def mat_bomb(rng: Random, canary: str) -> bytes:
    """A compressed element of a MATLAB file that unfolds to far more."""
    zeros = struct.pack("<II", 14, 3 * 2**30) + bytes(64 * 2**20)
    body = zlib.compress(zeros, 9)
    return _mat(rng)[:128] + struct.pack("<II", 15, len(body)) + body


def _parquet(rng: Random) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    table = pa.table({"file_name": ["0.jpg", "1.jpg", "2.jpg"], "label": ["cat", "dog", "cat"]})
    pq.write_table(table, stream, compression=rng.choice(["none", "snappy", "zstd", "gzip"]))
    return stream.getvalue()


def parquet_damaged(rng: Random, canary: str) -> bytes:
    """A Parquet file with bits flipped or cut."""
    return _damaged(_parquet(rng), rng)


def parquet_footer(rng: Random, canary: str) -> bytes:
    """A Parquet file whose last part, which says all else, is another."""
    content = bytearray(_parquet(rng))
    size = struct.unpack("<I", content[-8:-4])[0]
    if rng.random() < 0.3:
        content[-8:-4] = struct.pack("<I", rng.choice([0, 2**31, 2**32 - 1, size + 1]))
    for _ in range(rng.choice([0, 1, 3, 10])):
        content[len(content) - 8 - 1 - rng.randrange(size)] = rng.randrange(256)
    return bytes(content)


def parquet_types(rng: Random, canary: str) -> bytes:
    """A Parquet file of other columns: nested, binary, extension types, very many rows of one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = rng.choice([0, 3, 2_000_000])
    names: list[Any] = [
        pa.array(["../../evil"] * n),
        pa.array([b"\xff\x00"] * n),
        pa.array([["a"]] * n, pa.list_(pa.string())),
        pa.array([{"a": 1}] * n, pa.struct([("a", pa.int64())])),
        pa.nulls(n),
        pa.array([f"{canary}/x"] * n),
        pa.array(["\0"] * n),
    ]
    stream = io.BytesIO()
    labels = pa.array([rng.choice([None, 1, 10**18])] * n, pa.int64())
    table = pa.table({"file_name": rng.choice(names), "label": labels})
    metadata = {b"pandas": rng.choice([b"{", b"{}", pickle.dumps(1)]), b"ARROW:schema": b"AAAA"}
    pq.write_table(table.replace_schema_metadata(metadata), stream)
    return stream.getvalue()


def npy(rng: Random, canary: str) -> bytes:
    """An .npy that is pickled, or whose header is another expression or size."""
    if rng.random() < 0.3:
        stream = io.BytesIO()
        array = np.array([_payload(rng, canary)], dtype=object)
        np.save(stream, array, allow_pickle=True)
        return stream.getvalue()
    headers = [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (10000000000, 32, 32, 3), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 32, 32, 3), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
        f"__import__('os').system('touch {canary}/ran')",
        "{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,), }",
        "(" * 3000,
        "{'descr': '<f8', 'fortran_order': 7, 'shape': 'x', }",
        "{" * 50,
        "",
    ]
    text = rng.choice(headers).encode().ljust(118) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(rng.choice([0, 9216]))


def npz(rng: Random, canary: str) -> bytes:
    """An .npz with a bomb, a pickle, a name that leads out, or damage in it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        big = rng.choice([b"", bytes(2**20)])
        archive.writestr(rng.choice(["images.npy", "../images.npy"]), npy(rng, canary) + big)
    return rng.choice([stream.getvalue(), _damaged(stream.getvalue(), rng)])


def text_table(rng: Random, canary: str) -> bytes:
    """A CSV or JSON Lines table with quotes, zeros, depths, numbers and paths that lead out."""
    rows = [
        *(b"file_name,label\n0.jpg,cat\n", b'file_name,label\n"0.jpg,cat\n', b"\xff\xfe,\x00\n"),
        *(b"file_name,label\n../../evil,cat\n", b"file_name,label\n/etc/passwd,cat\n", b"label\n"),
        b"file_name,label\n" + b"x" * 200_000 + b",cat\n",
        *(b"[" * 100_000, b'{"file_name": 3, "label": []}\n', b'{"file_name": "0.jpg"}\n', b"7\n"),
        b'{"file_name": "0.jpg", "label": ' + b"9" * 5000 + b"}\n",
        *(b"null\n", b'{"a": NaN}\n', b"", b"\n\n", b"\r", json.dumps("x" * 9999).encode()),
    ]
    return rng.choice(rows)


def picture(rng: Random, canary: str) -> bytes:
    """An image of 900 megapixels in a few bytes, a damaged one, or none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    side = rng.choice([30_000, 20_000, 2**31 - 1, 0])
    head = struct.pack(">IIBBBBB", side, side, rng.choice([1, 8]), rng.choice([0, 2]), 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
    png += chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    ppm = b"P6 %d %d 255\n" % (side, side)
    svg = b"<svg xmlns='http://www.w3.org/2000/svg'><script>x</script></svg>"
    eps = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch "
        + canary.encode()
        + b"/ran)"
    )
    return rng.choice([png, png, _damaged(png, rng), ppm, svg, eps, b"GIF89a\xff\xff\xff\xff"])


def _damaged(content: bytes, rng: Random) -> bytes:
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content))]
    changed = bytearray(content)
    for _ in range(rng.choice([1, 3, 10, 50])):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


FORMS: list[tuple[Form, str]] = [
    (mat_damaged, "cars.mat"),
    (mat_header, "cars.mat"),
    (mat_bomb, "cars.mat"),
    (parquet_damaged, "metadata.parquet"),
    (parquet_footer, "metadata.parquet"),
    (parquet_types, "metadata.parquet"),
    (npy, "images.npy"),
    (npz, "images.npz"),
    (text_table, "metadata.csv"),
    (text_table, "metadata.jsonl"),
    (picture, "cat/0.png"),
]


def _read(folder: Path, name: str) -> None:
    """Read the file as the layout that has such files does."""
    from wiseft.study.config.layouts import check_options
    from wiseft.study.data.layouts import LayoutInputs, reader

    given: dict[str, tuple[str, dict[str, Any]]] = {
        ".mat": (
            "mat",
            {"annotations": {"test": [name]}, "images": {"test": ["i"]}, "classes": [name]},
        ),
        ".npy": ("array-files", {"images": {"test": name}, "labels": {"test": "labels.npy"}}),
        ".npz": (
            "array-files",
            {"images": {"test": f"{name}:images"}, "labels": {"test": "labels.npy"}},
        ),
    }
    layout, options = given.get(Path(name).suffix, ("hugging-face", {"folders": {"test": ["."]}}))
    inputs = LayoutInputs(
        "strange", folder, {}, ["test"], check_options(layout, options), ["cat", "dog"]
    )
    reader(layout)(inputs)


def _decode(folder: Path, name: str) -> None:
    """Index a folder of images and decode them as a model takes them."""
    from wiseft.cli import main

    manifest = folder / "out" / "manifest.json"
    try:
        main(
            ["data", "index", str(folder / "pictures"), "--name", "x", "--manifest", str(manifest)]
        )
    except SystemExit as left:
        if left.code:
            raise
    main(["data", "cache", "--manifest", str(manifest), "--transform", "32"])


def attack(ground: Ground, rng: Random, number: int) -> Found:
    """Read one file."""
    form, name = FORMS[number % len(FORMS)]
    folder = ground.base / "bench" / f"tables-{number}"
    (folder / "i").mkdir(parents=True)
    try:
        is_picture = form is picture
        path = folder / "pictures" / name if is_picture else folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        canary = str(ground.canary)  # of this worker, not of the process that writes the file
        made = run(lambda: _put(path, form(rng, canary)), folder)
        assert made.code == 0, made.output
        if is_picture:
            (path.parent.parent / "dog").mkdir()
            shutil.copy(path, path.parent.parent / "dog" / "1.png")
        np.save(folder / "labels.npy", np.zeros(3, np.int64))
        what = f"{name}: {(form.__doc__ or '').strip()}"
        read = _decode if is_picture else _read
        ended = run(as_command(lambda: read(folder, name)), folder)
        if found := ground.common(what, ended):
            return found
        if ended.code and Path(name).name not in ended.output:
            return Found(what, Verdict.UNCLEAR, f"does not name the file\n{ended.output[-500:]}")
        return Found(what)
    finally:
        shutil.rmtree(folder)


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
