"""Checkpoints of training programs: all of what they hold is merged, or they are refused."""

import copy
import json
from argparse import Namespace

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file, save_file
from timm.utils import CheckpointSaver, ModelEmaV2

from wiseft.base.messages import shown
from wiseft.cli import main
from wiseft.errors import WiseftError
from wiseft.tool.api import merge_files


def merge(a, b, output, alpha="0.500", **more):
    said = []
    with shown(said.append):
        merge_files(a, b, alpha, output, **more)
    return " ".join(said)


def loaded(path):
    return torch.load(path, weights_only=True)


def mean(a, b):
    return {key: (a[key].float() + b[key].float()) / 2 for key in a}


def equal(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=1e-6, check_dtype=False)


@pytest.fixture
def nets():
    """Two trained models with BatchNorm, and what trained them."""

    def net(seed):
        torch.manual_seed(seed)
        model = torchvision.models.shufflenet_v2_x0_5(num_classes=3)
        model = torch.nn.Sequential(model.conv1, torch.nn.Flatten(), torch.nn.Linear(24, 3))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for _ in range(seed + 1):
            loss = model(torch.randn(4, 3, 2, 2)).sum()
            loss.backward()
            optimizer.step()
        return model, optimizer

    return net(1), net(2)


def imagenet(model, optimizer):
    """What the ImageNet example of PyTorch saves."""
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=30, gamma=0.1)
    return {
        "epoch": 1,
        "arch": "resnet18",
        "state_dict": model.state_dict(),
        "best_acc1": torch.tensor(75.2),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
    }


def test_the_layout_of_pytorchs_imagenet_example(nets, tmp_path):
    for name, net in zip("ab", nets, strict=True):
        torch.save(imagenet(*net), tmp_path / f"{name}.pt")
    said = merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    found = loaded(tmp_path / "c.pt")
    assert found.keys() == {"epoch", "arch", "state_dict"}
    one, other = (net[0].state_dict() for net in nets)
    expected = mean(one, other) | {"0.1.num_batches_tracked": torch.tensor(3)}  # that of b
    equal(found["state_dict"], expected)
    nets[0][0].load_state_dict(found["state_dict"])
    assert "not merged, and not in" in said
    assert all(key in said for key in ("best_acc1", "optimizer", "scheduler"))


def test_a_loss_beside_the_weights_is_no_weight(nets, tmp_path):
    """As PyTorch's tutorial on general checkpoints saves one, with the loss as a tensor."""
    for name, (model, optimizer) in zip("ab", nets, strict=True):
        content = {"model": model.state_dict(), "optimizer_state_dict": optimizer.state_dict()}
        torch.save(content | {"loss": torch.tensor(0.4)}, tmp_path / f"{name}.pt")
    merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    found = loaded(tmp_path / "c.pt")
    assert found.keys() == {"model"}
    one, other = (net[0].state_dict()["2.weight"] for net in nets)
    torch.testing.assert_close(found["model"]["2.weight"], (one + other) / 2)


@pytest.fixture
def timm_files(tmp_path):
    """Checkpoints of timm's own saver, with an average; and the models by file and key."""

    def save(name, seed, average=True):
        torch.manual_seed(seed)
        model = timm.create_model("test_vit", num_classes=3)
        ema = ModelEmaV2(copy.deepcopy(model)) if average else None
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.5)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.zeros(1, 3, 160, 160)).sum().backward()
        optimizer.step()
        saver = CheckpointSaver(
            model,
            optimizer,
            args=Namespace(model="test_vit", lr=1e-3),
            model_ema=ema,
            checkpoint_dir=str(tmp_path),
        )
        saver._save(str(tmp_path / f"{name}.pt"), epoch=3, metric=71.5)
        return model.state_dict(), ema and ema.module.state_dict()

    return save


def test_an_average_is_merged_too(timm_files, tmp_path):
    """It is what timm loads."""
    (a, a_ema), (b, b_ema) = timm_files("a", 1), timm_files("b", 2)
    said = merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    model = timm.create_model("test_vit", num_classes=3, checkpoint_path=str(tmp_path / "c.pt"))
    equal(model.state_dict(), mean(a_ema, b_ema))
    timm.models.load_checkpoint(model, str(tmp_path / "c.pt"), use_ema=False)
    equal(model.state_dict(), mean(a, b))
    assert "and those of state_dict_ema" in said


@pytest.mark.parametrize("chosen", ["state_dict", "state_dict_ema"])
@pytest.mark.parametrize("averaged", ["a", "b"])
def test_an_average_in_one_alone_must_be_named(timm_files, tmp_path, averaged, chosen):
    (a, a_ema), (b, b_ema) = (timm_files(x, n, x == averaged) for n, x in enumerate("ab"))
    paths = tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt"
    with pytest.raises(WiseftError, match=r"one alone holds state_dict_ema.*--weights"):
        merge(*paths)
    merge(*paths, weights=chosen)
    ends = (a, b) if chosen == "state_dict" else (a_ema or a, b_ema or b)
    model = timm.create_model("test_vit", num_classes=3, checkpoint_path=str(paths[2]))
    equal(model.state_dict(), mean(*ends))


