"""MLCommons' own loader takes our Croissant metadata, and reads records of prepared datasets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from tests.data.test_croissant import NAMES, ROOT, committed, write_corrupt
from tools import croissant

mlcroissant = pytest.importorskip(
    "mlcroissant", reason="mlcroissant is not installed; make test-peers installs it"
)


@pytest.mark.parametrize("name", NAMES)
def test_the_format_is_right(name):
    metadata = mlcroissant.Dataset(ROOT / f"croissant-{name}.json").metadata
    issues = metadata.ctx.issues
    assert not issues.errors
    assert all("datePublished" in warning for warning in issues.warnings)
    assert metadata.license == committed(name)["license"]
    assert [each.name for each in metadata.creators] == ["The wiseft developers"]
    assert len(metadata.file_objects) == len(committed(name)["distribution"])


@pytest.mark.parametrize("name", NAMES)
def test_rows_that_stand_in_the_file_are_read(name):
    data, record = mlcroissant.Dataset(ROOT / f"croissant-{name}.json"), committed(name)
    inline = [each for each in record["recordSet"] if "data" in each]
    assert len(inline) > 3
    for each in inline:
        assert list(data.records(each["@id"])) == each["data"]


def test_records_of_a_prepared_dataset_are_its_index(tmp_path):
    folder = write_corrupt(tmp_path / "datasets")
    file = tmp_path / "croissant-digits.json"
    file.write_text(croissant.texts(ROOT, tmp_path / "datasets")[file.name])
    read = pd.DataFrame(mlcroissant.Dataset(file).records("corrupt/test"))
    read.columns = [name.rpartition("/")[2] for name in read.columns]
    index = pd.read_parquet(folder / "test" / "index.parquet")
    assert set(read.columns) == set(index.columns) and len(read) == len(index) == 5
    for column in index.columns:
        values = [v.decode() if isinstance(v, bytes) else v for v in read[column]]
        np.testing.assert_array_equal(values, index[column])
