"""Matching one to one, against all the ways that there are."""

from __future__ import annotations

import os
import subprocess
import sys
import unicodedata
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from utils.matching import PathIndex, keys_of_place, match_best_first, match_best_total, names_of_image, place_below


def test_no_other_matching_has_a_larger_total() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        scores = rng.random((int(rng.integers(0, 5)), 4))
        allowed = rng.random(scores.shape) < 0.6
        rows, columns = match_best_total(scores, allowed)
        gains = np.where(allowed, scores, 0)
        ways = [gains[range(len(scores)), way].sum() for way in permutations(range(4), len(scores))]
        np.testing.assert_allclose(scores[rows, columns].sum(), max(ways))
        assert allowed[rows, columns].all() and (np.diff(rows) > 0).all() and len(set(columns.tolist())) == len(columns)


def test_without_limits_all_rows_get_a_column() -> None:
    rows, columns = match_best_total(np.array([[0.0, 0, 0], [0, 0.5, 0]]))
    assert rows.tolist() == [0, 1] and columns.tolist()[1] == 1


def test_a_forbidden_pair_never_takes_the_place_of_an_allowed_one() -> None:
    scores, allowed = np.array([[0.9, 0.2], [0.3, 0.9]]), np.array([[False, True], [True, False]])
    assert [each.tolist() for each in match_best_total(scores, allowed)] == [[0, 1], [1, 0]]
    assert [each.tolist() for each in match_best_first(scores, allowed)] == [[0, 1], [1, 0]]


def test_the_best_pair_comes_first_though_another_choice_has_a_larger_total() -> None:
    scores = np.array([[1.0, 0.6], [0.6, 0.0]])
    allowed = scores > 0
    assert [each.tolist() for each in match_best_first(scores, allowed)] == [[0], [0]]
    assert [each.tolist() for each in match_best_total(scores, allowed)] == [[0, 1], [1, 0]]


def test_ties_go_to_the_lower_row_and_column() -> None:
    scores = np.full((3, 2), 0.5)
    assert [each.tolist() for each in match_best_first(scores, scores > 0)] == [[0, 1], [0, 1]]
    assert [each.tolist() for each in match_best_total(scores, scores > 0)] == [[0, 1], [0, 1]]


def test_nothing_matches_nothing() -> None:
    for match in (match_best_first, match_best_total):
        rows, columns = match(np.zeros((0, 3)), np.zeros((0, 3), bool))
        assert len(rows) == len(columns) == 0


def test_a_path_is_found_whichever_root_lies_higher_and_never_guessed() -> None:
    index = PathIndex((path, path) for path in ("a/1", "b/1", "b/2", "3", "day/c/4", "c/4"))
    found = {path: index.find(path, "") for path in ("a/1", "train/b/1", "2", "x/3", "c/4", "x/day/c/4", "x/1", "d/4")}
    assert found == {
        "a/1": "a/1",
        "train/b/1": "b/1",
        "2": "b/2",
        "x/3": "3",
        "c/4": "c/4",
        "x/day/c/4": "day/c/4",
        "x/1": "",
        "d/4": "",
    }
    assert index.find("1", "") is None and index.find("4", "") is None


def test_paths_are_found_however_their_accents_are_written() -> None:
    one, two = (unicodedata.normalize(form, "süd/ä") for form in ("NFC", "NFD"))
    for own, asked in ((one, two), (two, one)):
        index = PathIndex([(own, 1), ("x", 2)])
        assert [index.find(path, 0) for path in (asked, f"top/{asked}", asked.partition("/")[2], "a")] == [1, 1, 1, 0]
    both = PathIndex([(one, 1), (two, 2)])
    assert [both.find(path, 0) for path in (one, two, f"top/{two}")] == [1, 2, None]


def test_tools_that_keep_one_file_for_each_image_have_other_names_for_it() -> None:
    index = PathIndex((path, path) for path in ("a_b_1", "b_2", "train/3"))
    names = ("a/b/1", "a/b/2", "train/images/3", "images/train/3", "b/1")
    assert [index.find(name, "", names_of_image) for name in names] == ["a_b_1", "b_2", "train/3", "train/3", ""]


@pytest.mark.parametrize("seed", ["1", "2", "3", "4"])
def test_all_processes_of_a_run_find_the_same(seed: str) -> None:
    program = (
        "from utils.matching import PathIndex, names_of_image\n"
        'index = PathIndex((path, path) for path in ("images/1", "cam-01/1"))\n'
        'print(index.find("cam-01/images/1", "", names_of_image))'
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    found = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout == "images/1\n"


@pytest.mark.parametrize(
    "photo, image_id, place",
    [
        ("ds/val/images/d/a.jpg", "d/a", "val/images/"),
        ("ds/images/val/a.jpg", "a", "images/val/"),
        ("ds/val/d/a.jpg", "d/a", "val/"),
        ("ds/JPEGImages/d/a.jpg", "d/a", "JPEGImages/"),
        ("ds/val/a.jpg", "a.jpg", "val/"),
        ("ds/images/a.jpg", "a", "images/"),
        ("ds/a.jpg", "a", ""),
        ("other/val/a.jpg", "a", ""),
        ("a.jpg", "a", ""),
        ("ds/film.mp4", "film/000001", ""),
    ],
)
def test_photos_have_a_place_below_the_folder_of_labels(
    photo: str, image_id: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ds").mkdir()
    (tmp_path / "ds/instances.json").touch()
    monkeypatch.chdir(tmp_path)
    for folder in (Path("ds"), tmp_path / "ds", Path("ds/instances.json")):
        assert place_below(folder, [image_id], [Path(photo)]) == place
    assert place_below(Path("ds"), [], []) == ""


def test_images_of_several_sources_have_no_place_of_their_own(tmp_path: Path) -> None:
    """Each has one, and ids begin below it: labels of the first alone would leave the others without objects."""
    val, test = tmp_path / "val/images", tmp_path / "test/images"
    assert place_below(tmp_path, ["a", "b"], [val / "a.jpg", test / "b.jpg"]) == ""
    assert place_below(tmp_path, ["a", "d/b"], [val / "a.jpg", val / "d/b.png"]) == "val/images/"


@pytest.mark.parametrize(
    "place, keys, expected",
    [
        ("val/images/", ["val/a", "train/b", 7], {"val/a": "a"}),
        ("images/val/", ["val/d/a", "train/b"], {"val/d/a": "d/a"}),
        ("JPEGImages/val/", ["val/a", "a"], {"val/a": "a"}),
        ("images/val/", ["images/val/a", "images/train/a", "a"], {"images/val/a": "a"}),
        ("images/", ["images/a", "b"], {"images/a": "images/a", "b": "b"}),
        ("val/", ["a", "train/b"], {"a": "a", "train/b": "train/b"}),
        ("", ["a", "val/b"], {"a": "a", "val/b": "val/b"}),
    ],
)
def test_labels_lie_as_the_photos_do(place: str, keys: list[str | int], expected: dict[str, str]) -> None:
    assert keys_of_place(keys, place) == expected