def test_the_average_of_torchvisions_references(tmp_path):
    """Its names have a prefix and a counter of their own."""
    for name, seed in (("a", 1), ("b", 2)):
        torch.manual_seed(seed)
        model = torch.nn.Linear(2, 2)
        ema = torch.optim.swa_utils.AveragedModel(model)
        for _ in range(seed):
            ema.update_parameters(model)
        content = {"model": model.state_dict(), "model_ema": ema.state_dict(), "args": Namespace()}
        torch.save(content, tmp_path / f"{name}.pt")
    merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    found = torch.load(tmp_path / "c.pt", weights_only=False)["model_ema"]
    ema.load_state_dict(found)
    one, other = (torch.load(tmp_path / n, weights_only=False) for n in ("a.pt", "b.pt"))
    torch.testing.assert_close(
        found["module.weight"], mean(one["model_ema"], other["model_ema"])["module.weight"]
    )
    assert found["n_averaged"] == 2


WEIGHTS = {"w": torch.ones(2, 2), "b": torch.zeros(2)}
OTHERS = {"w": torch.full((2, 2), 3.0), "b": torch.ones(2)}
MEAN = {"w": torch.full((2, 2), 2.0), "b": torch.full((2,), 0.5)}


def wrapped(tmp_path, layout, **more):
    for name, weights in (("a", WEIGHTS), ("b", OTHERS)):
        torch.save(layout(weights), tmp_path / f"{name}.pt")
    merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt", **more)
    return loaded(tmp_path / "c.pt")


LAYOUTS = {
    "two-wrappers": (lambda w: {"model": w, "state_dict": WEIGHTS}, r"model, state_dict", "model"),
    "a-tensor-beside": (lambda w: {"model": w, "logit_scale": torch.ones(())}, r"\., model", None),
    "a-second-model": (lambda w: {"net": w, "queue": [torch.ones(9)]}, r"net, queue", "net"),
    "a-list": (lambda w: {"net": w, "others": [WEIGHTS]}, r"net, others\.0", "net"),
    "a-head": (lambda w: {"net": {"head": w, "body": WEIGHTS}}, r"net\.head, net\.body", None),
    "beside-the-top": (lambda w: {**w, "extra": {"x": torch.ones(2)}}, r"\., extra", "."),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_tensors_that_could_be_weights_are_refused_or_named(tmp_path, layout):
    make, keys, chosen = LAYOUTS[layout]
    with pytest.raises(WiseftError, match=rf"holds tensors under {keys}, .* --weights KEY"):
        wrapped(tmp_path, make)
    chosen = chosen or ("model" if layout == "a-tensor-beside" else "net.head")
    found = wrapped(tmp_path, make, weights=chosen)
    for key in chosen.strip(".").split(".") if chosen != "." else ():
        found = found[key]
    equal(found, MEAN)


def test_the_same_tensors_twice_are_merged_in_both_places(tmp_path):
    found = wrapped(
        tmp_path,
        lambda w: {"model": w, "state_dict": {k: v.detach() for k, v in w.items()}, "epoch": 1},
    )
    equal(found["model"], MEAN)
    equal(found["state_dict"], MEAN)


def test_a_mapping_of_any_name_is_the_weights_if_it_is_the_only_one(tmp_path):
    found = wrapped(tmp_path, lambda w: {"net": {"params": w, "name": "x"}, "epoch": 1})
    equal(found["net"].pop("params"), MEAN)
    assert found == {"net": {"name": "x"}, "epoch": 1}


def test_the_state_of_lightning_is_left_out_and_its_settings_stay(tmp_path):
    beside = {
        "epoch": 1,
        "global_step": 10,
        "pytorch-lightning_version": "2.5.0",
        "loops": {"fit_loop": {"state": {}, "x": torch.ones(3)}},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(2)}}}],
        "lr_schedulers": [{"last_epoch": 3}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "class_weights": torch.ones(3)},
    }
    found = wrapped(tmp_path, lambda w: {"state_dict": w} | beside)
    left = {"loops", "callbacks", "optimizer_states", "lr_schedulers"}
    assert found.keys() == {"state_dict", *beside} - left
    equal(found["state_dict"], MEAN)
    assert torch.equal(found["hyper_parameters"]["class_weights"], torch.ones(3))


def test_a_key_that_no_file_has_is_refused(tmp_path):
    with pytest.raises(WiseftError, match="has weights under ema"):
        wrapped(tmp_path, lambda w: {"model": w}, weights="ema")


