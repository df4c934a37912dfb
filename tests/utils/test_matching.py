"""Matching one to one, against all the ways that there are."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from utils.matching import match_best_first, match_best_total


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
