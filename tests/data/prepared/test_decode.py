"""The evaluation transform: the pixels of each library's own, whatever size and mode a file has."""

from __future__ import annotations

import contextlib
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision.datasets.folder import pil_loader
from torchvision.transforms import Compose

from wiseft.errors import WiseftError
from wiseft.foreign import processors as huggingface
from wiseft.images.decode import decode, fit, whole_image
from wiseft.models.classifier import ImageClassifier
from wiseft.models.towers import timm_models
from wiseft.thetas.preprocessing import (
    Preprocessing,
    Transform,
    parse_preprocessing,
    parse_transform,
)

SIZES = [
    (500, 375),
    (375, 500),
    (333, 500),
    (500, 334),
    (201, 1024),
    (1024, 203),
    (224, 224),
    (224, 225),
    (226, 227),
    (640, 427),
    (97, 61),
    (33, 31),
    (449, 301),
    (3, 2),
    (1, 300),
    (60, 2),
]
MODES = ["P", "L", "RGBA", "LA", "CMYK", "1", "I;16"]
CLIP = {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)}


def picture(width, height):
    """Smooth colours with noise, so that a shift of one pixel shows."""
    rng = np.random.default_rng(width * 2048 + height)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.int16)
    noise = rng.integers(-30, 31, smooth.shape)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("odd")
    paths = []
    for width, height in SIZES:
        paths.append(folder / f"{width}x{height}.{'jpg' if width % 2 else 'png'}")
        picture(width, height).save(paths[-1])
    for mode in MODES:
        paths.append(folder / f"{mode.replace(';', '')}.{'jpg' if mode == 'CMYK' else 'png'}")
        source = picture(333, 251)
        if mode in ("RGBA", "LA"):
            source.putalpha(source.convert("L").rotate(90, expand=False))
        if mode == "I;16":
            source = Image.fromarray(np.asarray(source.convert("L"), np.uint16) * 257)
        else:
            source = source.quantize(17) if mode == "P" else source.convert(mode)
        source.save(paths[-1])
        assert Image.open(paths[-1]).mode == mode
    transparent = picture(251, 333).quantize(5)
    paths.append(folder / "transparent.png")
    transparent.save(paths[-1], transparency=3)
    return paths


def loaded(path):
    """Return what the reference transform loads; of 16 bits, which it makes white, the picture."""
    if path.stem == "I16":
        return picture(333, 251).convert("L").convert("RGB")
    return pil_loader(path)


def assert_same_pixels(files, preprocessing, library):
    """`library` is a Compose that ends in the tensor and its normalisation."""
    head = ImageClassifier(nn.Identity(), nn.Linear(1, 1), preprocessing.model_dump())
    pixels = Compose(library.transforms[:-2])
    for path in files:
        image = loaded(path)
        ours = np.array(decode(path, preprocessing.transform))
        assert ours.shape == (preprocessing.size, preprocessing.size, 3)
        np.testing.assert_array_equal(ours, np.asarray(pixels(image)), str(path))
        batch = torch.from_numpy(ours).permute(2, 0, 1)[None]
        torch.testing.assert_close(head.pixels(batch)[0], library(image), rtol=0, atol=1e-6)


def test_normalising_in_place_changes_no_bit_and_no_image():
    mean, std = [0.48, 0.45, 0.4], [0.26, 0.27, 0.28]
    head = ImageClassifier(nn.Identity(), nn.Linear(1, 1), {"mean": mean, "std": std})
    images = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)
    for given in (images, images.to(torch.float32)):
        kept = given.clone()
        expected = (images.to(torch.float32) / 255.0 - head.mean) / head.std
        assert torch.equal(head.pixels(given), expected) and torch.equal(given, kept)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("size", [224, 155])