def test_an_endless_nest_is_refused(tmp_path):
    nest = []
    nest.append(nest)
    torch.save({"model": WEIGHTS, "x": nest}, tmp_path / "a.pt")
    with pytest.raises(WiseftError, match="nests more than a checkpoint does"):
        merge(tmp_path / "a.pt", tmp_path / "a.pt", tmp_path / "c.pt")


def test_the_option_of_the_command(tmp_path):
    for name, weights in (("a", WEIGHTS), ("b", OTHERS)):
        torch.save({"student": weights, "teacher": WEIGHTS}, tmp_path / f"{name}.pt")
    paths = [str(tmp_path / f"{name}.pt") for name in "abc"]
    with pytest.raises(SystemExit, match="0"):
        main(["merge", *paths[:2], "-o", paths[2], "--weights", "student"])
    equal(loaded(paths[2])["student"], MEAN)


# ----------------------------------------------------------------------- what cannot be averaged


def refused(tmp_path, a, b, message):
    for name, content in (("a", a), ("b", b)):
        torch.save(content, tmp_path / f"{name}.pt")
    with pytest.raises(WiseftError, match=message):
        merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    assert not (tmp_path / "c.pt").exists()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.tensor([1, 2]), torch.tensor([1, 3])),
        (torch.tensor([True]), torch.tensor([False])),
        (torch.tensor([1j]), torch.tensor([2j])),
        (torch.tensor([1]), torch.tensor([1, 1])),
    ],
    ids=["integers", "flags", "complex", "shapes"],
)
def test_what_is_no_floating_point_number_must_be_equal(tmp_path, one, other):
    refused(tmp_path, WEIGHTS | {"x": one}, OTHERS | {"x": other}, "x differs between")
    torch.save(OTHERS | {"x": one}, tmp_path / "b.pt")
    merge(tmp_path / "a.pt", tmp_path / "b.pt", tmp_path / "c.pt")
    assert torch.equal(loaded(tmp_path / "c.pt")["x"], one)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_models_that_torch_quantised_are_refused(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(4, 4))
    model = torch.ao.quantization.quantize_dynamic(model, dtype=torch.qint8)
    refused(tmp_path, model.state_dict(), model.state_dict(), "is quantised .*dequantise it")


INT8, INT32 = (torch.ones(8, 8, dtype=dtype) for dtype in (torch.int8, torch.int32))
BYTES = torch.ones(32, 1, dtype=torch.uint8)
FP8 = WEIGHTS["w"].to(torch.float8_e4m3fn)
PACKED = {
    "bitsandbytes": {"l.weight": INT8, "l.SCB": torch.ones(8)},
    "bitsandbytes-4": {"l.weight": BYTES, "l.weight.absmax": WEIGHTS["b"]},
    "gptq": {"l.qweight": INT32, "l.scales": torch.ones(1, 8).half()},
    "fp8": {"l.weight": FP8},
    "fp8-scaled": {"l.weight": FP8, "l.weight_scale": WEIGHTS["b"]},
    "packed": {"l.weight_packed": INT32},
}


@pytest.mark.parametrize("kind", PACKED)
def test_quantised_weights_are_refused(tmp_path, kind):
    save_file(PACKED[kind], tmp_path / "a.safetensors")
    with pytest.raises(WiseftError, match=r"a\.safetensors is quantised \(l\.q?weight.*dequantise"):
        merge(tmp_path / "a.safetensors", tmp_path / "a.safetensors", tmp_path / "c.safetensors")


def test_a_configuration_that_says_quantised_is_refused(tmp_path):
    save_file(WEIGHTS, tmp_path / "model.safetensors")
    config = {"model_type": "llama", "quantization_config": {"quant_method": "awq", "bits": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(WiseftError, match=r"is quantised \(quantization_config\)"):
        merge(tmp_path, tmp_path, tmp_path / "c")


def test_an_index_that_is_not_that_of_the_files_is_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": WEIGHTS["w"]}, folder / "one.safetensors")
    save_file({"b": WEIGHTS["b"]}, folder / "two.safetensors")
    right = {"w": "one.safetensors", "b": "two.safetensors"}
    wrong = {
        "names no tensors": {},
        "the file lacks c of two": right | {"c": "two.safetensors"},
        "does not name b of two": {"w": "one.safetensors", "x": "two.safetensors"},
        "the file lacks b of one": {"w": "two.safetensors", "b": "one.safetensors"},
    }
    for message, weight_map in (wrong | {"": right}).items():
        index = json.dumps({"weight_map": weight_map})
        (folder / "model.safetensors.index.json").write_text(index)
        if message:
            with pytest.raises(WiseftError, match=message):
                merge(folder, folder, tmp_path / "c")
    merge(folder, folder, tmp_path / "c")
    equal(load_file(tmp_path / "c" / "one.safetensors"), {"w": WEIGHTS["w"]})


def test_weights_in_a_list_are_refused(tmp_path):
    for content in ({"model": [WEIGHTS]}, {"model": [WEIGHTS["w"]]}):
        refused(tmp_path, content, content, r"holds tensors under model")
