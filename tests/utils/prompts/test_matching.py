"""Which image a row is for: exact ids, names without folders, numbers; never a guess between two images."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from utils.errors import UserError
from utils.prompts.matching import ImageMatch, match_images
from utils.prompts.readers import read_prompt_table
from utils.prompts.table import PromptSource, PromptTable


def list_of(folder: Path, keys: Sequence[str | int], key: str = "image_id") -> PromptTable:
    """A list of rows with these image ids, or with these file names."""
    import json

    row = {"image_id": "x", "category_id": 0, "bbox": [1, 2, 3, 4], "score": 0.5}
    path = folder / "list.json"
    path.write_text(json.dumps([row | {key: value} for value in keys]))
    return read_prompt_table(PromptSource(path))


def labels_of(folder: Path, keys: Sequence[str]) -> PromptTable:
    """A folder of YOLO labels, named as such."""
    for key in keys:
        path = folder / f"labels/{key}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 0.5 0.5 0.1 0.1\n")
    return read_prompt_table(PromptSource(folder / "labels"))


def images(table: PromptTable, match: ImageMatch, ids: Sequence[str]) -> dict[Any, str | None]:
    """Key -> image id."""
    return {key: ids[i] if i >= 0 else None for key, i in zip(table.image_keys, match.of_key.tolist())}


def test_exact_ids_come_first(tmp_path: Path) -> None:
    ids = ["a/7", "007", "b"]
    table = list_of(tmp_path, ["007", "a/7", "a/7", "c/7", "B"])
    match = match_images(table, ids)
    assert images(table, match, ids) == {"007": "007", "a/7": "a/7", "c/7": None, "B": None}
    assert not match.by_number


def test_numbers_and_names_of_files_join_where_only_one_image_can_be_meant(tmp_path: Path) -> None:
    ids = ["clip/000009", "clip/x", "other/000010"]
    table = list_of(tmp_path, [9, "x", "10", 11, "clip/12"])
    match = match_images(table, ids)
    assert images(table, match, ids) == {9: ids[0], "x": ids[1], "10": ids[2], 11: None, "clip/12": None}
    assert match.by_number


def test_rows_for_other_images_are_no_reason_to_join_by_number(tmp_path: Path) -> None:
    table = list_of(tmp_path, ["a", *range(100, 200)])
    assert not match_images(table, ["a", "b"]).by_number


def test_file_names_join_by_what_is_left_of_the_path(tmp_path: Path) -> None:
    ids = ["a/x", "y", "b/z"]
    table = list_of(tmp_path, ["x.jpg", "y.png", "b/z.jpg", "z2.jpg"], "file_name")
    assert images(table, match_images(table, ids), ids) == {"x": "a/x", "y": "y", "b/z": "b/z", "z2": None}


def test_label_folders_join_by_path_then_from_another_root_then_flattened(tmp_path: Path) -> None:
    ids = ["a/1", "b/1", "c/2", "3", "d/e/4"]
    table = labels_of(tmp_path, ["a/1", "b_1", "2", "train/3", "e_4", "x/b/9"])
    expected = {"a/1": "a/1", "b_1": "b/1", "2": "c/2", "train/3": "3", "e_4": "d/e/4", "x/b/9": None}
    assert images(table, match_images(table, ids), ids) == expected


def test_labels_are_those_of_the_images_for_which_ultralytics_looks_them_up(tmp_path: Path) -> None:
    for key in ("train/labels/1", "train/labels/a/2", "labels/images_/3", "labels/b_4"):
        (tmp_path / f"{key}.txt").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{key}.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    table, ids = read_prompt_table(PromptSource(tmp_path)), ["train/images/1", "train/images/a/2", "images/3", "b/4"]
    assert sorted(map(str, images(table, match_images(table, ids), ids).values())) == sorted(ids)
    (tmp_path / "labels" / "b_4.TXT").write_text("")
    with pytest.raises(UserError, match=r"both .*b_4\.TXT and .*b_4\.txt are labels of b_4; leave one of them here"):
        read_prompt_table(PromptSource(tmp_path))


@pytest.mark.parametrize(
    "make, keys, ids",
    [
        (list_of, [0], ["a/00000", "b/00000"]),
        (list_of, [9], ["9", "009"]),
        (list_of, [9, "09"], ["009"]),
        (labels_of, ["1"], ["a/1", "b/1"]),
        (labels_of, ["train/1", "val/1"], ["1"]),
        (labels_of, ["a_1"], ["a/1", "b/a_1"]),
        (labels_of, ["1"], ["1", "images/1"]),
        (labels_of, ["1"], ["a/images/1", "images/1"]),
    ],
)
def test_colliding_names_are_refused(
    make: Callable[..., PromptTable], keys: list[str], ids: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"its image, .* rows? like this\).*python -m yolo\.predict"):
        match_images(make(tmp_path, keys), ids)


@pytest.mark.parametrize(
    "make, keys, ids, kind",
    [
        (labels_of, ["a", "b"], ["a.jpg", "a.png", "b"], ()),
        (labels_of, ["train/x/a", "b"], ["x/a.jpg", "x/a.png", "b"], ()),
        (labels_of, ["a", "b"], ["images/a.jpg", "images/a.png", "images/b"], ()),
        (labels_of, ["a", "a.jpg"], ["a.jpg", "a.png"], ()),
        (list_of, ["a", "b"], ["a.jpg", "a.png", "b"], ()),
        (list_of, ["a.jpg", "b.jpg"], ["x/a.jpg", "x/a.png", "b"], ("file_name",)),
    ],
)
def test_a_name_that_images_share_but_for_their_suffix_is_refused(
    make: Callable[..., PromptTable], keys: list[str], ids: list[str], kind: tuple[str, ...], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"its image, .*a\", may be for .*a\.jpg or .*a\.png \(1 of 2 .*suffix alone"):
        match_images(make(tmp_path, keys, *kind), ids)


def test_a_name_with_suffix_is_that_of_its_image(tmp_path: Path) -> None:
    keys, ids = ["a.jpg", "a.png"], ["x/a"]
    table = labels_of(tmp_path, keys)
    for file in keys:
        match = match_images(table, ids, [Path("photos/x") / file])
        assert images(table, match, ids) == {"a.jpg": None, "a.png": None, file: "x/a"}
    ids = [*keys]
    table = labels_of(tmp_path, ["a"])  # an older label, of the time when there was one image of that name
    assert images(table, match_images(table, ids), ids) == {"a": None, **dict(zip(keys, ids))}


def test_file_names_join_however_their_accents_are_written(tmp_path: Path) -> None:
    one, two = (unicodedata.normalize(form, "süd/ä") for form in ("NFC", "NFD"))
    for table in (labels_of(tmp_path, [one]), list_of(tmp_path, [f"{one}.jpg"], "file_name")):
        assert images(table, match_images(table, [two, "b"]), [two, "b"]) == {one: two}


def test_a_name_without_folder_is_not_taken_for_the_image_that_has_none(tmp_path: Path) -> None:
    table = list_of(tmp_path, ["1.jpg"], "file_name")
    with pytest.raises(UserError, match=r'\[0\]: its image, "1", may be for 1 or clip/1'):
        match_images(table, ["1", "clip/1"])


def test_an_exact_path_is_not_joined_with_a_second_file(tmp_path: Path) -> None:
    table = labels_of(tmp_path, ["1", "other/1"])
    assert images(table, match_images(table, ["1"]), ["1"]) == {"1": "1", "other/1": None}


def test_uploads_of_label_studio_are_found_by_their_names_before(tmp_path: Path) -> None:
    keys, ids = ["1a2b3c4d-x", "0e0e0e0e-y-1", "ffffffff-z"], ["x", "y-1"]
    for table in (labels_of(tmp_path, keys), list_of(tmp_path, [f"{key}.jpg" for key in keys], "file_name")):
        assert sorted(map(str, images(table, match_images(table, ids), ids).values())) == ["None", "x", "y-1"]
        kept = [*ids, "ffffffff-z"]  # a run with such names is matched by them alone
        assert [*images(table, match_images(table, kept), kept).values()].count(None) == 2
    for twice in (["1a2b3c4d-x", "ffffffff-x"], ["1a2b3c4-x"], ["1a2b3c4d_x"]):
        with pytest.raises(UserError, match="none of its"):
            match_images(list_of(tmp_path, twice), ["x"])


def test_rows_that_all_are_for_other_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r'none of its 2 rows.*the first image here is "x", .*"a"$'):
        match_images(list_of(tmp_path, ["x", "y"]), ["b", "a"])
    name = f"IMG_0001_jpg.rf.{'0123456789abcdef' * 4}"
    with pytest.raises(UserError, match=f'the first image here is "{name}"'):
        match_images(list_of(tmp_path, [name]), ["a"])
    assert match_images(list_of(tmp_path, []), ["a"]).of_key.tolist() == []


def test_each_image_has_its_own_label_though_another_one_would_have_the_same(tmp_path: Path) -> None:
    for number, (keys, ids) in enumerate(
        [
            (["1", "images/1"], ["1", "images/1"]),  # as the exporter writes them
            (["1", "a/1"], ["images/1", "a/images/1"]),
            (["1", "a/1"], ["images/1", "images/a/1"]),
        ]
    ):
        table = labels_of(tmp_path / str(number), keys)
        assert images(table, match_images(table, ids), ids) == dict(zip(keys, ids))


def test_numbers_that_no_image_has_may_be_those_of_an_instances_file(tmp_path: Path) -> None:
    advice = "the number 100, .*; where the ids are those of an instances file, name a folder that holds both"
    with pytest.raises(UserError, match=advice):
        match_images(list_of(tmp_path, [100, 101]), ["a", "b"])
