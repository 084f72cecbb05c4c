"""Commands that README and docs print for a user of two checkpoints, run verbatim on files of the
names that they have there: tiny models under the names ViT-B-32 and ViT-B-32-quickgelu.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import open_clip
import pytest
import torch
import transformers
import typer
from safetensors.torch import save_file
from tests import tiny_models as tiny
from tests.sweep.conftest import CLASSES, clip_config, save_clip_folder, tuned, write_images
from tests.sweep.own import SCRIPT, N
from tools.rehearsal.checkpoints import weights_of

import wiseft
from wiseft.cli import main
from wiseft.tool.sweep import sweep

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{name}.md" for name in ("sweep", "models"))]
PAGES += ["docs/when-it-pays.md", "docs/combining.md", "docs/own-evaluation.md"]
COMMANDS = "sweep|score|merge|export|card|page|push|plan|doctor|combine|fisher|diversity"
OF_A_CLONE = ("plan", "doctor")
NOT_RUN = {
    "hf-hub:": "a download from the Hub; tests/weights/test_named.py runs such names",
    "ViT-B-32/laion2b_s34b_b79k": "a download; tests/weights/test_named.py runs such names",
    "wiseft push": "an upload; tests/sweep/test_push.py runs it against a server",
    "my-lora-folder": "an adapter; tests/combine/test_adapters.py merges such folders",
    "base/ adapter/": "an adapter; tests/combine/test_adapters.py scales such folders",
    "THETA": "in place of files; tests/combine and tests/workflow run these commands",
    "data/runs/RUN": "in place of a run; tests/diversity runs the command",
    "wise/zero-shot.ckpt": "of Lightning; tests/peers/test_lightning.py sweeps such files",
}
"""What a command holds that is parsed alone, and why."""


def blocks(page: str) -> list[list[str]]:
    """Return the indented blocks of a page that have such commands, without comments."""
    text = (ROOT / page).read_text()
    found = []
    for block in re.findall(r"(?:^    .*\n)+", text, re.MULTILINE):
        lines = [line.strip() for line in block.splitlines()]
        own = [line for line in lines if re.match(rf"wiseft ({COMMANDS}) ", line)]
        found += [own] if own else []
    spans = re.findall(rf"`(wiseft (?:{COMMANDS}) [^`]*? -o [^`]*)`", text)
    return found + [[" ".join(span.split())] for span in spans]


def words_of(command: str) -> list[str]:
    own = "--evaluate 'python my_eval.py {model}' --held-out val --reference test --shift other"
    return shlex.split(command.replace("--evaluate ...", own), comments=True)[1:]


DEEPER = tiny.VIT | {"layers": 2}
"""LiNeS scales by depth, so there must be some."""


def small() -> dict:
    return {
        "ViT-B-32": tiny.clip(DEEPER),
        "ViT-B-32-quickgelu": tiny.clip(DEEPER, quick_gelu=True),
    }


@pytest.fixture(autouse=True)
def names(monkeypatch):
    for name, architecture in small().items():
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, architecture)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """A folder with all that the pages name."""
    root = tmp_path_factory.mktemp("files")
    z = weights_of(tiny.clip(DEEPER), 1)
    f, more = (tuned(z, seed, only="visual.") for seed in (5, 6))
    for name, weights in {
        "zeroshot.pt": z,
        "finetuned.pt": f,
        "wise.pt": f,
        "Z": z,
        "F": f,
    }.items():
        torch.save(weights, root / name)
    for name, weights in {"F2": more, "F3": f, "A": z, "B": f}.items():
        torch.save(weights, root / name)
    own = {"epoch": 10, "name": "NAME", "optimizer": {"state": {}, "param_groups": []}}
    own["state_dict"] = {f"module.{key}": value for key, value in f.items()}
    (root / "logs/NAME/checkpoints").mkdir(parents=True)
    torch.save(own, root / "logs/NAME/checkpoints/epoch_10.pt")
    for name, seed in (("openai-clip-folder", 1), ("my-finetuned-folder", 2)):
        torch.manual_seed(seed)
        save_clip_folder(transformers.CLIPModel(clip_config()), root / name)
    kinds = ["photos", "sketches", "camera", "pets", "signs", "elsewhere", "my-photos"]
    for seed, name in enumerate(kinds):
        write_images(root / name, 4, seed, CLASSES)
    write_images(root / "imagenet-v2-folders", 2, 9, ["0", "1", "2", "3"])
    with pytest.MonkeyPatch.context() as patch:
        for name, architecture in small().items():
            patch.setitem(open_clip.factory._MODEL_CONFIGS, name, architecture)
        patch.chdir(root)
        theta = wiseft.load("Z", classes=CLASSES, architecture="ViT-B-32")
        for name in ("theta.safetensors", "THETA"):
            theta.save(name if "." in name else f"{name}.safetensors")
        Path("THETA.safetensors").rename("THETA")
        sweep("Z", "F", "photos", ["sketches"], "OUT", alphas=[0.5], architecture="ViT-B-32")
    for seed, name in enumerate(("base", "tuned", "other")):
        models_of_scores(root / name, seed)
    (root / "my_eval.py").write_text(SCRIPT.replace("argv[1]", "argv[1] + '/model.safetensors'"))
    for name in ("out", "out-1", "out-2"):
        shutil.copytree(root / "OUT", root / name)
    return root


def models_of_scores(folder: Path, seed: int) -> None:
    """Write a folder whose weights are its scores, with names that parts are chosen by."""
    torch.manual_seed(seed)
    weights = {name: torch.randn(n) + 0.5 for name, n in N.items()}
    weights |= {f"{name}.weight": torch.randn(3) for name in ("vision", "language_model")}
    folder.mkdir()
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text('{"architectures": ["Scores"]}')


def outputs(words: list[str]) -> list[str]:
    return [after for word, after in itertools.pairwise(words) if word == "-o"]


@pytest.mark.parametrize("page", PAGES)
def test_the_commands_of_a_page_run_as_printed(page, files, tmp_path, monkeypatch, capsys):
    # As in an activated environment, whose `python` runs the page's evaluation.
    there = Path(sys.executable).parent
    monkeypatch.setenv("PATH", f"{there}{os.pathsep}{os.environ['PATH']}")
    seen = 0
    for number, block in enumerate(blocks(page)):
        folder = shutil.copytree(files, tmp_path / str(number))
        monkeypatch.chdir(folder)
        for name in (each for command in block for each in outputs(words_of(command))):
            path = Path(name)
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for command in block:
            words = words_of(command)
            monkeypatch.chdir(ROOT if words[0] in OF_A_CLONE else folder)
            if any(part in command for part in NOT_RUN):
                parsed(words)
                seen += 1
                continue
            with pytest.raises(SystemExit) as end:
                main(words)
            printed = capsys.readouterr()
            assert end.value.code == 0, f"{page}: {command}\n{printed.err}"
            assert all(Path(name).exists() for name in outputs(words)), command
            seen += 1
    assert seen == sum(map(len, blocks(page)))


def parsed(words: list[str]) -> None:
    """Parse a command as the program does, and run nothing."""
    from wiseft.cli import app

    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="wiseft")
    group.get_command(context, words[0]).make_context(words[0], words[1:], parent=context)


def test_the_function_of_the_page_of_own_evaluations(files, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(files, tmp_path / "files"))
    shutil.rmtree("out")
    page = (ROOT / "docs/own-evaluation.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    names = {"wiseft": wiseft}
    exec(block, names)
    assert names["result"].record.evaluate.endswith("evaluate")


def test_what_is_not_run_stands_on_a_page():
    everything = "\n".join(c for page in PAGES for block in blocks(page) for c in block)
    assert all(part in everything for part in NOT_RUN)
    assert "wiseft sweep zeroshot.pt finetuned.pt --reference photos" in everything