def test_pixels_are_those_of_open_clip(files, size, mode, interpolation):
    from open_clip import image_transform

    how = {"resize_mode": mode, "interpolation": interpolation}
    library = image_transform(size, is_train=False, **CLIP, **how)
    assert_same_pixels(files, Preprocessing(size=size, **CLIP, **how), library)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("vit_base_patch16_224.augreg_in21k", "224-of248"),
        ("resnet50.tv_in1k", "224-bilinear-of256"),
        ("tf_efficientnetv2_b3.in21k_ft_in1k", "240-squash-of266"),
        ("volo_d4_448.sail_in1k", "448-of389"),  # smaller than the crop: a black border
    ],
)
def test_pixels_are_those_of_timm(files, name, how):
    from timm.data import create_transform, resolve_data_config
    from timm.models import get_pretrained_cfg

    about = get_pretrained_cfg(name).to_dict()
    ours = parse_preprocessing(timm_models.preprocessing(about))
    assert ours.transform.name == how
    library = create_transform(**resolve_data_config({}, pretrained_cfg=about))
    assert_same_pixels(files, ours, library)


def test_pixels_are_those_of_align(files):
    """Of transformers' processor, with what the open replica was converted with."""
    transformers = pytest.importorskip("transformers")
    processor = transformers.EfficientNetImageProcessorPil(
        do_center_crop=True,
        rescale_factor=1 / 127.5,
        rescale_offset=True,
        do_normalize=False,
        include_top=False,
        resample=2,
    )
    ours = parse_preprocessing(huggingface.preprocessing(processor.to_dict()))
    assert ours.transform == parse_transform("289-squash-bilinear-of346")
    head = ImageClassifier(nn.Identity(), nn.Linear(1, 1), ours.model_dump())
    for path in files:
        pixels = np.array(decode(path, ours.transform))
        expected = processor(loaded(path), return_tensors="pt")["pixel_values"]
        as_uint8 = ((expected[0].permute(1, 2, 0) + 1) * 127.5).round().numpy()
        np.testing.assert_array_equal(pixels, as_uint8.astype(np.uint8), str(path))
        found = head.pixels(torch.from_numpy(pixels).permute(2, 0, 1)[None])
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


ODD = {"size": {"shortest_edge": 71}, "crop_size": {"height": 64, "width": 64}}


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("CLIPImageProcessor", {}),
        ("CLIPImageProcessor", ODD),
        ("CLIPImageProcessor", ODD | {"do_normalize": False}),
        ("CLIPImageProcessor", ODD | {"do_rescale": False}),
        ("CLIPImageProcessor", ODD | {"do_rescale": False, "do_normalize": False}),
        ("CLIPImageProcessor", ODD | {"rescale_factor": 1 / 127, "image_std": [0.1, 0.5, 1]}),
        ("CLIPImageProcessor", ODD | {"size": {"height": 71, "width": 71}, "resample": 2}),
        ("CLIPImageProcessor", ODD | {"size": {"height": 67, "width": 67}}),
        ("BitImageProcessor", {"size": 99, "crop_size": 64}),
        ("ViTImageProcessor", {}),
        ("ViTImageProcessor", {"size": 60}),
        ("SiglipImageProcessor", {"do_convert_rgb": False}),
        ("ConvNextImageProcessor", {}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 67}, "crop_pct": 0.9, "resample": 2}),
        ("DeiTImageProcessor", {}),
        ("BeitImageProcessor", {}),
        ("BeitImageProcessor", {"size": 79, "crop_size": 64, "do_center_crop": True}),
        ("PvtImageProcessor", {}),
        ("MobileNetV1ImageProcessor", {}),
        ("MobileNetV2ImageProcessor", {"size": {"shortest_edge": 71}, "crop_size": 64}),
        ("EfficientNetImageProcessor", {"include_top": False, "rescale_offset": True}),
        ("EfficientNetImageProcessor", {"include_top": False, "do_center_crop": True}),
    ],
)
def test_pixels_are_those_of_transformers(files, tmp_path, name, about):
    """Of its processor on Pillow, read from what is said alone and from the file that it saves."""
    transformers = pytest.importorskip("transformers")
    processor = getattr(transformers, f"{name}Pil")(**about)
    processor.save_pretrained(tmp_path)
    saved = huggingface.preprocessing_in({"preprocessor_config.json": next(tmp_path.iterdir())})
    said = {"image_processor_type": name} | about
    ours = parse_preprocessing(huggingface.preprocessing(said))
    assert parse_preprocessing(saved) == ours
    head = ImageClassifier(nn.Identity(), nn.Linear(1, 1), ours.model_dump())
    for path in files:
        image = Image.fromarray(np.asarray(loaded(path)))  # what is transparent it makes white
        if min(ours.transform.edge, *image.size) < 3:
            continue  # of a line, its processor takes one side for the channels
        pixels = torch.from_numpy(np.array(decode(path, ours.transform)))
        found = head.pixels(pixels.permute(2, 0, 1)[None])
        expected = processor(image, return_tensors="pt")["pixel_values"].float()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5, msg=str(path))


