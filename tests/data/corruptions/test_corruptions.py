"""Corruptions: what each does to real photographs, and its building blocks."""

from __future__ import annotations

import colorsys
import inspect

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_sample_images

from wiseft.errors import WiseftError
from wiseft.study.data import corruptions
from wiseft.study.data.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    corrupt,
    generator,
)
from wiseft.study.data.corruptions.blurs import shuffled
from wiseft.study.data.corruptions.filters import (
    convolve,
    disk,
    magnify,
    plasma,
    smooth_field,
    streak,
)
from wiseft.study.data.corruptions.parameters import PARAMETERS, select
from wiseft.study.data.corruptions.weather import crystals

RANDOM = {
    *("gaussian-noise", "shot-noise", "impulse-noise", "glass-blur"),
    *("motion-blur", "snow", "frost", "fog", "elastic-transform"),
}

SEEDS = {"frost": 4}  # slower than the others

NOT_MONOTONE = {
    "glass-blur": "published: fewer shuffles at severity 2 and 4 than one below",
    "frost": "each overlay has a brightness of its own",
    "elastic-transform": "published: large affine shifts first, small wiggles later",
}


def photos(width: int, height: int | None = None) -> list[np.ndarray]:
    """scikit-learn's two photographs, cut to the ratio and shrunk."""
    height = height or width
    squares = []
    for photo in load_sample_images().images:
        tall = photo.shape[0]
        wide = min(photo.shape[1], tall * width // height)
        left = (photo.shape[1] - wide) // 2
        cut = Image.fromarray(photo[: wide * height // width, left : left + wide])
        squares.append(np.asarray(cut.resize((width, height), Image.Resampling.BICUBIC)))
    return squares


def run(image: np.ndarray, name: str, severity: int, seed: int = 0) -> np.ndarray:
    return corrupt(image, name, severity, generator(seed, "image", name, severity))


def distance(image: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(image.astype(float) - other.astype(float)).mean())


def grey(value: int, side: int = 128) -> np.ndarray:
    return np.full((side, side, 3), value, np.uint8)


def test_the_benchmark_has_fifteen_corruptions():
    assert set(CORRUPTIONS) == set(PARAMETERS) and len(CORRUPTIONS) == 15


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_table_has_five_rows_that_fit_its_function(name):
    arguments = inspect.signature(corruptions._FUNCTIONS[name]).parameters
    assert sorted(PARAMETERS[name]) == [32, 64, 224]
    for table in PARAMETERS[name].values():
        assert len(table) == len(SEVERITIES)
        assert {len(row) for row in table} == {len(arguments) - 3}


@pytest.mark.parametrize("shape", [(32, 32), (16, 16), (40, 90), (150, 131)])
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_severity_keeps_shape_is_deterministic_and_changes_the_image(name, shape):
    image = photos(shape[1], shape[0])[1]
    before = image.copy()
    for severity in SEVERITIES:
        changed = run(image, name, severity)
        assert changed.shape == image.shape and changed.dtype == np.uint8
        assert changed.flags.writeable and not np.shares_memory(changed, image)
        np.testing.assert_array_equal(image, before)
        np.testing.assert_array_equal(changed, run(image, name, severity))
        assert not np.array_equal(changed, image)
        # Short streaks have few directions, so one other seed may give the same.
        others = (run(image, name, severity, seed) for seed in (1, 2, 3))
        assert all(np.array_equal(changed, other) for other in others) == (name not in RANDOM)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_distance_from_the_photograph_grows_with_severity(name):
    distances = [
        np.mean(
            [
                distance(image, run(image, name, severity, seed))
                for image in photos(64)
                for seed in range(SEEDS.get(name, 8) if name in RANDOM else 1)
            ]
        )
        for severity in SEVERITIES
    ]
    if name not in NOT_MONOTONE:
        assert (np.diff(distances) > 0).all()
    elif name != "elastic-transform":
        assert distances[-1] > 1.2 * distances[0]


def test_parameters_are_the_published_ones_at_published_sides_and_lengths_scale_between():
    assert [select("defocus-blur", 5, side)[1] for side in (16, 28, 32, 64, 224)] == [1.0] * 5
    assert select("defocus-blur", 5, 32)[0] == (1.5, 0.1)
    assert select("defocus-blur", 5, 64)[0] == (3, 0.1)
    assert select("defocus-blur", 5, 224)[0] == (10, 0.5)
    assert select("defocus-blur", 5, 336) == ((10, 0.5), 1.5)
    assert select("defocus-blur", 5, 127)[0] == (3, 0.1)
    assert select("defocus-blur", 5, 128)[0] == (10, 0.5)
    assert select("elastic-transform", 1, 64)[0] == pytest.approx((0, 0, 5.12))


@pytest.mark.parametrize("name", ["defocus-blur", "zoom-blur", "motion-blur"])
def test_a_photograph_at_twice_the_size_looks_the_same(name):
    """Blurs the large photograph and shrinks it: as good as blurring the small one."""
    large = photos(448)[1]
    small = np.asarray(Image.fromarray(large).resize((224, 224), Image.Resampling.BOX))
    blurred = corrupt(large, name, 3, np.random.default_rng(0))
    shrunk = np.asarray(Image.fromarray(blurred).resize((224, 224), Image.Resampling.BOX))
    expected = corrupt(small, name, 3, np.random.default_rng(0))
    assert distance(shrunk, expected) < 0.2 * distance(small, expected)


def test_unknown_corruptions_severities_and_images_are_named():
    image, rng = grey(0), np.random.default_rng(0)
    with pytest.raises(WiseftError, match=r"unknown corruption 'rain'.*gaussian-noise, shot-noise"):
        corrupt(image, "rain", 1, rng)
    for severity in (0, 6, True):
        with pytest.raises(WiseftError, match="severity of a corruption is 1, 2, 3, 4 or 5, found"):
            corrupt(image, "fog", severity, rng)
    with pytest.raises(WiseftError, match=r"found float64 \(32, 32, 3\)"):
        corrupt(np.zeros((32, 32, 3)), "fog", 1, rng)
    with pytest.raises(WiseftError, match=r"found uint8 \(32, 32\)"):
        corrupt(np.zeros((32, 32), np.uint8), "fog", 1, rng)
    with pytest.raises(WiseftError, match=r"at least 16 pixels, found \(15, 40\)"):
        corrupt(np.zeros((15, 40, 3), np.uint8), "fog", 1, rng)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_black_and_white_images_are_no_trouble(name):
    for value in (0, 255):
        for severity in (1, 5):
            with np.errstate(all="raise", under="ignore"):
                assert run(grey(value, 40), name, severity).shape == (40, 40, 3)


def test_a_generator_belongs_to_seed_image_corruption_and_severity():
    keys = [(0, "a", "fog", 1), (1, "a", "fog", 1), (0, "b", "fog", 1), (0, "a", "fog", 2)]
    keys += [(0, "a", "snow", 1)]
    assert len({generator(*key).random() for key in keys}) == len(keys)
    assert generator(*keys[0]).random() == generator(*keys[0]).random()


# ------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize(("side", "std"), [(32, 0.06), (64, 0.08), (224, 0.12)])
def test_gaussian_noise_has_the_published_standard_deviation(side, std):
    noisy = run(grey(128, side), "gaussian-noise", 2).astype(float) / 255
    assert noisy.std() == pytest.approx(std, rel=0.05)
    assert noisy.mean() == pytest.approx(128 / 255, abs=0.01)


def test_shot_noise_has_the_variance_of_counted_photons():
    noisy = run(grey(51, 224), "shot-noise", 1) / 255
    assert noisy.mean() == pytest.approx(0.2, abs=0.002)
    assert noisy.var() == pytest.approx(0.2 / 60, rel=0.05)


def test_impulse_noise_replaces_the_published_share_by_black_and_white():
    noisy = run(grey(100, 224), "impulse-noise", 4)
    assert set(np.unique(noisy)) == {0, 100, 255}
    assert (noisy != 100).mean() == pytest.approx(0.17, abs=0.005)
    assert (noisy == 255).mean() == pytest.approx(0.085, abs=0.005)


# ------------------------------------------------------------------------------------------- blurs


@pytest.mark.parametrize("name", [name for name in CORRUPTIONS if name.endswith("-blur")])
def test_blurs_keep_the_brightness_and_lower_the_detail(name):
    for image in photos(128):
        blurred = run(image, name, 3).astype(float)
        assert blurred.mean() == pytest.approx(image.mean(), rel=0.07)
        assert np.abs(np.diff(blurred, axis=1)).mean() < np.abs(np.diff(image * 1.0, axis=1)).mean()


@pytest.mark.parametrize(("shape", "reach"), [((16, 16), 1), ((23, 19), 2), ((17, 40), 4)])
def test_a_shuffle_is_the_published_loop(shape, reach):
    height, width = shape
    inner = (height - 2 * reach, width - 2 * reach)
    rows, columns = np.random.default_rng(5).integers(-reach, reach, (2, *inner))
    image = np.arange(height * width).reshape(shape)
    expected = image.copy()
    for y in range(height - reach, reach, -1):
        for x in range(width - reach, reach, -1):
            at = (y - reach - 1, x - reach - 1)
            # NumPy's assignment of views: the right pixel is overwritten before it is read.
            expected[y, x] = expected[y + rows[at], x + columns[at]]
    result = image.ravel()[shuffled(shape, reach, np.random.default_rng(5))].reshape(shape)
    np.testing.assert_array_equal(result, expected)
    assert (result != image).mean() > 0.3


@pytest.mark.parametrize(("radius", "softness"), [(1.5, 0.1), (6, 0.5), (10, 0.5)])
def test_defocus_convolves_with_a_disk_of_the_radius(radius, softness):
    kernel = disk(radius, softness)
    assert kernel.sum() == pytest.approx(1, abs=0.02)
    assert (kernel > kernel.max() / 2).sum() == pytest.approx(np.pi * radius**2, rel=0.3)
    image = np.random.default_rng(0).random((30, 41, 3))
    expected = ndimage.convolve(image, kernel[..., None], mode="mirror")
    np.testing.assert_allclose(convolve(image, kernel), expected, atol=1e-12)


def test_a_streak_is_one_sided_and_points_along_its_angle():
    image = np.zeros((31, 31))
    image[15, 15] = 1
    right = streak(image, 5, 3, 0)  # looks to the right: light moves to the left
    assert right.sum() == pytest.approx(1) and right[15, 5:16].sum() == pytest.approx(1)
    assert (np.diff(right[15, 5:16]) > 0).all()
    down = streak(image, 5, 3, 90)
    np.testing.assert_allclose(down, right.T)
    steep = np.argwhere(streak(image, 5, 3, -45))
    assert (steep[:, 0] - 15 == 15 - steep[:, 1]).all()
    np.testing.assert_allclose(streak(np.full((20, 20, 3), 0.4), 9, 4, 33), 0.4)


def test_magnifying_keeps_the_centre_in_place():
    ramp = np.add.outer(np.arange(41.0), 100 * np.arange(61.0))
    np.testing.assert_array_equal(magnify(ramp, 1), ramp)
    twice = magnify(ramp, 2)
    assert twice[20, 30] == pytest.approx(ramp[20, 30], abs=51)
    np.testing.assert_allclose(np.diff(twice, axis=1), 50, rtol=0.05)


# ----------------------------------------------------------------------------------------- weather


def test_snow_whitens_and_falls_steeply():
    for image in photos(128):
        assert run(image, "snow", 4).mean() > image.mean() + 20
    flakes = run(grey(0, 224), "snow", 3)[..., 0].astype(float)
    assert np.abs(np.diff(flakes, axis=0)).mean() < np.abs(np.diff(flakes, axis=1)).mean()


@pytest.mark.parametrize(("shape", "magnification"), [((224, 224), 1), ((32, 48), 0.2)])
def test_ice_has_the_brightness_and_contrast_of_photographed_frost(shape, magnification):
    for seed in range(4):
        ice = crystals(shape, magnification, np.random.default_rng(seed))
        assert ice.shape == (*shape, 3) and ice.min() >= 0 and ice.max() <= 1
        assert 0.35 < ice.mean() < 0.85 and 0.04 < ice.mean(axis=2).std() < 0.2
        assert (ice[..., 2] >= ice[..., 0]).all()


def test_fog_is_cloudy_and_lowers_the_contrast():
    for image in photos(128):
        assert run(image, "fog", 4).std() < 0.8 * image.std()
        assert run(image, "fog", 4).max() <= image.max()


def test_plasma_spans_its_range_and_gets_rougher_with_less_decay():
    roughness = []
    for decay in (2.5, 1.7, 1.3):
        fields = [plasma((100, 70), decay, np.random.default_rng(seed)) for seed in range(5)]
        assert all(field.shape == (100, 70) and field.min() >= 0 for field in fields)
        steps = [np.abs(np.diff(field, axis=0)).mean() / field.std() for field in fields]
        roughness.append(np.mean(steps))
    assert (np.diff(roughness) > 0).all()
    whole = plasma((64, 64), 2, np.random.default_rng(1))
    assert whole.min() == 0 and whole.max() == 1


# ------------------------------------------------------------------- colour, geometry and encoding


def test_brightness_raises_the_value_and_keeps_hue_and_saturation():
    for image in photos(48):
        for severity in SEVERITIES:
            assert run(image, "brightness", severity).mean() > image.mean()
    image = np.random.default_rng(0).integers(0, 200, (16, 16, 3), dtype=np.uint8)
    image[0, 0] = 0
    brighter = run(image, "brightness", 2)
    for old, new in zip(image.reshape(-1, 3), brighter.reshape(-1, 3), strict=True):
        hue, saturation, value = colorsys.rgb_to_hsv(*(old / 255))
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.1))
        np.testing.assert_allclose(new, 255 * np.array(expected), atol=0.51)


def test_contrast_leaves_the_published_share():
    for image in photos(224):
        changed = run(image, "contrast", 2).astype(float)
        np.testing.assert_allclose(changed.std((0, 1)), 0.3 * image.std((0, 1)), rtol=0.02)
        np.testing.assert_allclose(changed.mean((0, 1)), image.mean((0, 1)), atol=0.5)


@pytest.mark.parametrize("sigma", [0.9, 5.0, 60.0])
def test_smoothing_by_cosines_is_the_filter_of_scipy(sigma):
    field = np.random.default_rng(0).uniform(-1, 1, (24, 37))
    expected = ndimage.gaussian_filter(field, sigma, mode="reflect", truncate=3)
    np.testing.assert_allclose(smooth_field(field, sigma), expected, atol=1e-12)


def test_elastic_transform_moves_pixels_by_about_the_published_lengths():
    ramp = np.add.outer(np.zeros(224), np.linspace(30, 220, 224))
    image = np.repeat(np.rint(ramp)[..., None], 3, axis=2).astype(np.uint8)
    for severity, largest in ((3, 20), (4, 20), (5, 25)):
        changed = run(image, "elastic-transform", severity)
        moved = (changed[60:-60, 60:-60].astype(float) - image[60:-60, 60:-60]) / (190 / 223)
        assert 0.5 < np.abs(moved).mean() < largest
        assert image.min() <= changed.min() and changed.max() <= image.max()


def test_pixelate_makes_blocks():
    for image in photos(128):
        blocks = run(image, "pixelate", 5).reshape(32, 4, 32, 4, 3)
        np.testing.assert_array_equal(blocks, np.broadcast_to(blocks[:, :1, :, :1], blocks.shape))
        assert distance(blocks.mean(axis=(1, 3)), image.reshape(32, 4, 32, 4, 3).mean((1, 3))) < 1


def test_jpeg_compression_has_more_block_edges_at_lower_quality():
    for image in photos(224):
        jumps = []
        for severity in (1, 5):
            steps = np.abs(np.diff(run(image, "jpeg-compression", severity).astype(float), axis=1))
            jumps.append(steps[:, 7::8].mean() / steps.mean())
        assert jumps[1] > jumps[0] > 1
