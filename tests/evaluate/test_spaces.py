"""Label spaces: the projection of logits and labels, and which heads fit which dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wiseft.errors import WiseftError
from wiseft.evaluate.spaces import Head, Projection, like_projection, own_projection
from wiseft.images.manifest import LabelMapping, Manifest

Members = Sequence[list[int]]
HEAD = Head(["a", "b", "c", "d"], "alphabet")


def manifest(
    name: str, classes: list[str], reference: str | None = None, members: Members = ()
) -> Manifest:
    return Manifest(
        path=Path(f"{name}/manifest.json"),
        dataset=name,
        layout="image-folder",
        class_names=classes,
        prompt_names=[[each] for each in classes],
        image_size=None,
        splits={},
        sources=[],
        root=None,
        sha256="",
        label_map=LabelMapping(reference, list(members)) if reference else None,
    )


PAIRS = manifest("pairs", ["ab", "cd"], "alphabet", [[0, 1], [2, 3]])


def naive(logits: torch.Tensor, members: list[list[int]]) -> torch.Tensor:
    rows = [
        [max((float(row[place]) for place in places), default=-np.inf) for places in members]
        for row in logits
    ]
    return torch.tensor(rows, dtype=logits.dtype).reshape(len(logits), len(members))


@st.composite
def label_maps(draw) -> tuple[int, list[list[int]]]:
    """Classes of the head, and disjoint members of two or more classes, some of them empty."""
    n_head = draw(st.integers(2, 30))
    owners = draw(st.lists(st.integers(-1, 6), min_size=n_head, max_size=n_head))
    members = [[place for place, owner in enumerate(owners) if owner == k] for k in range(7)]
    members = [draw(st.permutations(places)) for places in members]
    return n_head, members


@settings(deadline=None, max_examples=200)
@given(label_maps(), st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_projection_is_the_naive_loop(case, seed, n) -> None:
    n_head, members = case
    generator = torch.Generator().manual_seed(seed)
    # Few distinct values, so that members tie.
    logits = torch.randint(-3, 4, (n, n_head), generator=generator).float()
    if not any(members):
        with pytest.raises(WiseftError, match="no class has a member"):
            Projection(members, n_head, "map")
        return
    projection = Projection(members, n_head, "map")
    assert torch.equal(projection(logits), naive(logits, members))
    labels = torch.arange(n_head).numpy()
    owner = [next((k for k, m in enumerate(members) if c in m), -1) for c in range(n_head)]
    assert projection.map_labels(labels).tolist() == owner


def test_projection_works_in_the_deterministic_mode_of_the_stages() -> None:
    logits = torch.randn(5, 4)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        found = Projection([[0, 3], [], [2]], 4, "map")(logits)
    finally:
        torch.use_deterministic_algorithms(before)
    assert torch.equal(found, naive(logits, [[0, 3], [], [2]]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_projection_on_a_gpu_is_that_on_the_cpu() -> None:
    logits = torch.randn(64, 1000)
    members = [list(range(start, 1000, 31)) for start in range(30)]
    projection = Projection(members, 1000, "map")
    expected = projection(logits)
    for _ in range(5):
        assert torch.equal(projection(logits.cuda()).cpu(), expected)


def test_the_hash_of_a_projection_is_that_of_its_members() -> None:
    assert Projection([[0], [1]], 4, "a").sha256 == Projection([[0], [1]], 9, "b").sha256
    assert Projection([[0], [1]], 4, "a").sha256 != Projection([[1], [0]], 4, "a").sha256


@pytest.mark.parametrize("places", [[0, 4], [-1], [2, 2]])
def test_members_that_the_head_does_not_have(places) -> None:
    broken = manifest("pairs", ["ab", "cd"], "alphabet", [[1], places])
    with pytest.raises(WiseftError, match=r"pairs .*class 1 has the members .* lie in 0\.\.3"):
        own_projection(broken, HEAD)


def test_the_same_classes_are_seen_as_they_are() -> None:
    assert own_projection(manifest("other", ["a", "b", "c", "d"]), HEAD) is None
    # Two classes of one name, as ImageNet has them, are two classes.
    twice = Head(["a", "sunglasses", "sunglasses", "d"], "alphabet")
    assert own_projection(manifest("x", list(twice.class_names)), twice) is None


def test_a_head_of_the_datasets_own_classes_needs_no_map() -> None:
    assert own_projection(PAIRS, Head(["ab", "cd"], "pairs")) is None


@pytest.mark.parametrize("reference", ["alphabet", "alphabet-limit30"])
@pytest.mark.parametrize("mapped", ["alphabet", "alphabet-limit7"])
def test_a_preview_has_the_classes_of_the_whole(reference, mapped) -> None:
    dataset = manifest("pairs", ["ab", "cd"], mapped, [[0, 1], [2, 3]])
    found = own_projection(dataset, Head(HEAD.class_names, reference))
    assert found is not None
    assert found(torch.tensor([[1.0, 2.0, 4.0, 3.0]])).tolist() == [[2.0, 4.0]]


@pytest.mark.parametrize(
    ("dataset", "words"),
    [
        (manifest("pairs", ["ab", "cd"]), ["2 classes (ab, cd)", "4 classes", "`label_map`"]),
        (manifest("pairs", ["a", "b", "d", "c"]), ["the same order"]),
        (
            manifest("pairs", ["ab", "cd"], "digits", [[0], [1]]),
            ["label map to digits", "of alphabet", "evaluate a head of digits"],
        ),
    ],
)
def test_heads_that_do_not_fit(dataset, words) -> None:
    with pytest.raises(WiseftError) as caught:
        own_projection(dataset, HEAD)
    for word in words:
        assert word in str(caught.value)


def test_long_lists_of_classes_are_cut_in_messages() -> None:
    many = Head([f"class {index}" for index in range(1000)], "big")
    with pytest.raises(WiseftError, match=re.escape("1000 classes (class 0, class 1, ")) as caught:
        own_projection(PAIRS, many)
    assert len(str(caught.value)) < 400


def test_like_sees_the_reference_through_the_map() -> None:
    alphabet = manifest("alphabet", HEAD.class_names)
    some = manifest("some", ["d", "b", "nothing"], "alphabet", [[3], [1], []])
    found = like_projection("some-classes", "some", alphabet, {"some": some}, HEAD)
    assert found(torch.tensor([[1.0, 2.0, 4.0, 3.0]])).tolist() == [[3.0, 2.0, -np.inf]]
    assert found.map_labels(np.arange(4)).tolist() == [-1, 1, -1, 0]


@pytest.mark.parametrize(
    ("dataset", "likes", "message"),
    [
        (manifest("alphabet", HEAD.class_names), [], "may be like are none; give its manifest"),
        (PAIRS, [PAIRS], "pairs has 2 classes .* only a dataset of the head's classes"),
        (
            manifest("alphabet", HEAD.class_names),
            [manifest("pairs", ["ab", "cd"])],
            "whose label map is to nothing, but the head is of alphabet",
        ),
        (
            manifest("alphabet", HEAD.class_names),
            [manifest("pairs", ["ab", "cd"], "digits", [[0], [1]])],
            "whose label map is to digits, but the head is of alphabet",
        ),
    ],
)
def test_likes_that_do_not_fit(dataset, likes, message) -> None:
    with pytest.raises(WiseftError, match=message):
        like_projection("v", "pairs", dataset, {each.dataset: each for each in likes}, HEAD)


def test_a_class_of_two_classes_has_no_label() -> None:
    with pytest.raises(WiseftError, match="class 1 belongs to the classes 0 and 1"):
        Projection([[0, 1], [1, 2]], 4, "map of x").map_labels(np.arange(4))