def test_a_border_is_that_of_transformers():
    """Of the class that it takes by itself; that on Pillow is a pixel off where the rest is odd."""
    transformers = pytest.importorskip("transformers")
    about = {"size": 37, "crop_size": 64, "do_normalize": False}
    processor = transformers.CLIPImageProcessor(**about, do_rescale=False)
    transform = parse_preprocessing(huggingface.preprocessing(about)).transform
    for edges in ((37, 37), (37, 64), (37, 93), (84, 37)):  # nothing is resized
        expected = processor(picture(*edges), return_tensors="pt")["pixel_values"][0]
        assert np.array_equal(fit(picture(*edges), transform), expected.permute(1, 2, 0).numpy())


def test_what_a_processor_leaves_out_is_as_transformers_has_it():
    transformers = pytest.importorskip("transformers")
    for name, own in huggingface._DEFAULTS.items():
        library = getattr(transformers, f"{name}Pil")().to_dict()
        known = huggingface._COMMON | own
        for key in known.keys() - {"size", "crop_size", "default_to_square"}:
            theirs = library.get(key)
            theirs = list(theirs) if isinstance(theirs, tuple) else theirs or False
            assert theirs == known[key], (name, key)
        for key in {"size", "crop_size"} & {key for key in known if known[key]}:
            theirs = {side: edge for side, edge in library[key].items() if edge}
            assert huggingface._edge(key, theirs, True) == huggingface._edge(
                key, known[key], known["default_to_square"] or key == "crop_size"
            )


def test_the_longest_side_leaves_at_least_a_line(tmp_path):
    """Where open_clip would resize to a width of 0 and fail."""
    Image.new("RGB", (1, 300), (9, 8, 7)).save(tmp_path / "line.png")
    pixels = decode(tmp_path / "line.png", Transform(size=75, resize_mode="longest"))
    assert (pixels[:, 37] == (9, 8, 7)).all()
    assert not np.delete(pixels, 37, axis=1).any()


def test_16_bits_are_scaled_in_every_format(tmp_path):
    grey = picture(64, 64).convert("L")
    deep = np.asarray(grey, np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "a.png")
    Image.fromarray(deep).save(tmp_path / "a.tif")
    (tmp_path / "a.pgm").write_bytes(b"P5 64 64 65535\n" + deep.astype(">u2").tobytes())
    for path in tmp_path.iterdir():
        assert np.array_equal(decode(path, Transform(size=64))[..., 0], np.asarray(grey)), path
    Image.fromarray(np.asarray(grey, np.float32)).save(tmp_path / "b.tif")
    with pytest.raises(WiseftError, match=r"b\.tif is not a readable image .32 bits a pixel"):
        decode(tmp_path / "b.tif", Transform(size=64))


