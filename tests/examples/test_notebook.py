"""`docs/wiseft.ipynb`: its code cells run as they are, in a process of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd

NOTEBOOK = Path(__file__).parents[2] / "docs" / "wiseft.ipynb"
CELLS = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
CODE = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]
RUN = "import json, sys\nspace = {}\nfor cell in json.load(sys.stdin):\n    exec(cell, space)\n"


def test_it_has_ten_cells_of_code_and_nothing_of_a_run():
    assert len(CODE) == 10
    cells = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    titles = [t for cell in CELLS for t in cell["source"] if t.startswith("## ")]
    assert [title.split()[1] for title in titles] == [f"{n}." for n in range(1, 11)]


def test_its_cells_run_and_the_curve_bends(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(CODE),
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert "recommended: 0." in done.stdout
    out = tmp_path / "wiseft-demo" / "out"
    table = pd.read_csv(out / "table.csv")
    grid = table[(table["selection"] == "grid") & (table["split"] == "test")]
    accuracy = grid.pivot(index="alpha", columns="dataset", values="value")
    ends, between = accuracy.loc[[0, 1]], accuracy.loc[0.1:0.9]
    assert ends["reference"][1] > ends["reference"][0] + 0.02
    assert between["avg:shifts"].max() > ends["avg:shifts"].max() + 0.005
    assert (tmp_path / "wiseft-demo" / "curve.png").stat().st_size > 5_000
    assert (out / "index.html").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"wiseft-demo"}
