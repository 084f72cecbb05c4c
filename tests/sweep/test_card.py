"""The model card of a sweep: its metadata as the hub's own library reads them, and its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from tests.sweep.records import SUM, make_sweep
from typer.testing import CliRunner

from wiseft.cli import app, main
from wiseft.errors import WiseftError
from wiseft.tool.hub import write_card
from wiseft.tool.record import write_record


def test_metadata_are_read_by_the_hubs_library(tmp_path: Path):
    make_sweep(tmp_path / "birds")
    path = write_card(tmp_path / "birds", "mit", None)
    assert path == tmp_path / "birds" / "model" / "README.md"
    data = ModelCard.load(path, ignore_metadata_errors=False).data
    assert (data.license, data.library_name, data.model_name) == ("mit", "open_clip", "birds")
    assert data.pipeline_tag == "zero-shot-image-classification"
    assert (data.base_model, data["base_model_relation"]) == (["me/clip"], "merge")
    results = {result.dataset_name: result for result in data.eval_results}
    assert len(data.eval_results) == 2, (
        "accuracies on the images that chose are none of its results"
    )
    assert results.keys() == {"reference", "sketch|es"}, "only labelled sets have accuracies"
    for name, right, n in (("reference", 55, 60), ("sketch|es", 21, 30)):
        assert results[name].metric_value == pytest.approx(right / n, abs=1e-6)
        low, high = results[name].metric_args["ci_95"]
        assert low < right / n < high and results[name].metric_args["images"] == n
        assert (results[name].task_type, results[name].dataset_split) == (
            "image-classification",
            "test",
        )


def test_the_text_has_ends_recipe_and_accuracies_with_intervals(tmp_path: Path):
    make_sweep(tmp_path / "birds")
    text = write_card(tmp_path / "birds", None, None).read_text()
    assert "0.65 x zero-shot + 0.35 x fine-tuned" in text
    assert "| reference | test | 60 | 78.3 % [65.8, 87.9] | 91.7 % [81.6, 97.2] | 93.3 % [" in text
    assert "| sketch\\|es | test | 30 | 66.7 % [47.2, 82.7] | 70.0 % [50.6, 85.3] | 50.0 %" in text
    assert "| camera | test | 9 |  |  |  |" in text
    assert f"| zero-shot | zeroshot.pt: zeroshot.pt | {SUM} |" in text
    assert f"| fine-tuned | tuned: model.safetensors | {'cd' * 32} |" in text
    assert "held-out-1se 0.35, unlabelled 0.4" in text
    assert "Licence: none is named here" in text and "license:" not in text
    assert "/home/me" not in text, "a path of the author's machine"
    assert "\n\n\n" not in text
    table = text[text.index("| images") :].partition("\n\n")[0].splitlines()
    assert len(table) == 6 and {line.replace("\\|", "").count("|") for line in table} == {7}


def test_names_from_checkpoints_stay_words(tmp_path: Path):
    record = make_sweep(tmp_path / "birds")
    name = "a`<b>[c](d).pt"
    (tmp_path / "birds" / "model" / "wise.pt").rename(tmp_path / "birds" / "model" / name)
    sums = record.model.sha256 | {name: record.model.sha256["wise.pt"]}
    del sums["wise.pt"]
    model = record.model.model_copy(update={"file": f"model/{name}", "sha256": sums})
    changes = {"model": model, "commit": "<script>", "versions": {"`x`": "<i>"}}
    write_record(tmp_path / "birds", record.model_copy(update=changes))
    text = write_card(tmp_path / "birds", None, None).read_text()
    assert "<script>" not in text and "<i>" not in text and "<b>" not in text
    assert "[c](d)" not in text


def test_without_a_base_model_and_with_a_classifier(tmp_path: Path):
    make_sweep(tmp_path / "birds", head=False, base_model=None)
    path = write_card(tmp_path / "birds", None, None)
    data = ModelCard.load(path).data
    assert data.base_model is None and data.pipeline_tag == "image-classification"
    named = write_card(tmp_path / "birds", None, ["a/b", "c/d"], replace=True)
    assert ModelCard.load(named).data.base_model == ["a/b", "c/d"]


def test_a_card_that_somebody_edited_stays(tmp_path: Path):
    make_sweep(tmp_path / "birds")
    path = write_card(tmp_path / "birds", None, None)
    before = path.read_bytes()
    assert write_card(tmp_path / "birds", None, None).read_bytes() == before
    path.write_text("mine")
    with pytest.raises(WiseftError, match=r"is there and differs; .*--replace"):
        write_card(tmp_path / "birds", None, None)
    assert path.read_text() == "mine"


def test_the_command(tmp_path: Path, capsys):
    make_sweep(tmp_path / "birds")
    done = CliRunner().invoke(app, ["card", str(tmp_path / "birds")])
    assert done.exit_code == 0 and "name a licence in it" in done.output
    named = ["card", str(tmp_path / "birds"), "--license", "mit", "--replace"]
    done = CliRunner().invoke(app, named)
    assert done.exit_code == 0 and "name a licence" not in done.output
    with pytest.raises(SystemExit):
        main(["card", str(tmp_path)])
    assert "has no sweep.json; give a folder that `wiseft sweep` wrote" in capsys.readouterr().err
