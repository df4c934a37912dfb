"""J, F and id switches against TrackEval, the evaluation code of the tracking benchmarks, on its own pair of maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import trackeval
from pycocotools import mask as coco_mask

from tests.helpers.clips import clip_of, demo_clip, random_clip, score
from tests.helpers.evaluate import SHARED, Pair, needs_photos
from utils.classes import VOID
from utils.label_maps import instances_of
from utils.masks import Mask
from utils.structures import Instances

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation")  # of pycocotools, which TrackEval calls

Maps = list[tuple[dict[int, np.ndarray], dict[int, np.ndarray]]]
"""Of each frame the masks of true objects and of tracks, by their numbers."""


def maps_of(pairs: Sequence[Pair]) -> Maps:
    """What a benchmark would be handed: maps in which no mask overlaps another, void cut out."""
    maps = []
    for sample, found in pairs:
        counted, picture = sample.gt_mask != VOID, np.zeros(sample.size, np.int64)
        for i in sorted(range(len(found)), key=lambda i: (found.mask_scores[i], -i)):
            picture[found.masks[i].to_full(sample.size)] = found.track_ids[i]
        picture[~counted] = 0
        true = {
            n: mask.to_full(sample.size)
            for n, mask in zip(sample.gt_instances.track_ids.tolist(), sample.gt_instances.masks)
        }
        maps.append((true, {n: picture == n for n in np.unique(picture).tolist() if n}))
    return maps


def encoded(masks: Sequence[np.ndarray]) -> list[Any]:
    return [coco_mask.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]


def trackeval_sequence(maps: Maps) -> dict[str, Any]:
    """What TrackEval's metrics take; its ids count from 0."""
    sequence: dict[str, Any] = {"num_timesteps": len(maps), "similarity_scores": []}
    for side, kind in enumerate(("gt", "tracker")):
        ids = sorted({number for pair in maps for number in pair[side]})
        shown = [[ids.index(number) for number in pair[side]] for pair in maps]
        sequence |= {
            f"num_{kind}_ids": len(ids),
            f"num_{kind}_dets": sum(map(len, shown)),
            f"{kind}_ids": [np.array(each, int) for each in shown],
            f"{kind}_dets": [encoded([*pair[side].values()]) for pair in maps],
        }
    for true, found in zip(sequence["gt_dets"], sequence["tracker_dets"]):
        overlaps = coco_mask.iou(found, true, [0] * len(true)) if true and found else np.zeros((len(found), len(true)))
        sequence["similarity_scores"].append(np.transpose(overlaps))
    return sequence


def assert_as_trackeval(pairs: Sequence[Pair]) -> None:
    clip, maps = score(pairs), maps_of(pairs)
    clear = trackeval.metrics.CLEAR({"PRINT_CONFIG": False}).eval_sequence(trackeval_sequence(maps))
    assert clip.id_switches == clear["IDSW"]
    measure = trackeval.metrics.JAndF()
    measure.optim_type = "J&F"
    expected = measure.eval_sequence(trackeval_sequence(maps))
    assert len(clip.objects) == expected["num_gt_tracks"]
    assert [*clip.measures.values()] == pytest.approx([expected[name] for name in ("J&F", "J-Mean", "F-Mean")])


@pytest.mark.parametrize("seed", range(24))
def test_random_clips_are_measured_as_trackeval_does(seed: int) -> None:
    assert_as_trackeval(random_clip(seed))


def test_the_demo_s_clip_is_measured_as_trackeval_does() -> None:
    assert_as_trackeval(demo_clip())


@needs_photos
def test_without_instance_ids_a_class_stands_for_one_object() -> None:
    """DAVIS-2016: TrackEval is told that class ids are the numbers of objects and tracks."""
    pairs = clip_of(SHARED / "davis", "cows", 3)
    clip = score(pairs)
    assert clip.id_switches is None and {each.number for each in clip.objects} == {None}
    numbered = [
        (
            replace(sample, gt_instances=instances_of(sample.gt_mask, sample.gt_mask)),
            replace(found, track_ids=found.detections.class_ids + 1),
        )
        for sample, found in pairs
    ]
    expected = trackeval.metrics.JAndF().eval_sequence(trackeval_sequence(maps_of(numbered)))
    assert [*clip.measures.values()][1:] == pytest.approx([expected["J-Mean"], expected["F-Mean"]])


def test_a_flawless_clip_scores_1_beside_void_too() -> None:
    for seed in (0, 1):
        clip = score([(sample, sample.gt_instances) for sample, _ in random_clip(seed)])
        assert clip.measures == {"J_and_F": 1, "J": 1, "F": 1}
        assert (clip.id_switches, clip.false_tracks) == (0, 0)
        assert [each.track for each in clip.objects] == [each.number for each in clip.objects]


def test_the_order_of_the_frames_changes_no_bit() -> None:
    pairs = random_clip(3)
    assert score(pairs) == score(pairs[::-1])


def test_frames_without_instance_ids_are_left_out_where_others_have_them() -> None:
    pairs = random_clip(4)
    some = [(replace(sample, gt_instances=None) if i % 2 else sample, found) for i, (sample, found) in enumerate(pairs)]
    assert score(some) == replace(score(pairs[::2]), left_out=len(pairs) // 2)


def test_without_track_ids_nothing_joins_the_frames() -> None:
    """Each found object is a track of its own, so an object has one in a single frame, and switches in all others."""
    pairs = [(sample, replace(sample.gt_instances, track_ids=None)) for sample, _ in random_clip(7)]
    clip = score(pairs)
    found = sum(len(instances) for _, instances in pairs)
    assert (clip.without_track_id, clip.tracks, clip.false_tracks) == (found, found, found - len(clip.objects))
    assert clip.id_switches == found - len(clip.objects)
    assert {each.track for each in clip.objects} == {None}


def test_a_track_that_never_overlaps_its_object_is_a_false_track() -> None:
    sample, _ = demo_clip()[0]
    missed = score([(sample, sample.gt_instances[:0])])
    assert missed.measures == {"J_and_F": 0, "J": 0, "F": 0}
    assert (missed.tracks, missed.false_tracks) == (0, 0)
    assert {each.track for each in missed.objects} == {None}
    outside = Instances.from_masks(sample.size, [0], [Mask.from_array(sample.gt_mask == 0)], track_ids=[5])
    clip = score([(sample, outside)])
    assert (clip.measures["J"], clip.tracks, clip.false_tracks) == (0, 1, 1)


def test_a_clip_without_objects_has_no_measures() -> None:
    sample, found = demo_clip()[0]
    bare = replace(sample, gt_mask=np.zeros_like(sample.gt_mask), gt_instances=sample.gt_instances[:0])
    clip = score([(bare, found)])
    assert np.isnan([*clip.measures.values()]).all()
    assert (clip.objects, clip.id_switches, clip.false_tracks) == ((), 0, len(found))
