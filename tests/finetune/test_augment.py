import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms import functional as reference

from wiseft.errors import WiseftError
from wiseft.images.cache_writer import write_cache
from wiseft.images.decode import whole_image
from wiseft.images.index import read_index
from wiseft.images.index_folder import index_folder
from wiseft.images.store import open_manifest, open_split
from wiseft.study.config import FinetuneSettings
from wiseft.study.finetune.augment import RATIO, RECIPES, TrainingImages, augmented, draw_box
from wiseft.study.finetune.schedule import random_half, sample_generator
from wiseft.thetas.preprocessing import Transform

EVERYONE = np.arange(30)


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    random = np.random.default_rng(0)
    return Image.fromarray(random.integers(0, 256, (60, 90, 3)).astype(np.uint8))


def boxes(area, n=2000, width=120, height=80):
    random = np.random.default_rng(0)
    return np.array([draw_box(width, height, area, random) for _ in range(n)])


@pytest.mark.parametrize("area", [(0.9, 1.0), (0.08, 1.0)])
def test_boxes_lie_inside_and_have_the_area_and_the_shape_asked_for(area):
    left, top, right, bottom = boxes(area).T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 120
    assert bottom.max() <= 80
    shares = (right - left) * (bottom - top) / (120 * 80)
    shapes = (right - left) / (bottom - top)
    # Edges are rounded to whole pixels.
    assert shares.max() <= area[1] + 0.02
    assert shares.min() >= area[0] - 0.05
    assert shapes.min() > RATIO[0] - 0.06
    assert shapes.max() < RATIO[1] + 0.06


def test_of_a_photograph_of_three_to_two_the_papers_crop_is_the_middle():
    # 0.9 of the area does not fit in a shape of at most 4:3, so that nothing is left to chance.
    random = np.random.default_rng(0)
    assert {draw_box(300, 200, (0.9, 1.0), random) for _ in range(100)} == {(16, 0, 283, 200)}


def test_shares_of_the_area_are_uniform():
    left, top, right, bottom = boxes((0.2, 0.4)).T  # small enough that every draw fits
    shares = (right - left) * (bottom - top) / (120 * 80)
    assert np.quantile(shares, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.3, 0.35], abs=0.01)


def test_where_nothing_fits_the_box_is_the_largest_central_one():
    assert draw_box(40, 400, (0.9, 1.0), np.random.default_rng(0)) == (0, 173, 40, 226)
    for width, height in np.random.default_rng(0).integers(1, 700, (200, 2)).tolist():
        image, never = Image.new("1", (width, height)), (4.0, 4.0)
        top, left, h, w = RandomResizedCrop.get_params(image, list(never), list(RATIO))
        box = draw_box(width, height, never, np.random.default_rng(0))
        assert box == (left, top, left + w, top + h)


def test_a_crop_is_torchvisions_resized_crop_of_its_box(picture):
    key = {"seed": 3, "epoch": 1, "sample": 7}
    found = augmented(picture, "crop", 32, **key)
    left, top, right, bottom = draw_box(90, 60, (0.9, 1.0), sample_generator(3, 1, 7))
    size = [bottom - top, right - left]
    expected = reference.resized_crop(
        picture, top, left, *size, [32, 32], InterpolationMode.BICUBIC
    )
    assert np.array_equal(found, np.asarray(expected))
    assert found.dtype == np.uint8


@pytest.mark.parametrize("kind", RECIPES)
def test_what_is_done_follows_from_seed_epoch_and_sample(picture, kind):
    square = picture.crop((0, 0, 60, 60))

    def shown(image=square, seed=0, epoch=0, first=0):
        keys = [{"seed": seed, "epoch": epoch, "sample": first + i} for i in range(10)]
        return np.stack([augmented(image, kind, 24, **key) for key in keys])

    assert np.array_equal(shown(), shown())
    assert np.array_equal(shown(), shown(np.asarray(square)))
    for other in (shown(seed=1), shown(epoch=1), shown(first=10)):
        assert not np.array_equal(shown(), other)
    assert np.array_equal(shown(first=4)[0], shown()[4])


def test_the_strong_augmentation_flips_half_and_jitters_colours():
    ramp = np.repeat(np.linspace(60, 200, 64)[None, :], 64, axis=0)  # dark left, bright right
    image = np.stack([ramp, ramp * 0.6, ramp * 0.3], axis=-1).astype(np.uint8)
    shown = np.stack(
        [augmented(image, "strong", 16, seed=0, epoch=0, sample=i) for i in range(400)]
    ).astype(float)
    flipped = shown[:, :, 0, 0].mean(axis=1) > shown[:, :, -1, 0].mean(axis=1)
    assert 0.42 < flipped.mean() < 0.58
    plain = np.stack(
        [augmented(image, "inception", 16, seed=0, epoch=0, sample=i) for i in range(400)]
    ).astype(float)
    assert plain.mean(axis=(1, 2, 3)).std() < 0.7 * shown.mean(axis=(1, 2, 3)).std()

    def saturation(images):
        means = images.mean(axis=(1, 2))
        return (means[:, 0] - means[:, 2]) / means.mean(axis=1)

    assert saturation(plain).std() < 0.03
    assert saturation(shown).std() > 0.1


def of_arrays(manifest, augment, indices=EVERYONE, size=32, seed=0):
    settings = FinetuneSettings(augment=augment)
    return TrainingImages(
        open_manifest(manifest), "train", indices, settings, Transform(size=size), seed
    )