def test_a_cameras_orientation_is_not_followed_as_by_the_reference(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it to the right
    picture(64, 64).save(tmp_path / "a.jpg", exif=exif)
    ours = decode(tmp_path / "a.jpg", Transform(size=64))
    assert np.array_equal(ours, np.asarray(pil_loader(tmp_path / "a.jpg")))


def test_a_jpeg_that_pillow_refuses_by_its_size_is_read(tmp_path):
    grey = np.repeat(np.linspace(0, 255, 20_000).astype(np.uint8)[None], 9_000, axis=0)
    Image.fromarray(grey).save(tmp_path / "large.jpg")
    ours = decode(tmp_path / "large.jpg", Transform(size=100, resize_mode="squash"))
    expected = np.linspace(0, 255, 20_000).reshape(100, 200).mean(axis=1)
    assert np.abs(ours[50, :, 0] - expected).max() < 3


# ----------------------------------------------------------------------------- how it is written


def test_what_is_clips_is_left_out():
    """So that headers and identities stay what they were where nothing is said."""
    plain = Preprocessing(size=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    said = {"resize_mode": "shortest", "interpolation": "bicubic", "resize_size": 32}
    dumped = {"size": 32, "mean": [0.5] * 3, "std": [0.25] * 3}
    assert plain.model_dump(mode="json") == dumped
    assert list(plain.model_dump(mode="json")) == list(dumped)
    assert Preprocessing(**dumped, **said).model_dump(mode="json") == dumped
    assert Preprocessing(**dumped, **said) == plain
    assert plain.given() == plain.model_dump()
    assert Preprocessing(**dumped, interpolation="bicubic").given().keys() > dumped.keys()


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("224", {}),
        ("224-squash", {"resize_mode": "squash"}),
        ("224-longest-bilinear", {"resize_mode": "longest", "interpolation": "bilinear"}),
        ("224-of248", {"resize_size": 248}),
        ("224-of248-floor", {"resize_size": 248, "crop": "floor"}),
        (
            "224-squash-bilinear-of256",
            {"resize_mode": "squash", "interpolation": "bilinear", "resize_size": 256},
        ),
    ],
)
def test_a_transform_has_a_name(name, keys):
    transform = Transform(size=224, **keys)
    assert transform.name == name
    assert parse_transform(name) == transform


@pytest.mark.parametrize("name", ["", "0", "224-crop", "224-bilinear-squash", "x224", "224-of0"])
def test_another_name_is_refused(name):
    with pytest.raises(WiseftError, match="must be a size in pixels, perhaps with"):
        parse_transform(name)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("resize_mode", "pad", r'key `resize_mode` is "pad", but must be one of .*squash'),
        ("interpolation", "lanczos", r'key `interpolation` is "lanczos", .* or .bilinear'),
        ("resize_size", 0, r"key `resize_size` is 0, but must be at least 1"),
        ("crop_pct", 0.9, r"unknown key `crop_pct`"),
    ],
)
def test_what_is_not_modelled_is_refused(key, value, message):
    with pytest.raises(WiseftError, match=message):
        parse_preprocessing({"size": 224, **CLIP, key: value})


def png_of(path, width, height):
    """Write a PNG whose header declares a size, with no more than its first row behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(3 * width + 1)))):
            file.write(struct.pack(">I", len(data)) + kind + data)
            file.write(struct.pack(">I", zlib.crc32(kind + data)))
    return path


def test_an_image_of_900_megapixels_is_refused(tmp_path):
    path = png_of(tmp_path / "large.png", 30_000, 30_000)
    with pytest.raises(
        WiseftError, match=r"large\.png is not a readable image \(Image size \(9000"
    ):
        decode(path, Transform(size=224))


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1)])
def test_a_long_thin_image_is_not_grown_beyond_memory(tmp_path, size):
    path = tmp_path / "thin.png"
    Image.new("RGB", size).save(path)
    with pytest.raises(WiseftError, match=r"thin\.png has .* and would be resized to .*22400000"):
        decode(path, Transform(size=224))
    for mode in ("squash", "longest"):
        assert decode(path, Transform(size=224, resize_mode=mode)).shape == (224, 224, 3)


def test_a_format_that_pillow_hands_to_another_program_is_not_opened(tmp_path, monkeypatch):
    """By its content this is PostScript, which Ghostscript would run."""
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path / 'ran'}\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)
    path = tmp_path / "x.jpg"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n%%EOF\n")
    with contextlib.suppress(OSError), Image.open(path) as opened:
        opened.load()
    assert (tmp_path / "ran").exists()  # it works where any format is opened
    (tmp_path / "ran").unlink()
    with pytest.raises(WiseftError, match=r"x\.jpg is not a readable image"):
        decode(path, Transform(size=224))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_image_is_said_and_a_camera_s_two_pictures_are_one(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no image")
    with pytest.raises(WiseftError, match=r"no\.png is not a readable image .cannot identify"):
        whole_image(tmp_path / "no.png")
    pictures = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue")]
    pictures[0].save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=pictures[1:])
    assert whole_image(tmp_path / "two.jpg").getpixel((5, 5))[0] > 200
