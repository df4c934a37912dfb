from __future__ import annotations

import numpy as np
import pytest

from utils.class_map import ClassMap
from utils.errors import UserError

VOC = ("bus", "car", "dog", "sofa")


def test_without_targets_nothing_changes() -> None:
    same = ClassMap.from_targets(VOC, {})
    assert same.changes_nothing and same.names == VOC
    np.testing.assert_array_equal(same.labels, np.arange(256))


def test_classes_are_merged_renamed_and_dropped_under_any_of_their_names() -> None:
    targets = {"car": "vehicle", "bus": "vehicle", "truck": "vehicle", "couch": "seat", "dog": None}
    found = ClassMap.from_targets(VOC, targets)
    assert (found.source, found.names) == ((*VOC, "truck"), ("vehicle", "seat"))
    assert found.ids.tolist() == [0, 0, -1, 1, 0]
    assert found.labels[:6].tolist() == [0, 1, 1, 0, 2, 5] and found.labels[255] == 255
    assert found.translate(["truck", "couch", "dog", "zebra"]) == ["vehicle", "seat"]


def test_a_class_may_join_one_that_stays() -> None:
    found = ClassMap.from_targets(VOC, {"truck": "car"})
    assert (found.names, found.ids.tolist()) == (VOC, [0, 1, 2, 3, 1])
    assert not found.changes_nothing


@pytest.mark.parametrize(
    "targets, message",
    [
        (
            {"truck": "vehicle"},
            '"truck" is none of the 4 classes, nor is "vehicle"; then its new name has to be a class',
        ),
        ({"cars": "vehicle"}, r'"cars" is none of the 4 classes, nor is "vehicle"; did you mean car\?'),
        ({"car": " "}, '"car": its new name is blank; null drops the class'),
        ({"sofa": "seat", "couch": "chair"}, '"sofa" and "couch" are the same class'),
        (dict.fromkeys(VOC), "drops every class"),
    ],
)
def test_what_cannot_be_meant_is_refused(targets: dict[str, str | None], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ClassMap.from_targets(VOC, targets)


def test_a_key_that_nobody_knows_is_refused_with_the_nearest() -> None:
    found = ClassMap.from_targets(VOC, {"truk": "car"})
    with pytest.raises(UserError, match='"truk" is no class of the dataset or the detector; did you mean truck'):
        found.check_known(("truck", "person"))
    ClassMap.from_targets(VOC, {"truck": "car"}).check_known(("truck", "person"))
