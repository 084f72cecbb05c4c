"""What is found damaged is made again by the run that the message names, with the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.workflow.conftest import SMOKE, Run

from wiseft.thetas.tensor_file import read_file_header

pytestmark = pytest.mark.slow

FOLDER = f"data/runs/digits-rn-smoke-s0__mnist__end-to-end__{SMOKE}/seed-0"
THETA = f"{FOLDER}/theta_1.safetensors"
PREDICTIONS = f"{FOLDER}/evaluate/optdigits/predictions.parquet"


def zero(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[300_000 : 300_000 + 2**16] = bytes(2**16)
    path.write_bytes(content)


def change_one(path: Path) -> None:
    table = pq.read_table(path)
    place = table.column_names.index("weight/all/0.500/prediction")
    values = table.column(place).to_numpy().copy()
    values[0] = (values[0] + 1) % 10
    pq.write_table(table.set_column(place, table.column_names[place], pa.array(values)), path)


def numbers(folder: Path, experiment: str) -> dict[str, bytes | str]:
    tables = (folder / "data" / "tables").glob(f"{experiment}*")
    files = [*tables, *(folder / FOLDER).rglob("*.parquet")]
    tensors = read_file_header(folder / THETA, "theta")["tensors_sha256"]
    return {THETA: tensors} | {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("damage", "damaged", "set_aside"),
    [
        (zero, THETA, [THETA]),
        (change_one, PREDICTIONS, [PREDICTIONS, f"{FOLDER}/evaluate/optdigits/metrics.json"]),
    ],
)
def test_the_rerun_that_is_named_heals(
    continued: Path,
    rerun: Run,
    damage: Callable[[Path], None],
    damaged: str,
    set_aside: list[str],
    experiment: str = SMOKE,
) -> None:
    # Of what `make run` asks for: the weights are asked for themselves, not for the tables alone.
    command = ("--cores", "1", THETA, "tables", f"data/tables/{experiment}.metrics.json")
    before = numbers(continued, experiment)
    damage(continued / damaged)
    done = rerun(continued, *command, experiment=experiment)
    assert done.returncode == 1
    assert f"error: {damaged} is damaged: expected" in done.stdout
    assert "Run the experiment again (make run EXPERIMENT=...)" in done.stdout
    for name in set_aside:
        assert f"{name}.damaged" in done.stdout
        assert not (continued / name).exists() and (continued / f"{name}.damaged").is_file()
    done = rerun(continued, *command, experiment=experiment)
    assert done.returncode == 0, done.stdout[-3000:]
    assert numbers(continued, experiment) == before