def test_without_augmentation_the_images_are_the_stored_ones(manifest):
    indices = np.array([4, 9, 17])
    samples = of_arrays(manifest, "none", indices)
    images = samples.read(5, np.array([2, 0]))
    expected = open_split(manifest, "train").read([17, 4])
    assert np.array_equal(images.permute(0, 2, 3, 1).numpy(), expected)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert samples.labels.tolist() == [4 % 3, 9 % 3, 17 % 3]
    assert len(samples) == 3


def test_polarity_inverts_the_drawn_half(manifest):
    stored = open_split(manifest, "train").read(EVERYONE)
    images = of_arrays(manifest, "polarity").read(1, EVERYONE).permute(0, 2, 3, 1).numpy()
    flips = random_half(30, 0, 1)
    assert np.array_equal(images[flips], 255 - stored[flips])
    assert np.array_equal(images[~flips], stored[~flips])


def test_flip_mirrors_the_drawn_half_left_to_right(manifest):
    stored = open_split(manifest, "train").read(EVERYONE)
    images = of_arrays(manifest, "flip").read(1, EVERYONE).permute(0, 2, 3, 1).numpy()
    half = random_half(30, 0, 1)
    assert 0 < half.sum() < 30
    assert np.array_equal(images[half], stored[half][:, :, ::-1])
    assert not np.array_equal(images[half], stored[half])
    assert np.array_equal(images[~half], stored[~half])


def test_stored_arrays_are_cropped_from_the_size_they_are_stored_at(manifest):
    stored = open_split(manifest, "train")
    shown = of_arrays(manifest, "crop", np.array([3, 8]), size=16, seed=2).read(4, np.array([1]))
    expected = augmented(stored.read([8])[0], "crop", 16, seed=2, epoch=4, sample=8)
    assert np.array_equal(shown[0].permute(1, 2, 0).numpy(), expected)


@pytest.fixture
def folder(tmp_path, colours):
    """A dataset of image files that are wider than high: red left of the centre crop."""
    images, labels = colours
    for index, label in enumerate(labels[:6]):
        wide = np.zeros((32, 96, 3), np.uint8)
        wide[:, :16, 0] = 255
        wide[:, 32:64] = images[index]
        place = tmp_path / "images" / "train" / f"class{label}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(wide).save(place / f"{index}.png")
    manifest = tmp_path / "prepared" / "manifest.json"
    return index_folder(tmp_path / "images", manifest, "files", ["train"])


def samples_of(folder):
    """The files of the dataset in the order of its index."""
    manifest = open_manifest(folder)
    return [manifest.root / path for path in read_index(manifest, "train")["path"]]


def test_files_are_cropped_from_the_whole_image_whatever_is_cached(folder):
    settings = FinetuneSettings(augment="inception")
    manifest = open_manifest(folder)
    samples = TrainingImages(manifest, "train", np.arange(6), settings, Transform(size=32), seed=0)
    before = torch.stack([samples.read(epoch, np.arange(6)) for epoch in range(20)])
    red = (before[:, :, 0] > 200) & (before[:, :, 1] < 50)
    assert red.any()  # the centre crop of the evaluation has none of it
    write_cache(folder, Transform(size=32), ["train"])
    again = TrainingImages(manifest, "train", np.arange(6), settings, Transform(size=32), seed=0)
    assert torch.equal(again.read(3, np.arange(6)), before[3])
    plain = TrainingImages(
        manifest, "train", np.arange(6), FinetuneSettings(), Transform(size=32), seed=0
    )
    centre = np.stack([np.asarray(Image.open(f))[:, 32:64] for f in samples_of(folder)])
    assert np.array_equal(plain.read(0, np.arange(6)).permute(0, 2, 3, 1).numpy(), centre)


def test_from_a_node_s_disk_crops_are_the_same(folder, tmp_path, monkeypatch):
    settings, manifest = FinetuneSettings(augment="crop"), open_manifest(folder)
    samples = TrainingImages(manifest, "train", np.arange(6), settings, Transform(size=32), seed=0)
    expected = samples.read(2, np.arange(6))
    monkeypatch.setenv("WISEFT_NODE", str(tmp_path / "node"))
    for _ in range(2):
        assert torch.equal(samples.read(2, np.arange(6)), expected)
    assert len(list((tmp_path / "node").rglob("*.png"))) == 6


def test_a_border_is_cropped_off_before_anything_else(tmp_path, picture):
    picture.save(tmp_path / "image.png")
    inner = np.asarray(picture)[2:-2, 2:-2]
    assert np.array_equal(np.asarray(whole_image(tmp_path / "image.png", 2)), inner)
    with pytest.raises(
        WiseftError, match=r"image\.png is not a readable image .90x60 pixels leave nothing"
    ):
        whole_image(tmp_path / "image.png", 30)


def test_missing_and_damaged_files_are_named(folder, tmp_path):
    settings = FinetuneSettings(augment="crop")
    samples = TrainingImages(
        open_manifest(folder), "train", np.arange(6), settings, Transform(size=32), seed=0
    )
    first = sorted((tmp_path / "images" / "train").rglob("*.png"))[0]
    first.write_bytes(b"no image")
    with pytest.raises(WiseftError, match=rf"{first.name} is not a readable image"):
        samples.read(0, np.arange(6))
    first.unlink()
    with pytest.raises(WiseftError, match=rf"{first.name} is in the index but not on disk"):
        samples.read(0, np.arange(6))


def test_crops_of_files_need_the_files_even_where_there_is_a_cache(folder, tmp_path):
    write_cache(folder, Transform(size=32), ["train"])
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    with pytest.raises(WiseftError, match="random crops are taken of the files themselves"):
        settings, transform = FinetuneSettings(augment="crop"), Transform(size=32)
        TrainingImages(open_manifest(folder), "train", np.arange(6), settings, transform, 0)
