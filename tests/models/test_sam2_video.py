"""Tracking against the official SAM2VideoPredictor: the same weights, preprocessed frames and boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sam2.build_sam import build_sam2_video_predictor

from datasets.voc import VocDataset
from models.sam2_build import build_sam2, load_sam2
from models.sam2_prepare import simplify
from models.segmenter import Segmenter
from tests.helpers.track import (
    BOXES,
    CPU,
    DEMO_CONFIG,
    DEMO_WEIGHTS,
    Follower,
    agreement,
    coverage,
    moving,
    official,
    official_masks,
    official_state,
    random_model,
    visible,
)
from utils.errors import RunError

REPOSITORY = Path(__file__).parents[2]
OFFICIAL_TINY = "configs/sam2.1/sam2.1_hiera_t.yaml"
LATER = np.array([30, 10, 50, 40], np.float32)


def test_masks_of_the_demo_clip_equal_the_official_predictors(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = VocDataset(REPOSITORY / "datasets" / "demo", "val", with_gt_instances=True)
    clip = [i for i, image_id in enumerate(demo.ids) if image_id.startswith("val_clip_000/")]
    frames = [demo.load(i).image for i in clip]
    boxes = dict(enumerate(demo.load(clip[0]).gt_instances.detections.boxes, start=1))
    model = visible(load_sam2(DEMO_CONFIG, DEMO_WEIGHTS, CPU, 256, video=True))
    theirs = official_masks(official(model), frames, boxes, monkeypatch)
    simplify(model)
    ours = Follower(model, frames).follow(boxes, range(12))
    assert len(boxes) > 1
    assert coverage(theirs).min() > 0
    assert agreement(ours, theirs) >= 0.9999


@pytest.mark.slow
def test_masks_stay_the_official_ones_where_the_memory_is_a_sliding_window(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = random_model(), moving(44)
    theirs = official_masks(official(model), frames, BOXES, monkeypatch)
    assert agreement(Follower(model, frames).follow(BOXES, range(44)), theirs) >= 0.9999
    assert 0.05 < coverage(theirs).min() < coverage(theirs).max() < 0.6
    shorter = Follower(model, frames)
    shorter.propagator._window = 13
    assert agreement(shorter.follow(BOXES, range(44)), theirs) < 0.9999, "this model would not show what it lacks"


@pytest.mark.slow
def test_masks_of_the_official_architecture_equal_the_official_predictors(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = random_model(OFFICIAL_TINY, image_size=128), moving(4)
    config = str(Path(build_sam2_video_predictor.__code__.co_filename).parent / OFFICIAL_TINY)
    theirs = official_masks(official(model, config), frames, BOXES, monkeypatch)
    assert agreement(Follower(model, frames).follow(BOXES, range(4)), theirs) >= 0.9999
    assert 0 < coverage(theirs).min() < coverage(theirs).max() < 1


@pytest.mark.parametrize("non_overlap", [False, True])
def test_masks_do_not_depend_on_how_many_are_scaled_at_a_time(
    monkeypatch: pytest.MonkeyPatch, non_overlap: bool
) -> None:
    model, frames, boxes = random_model(), moving(2), BOXES | {7: LATER}
    together = Follower(model, frames, non_overlap=non_overlap).follow(boxes, range(2))
    monkeypatch.setattr("models.sam2_video.MAX_PIXELS", 1)
    assert agreement(Follower(model, frames, non_overlap=non_overlap).follow(boxes, range(2)), together) == 1


def test_masks_that_may_not_overlap_equal_the_official_predictors(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = random_model(), moving(4)
    theirs = official_masks(official(model, non_overlap_masks=True), frames, BOXES, monkeypatch)
    assert agreement(Follower(model, frames, non_overlap=True).follow(BOXES, range(4)), theirs) >= 0.9999
    assert agreement(Follower(model, frames).follow(BOXES, range(4)), theirs) < 0.99, "these would overlap"


def test_a_track_that_begins_takes_pixels_from_those_there_are() -> None:
    model, frames = random_model(), moving(3)
    shown = []
    for non_overlap in (False, True):
        follower = Follower(model, frames, non_overlap=non_overlap)
        follower.follow(BOXES, range(2))
        found = follower.masks(follower.step(2))
        shown.append(np.stack([*(found | follower.masks(follower.propagator.add_boxes({7: LATER}))).values()]))
    together, apart = shown
    assert together.sum(0).max() == 3
    assert apart.sum(0).max() == 1
    np.testing.assert_array_equal(apart.any(0), together.any(0))


def test_scores_are_the_iou_that_the_official_model_estimates(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = random_model(), moving(3)
    theirs, estimated = official(model), []
    heads = theirs._forward_sam_heads

    def listening(*args: object, **settings: object) -> tuple[torch.Tensor, ...]:
        found = heads(*args, **settings)
        estimated.append(float(found[2].max()))
        return found

    monkeypatch.setattr(theirs, "_forward_sam_heads", listening)
    state = official_state(theirs, frames, monkeypatch)
    for track_id, box in BOXES.items():
        theirs.add_new_points_or_box(state, 0, track_id, box=box)
    list(theirs.propagate_in_video(state))
    follower = Follower(model, frames)
    follower.step(0)
    found = [follower.propagator.add_boxes(BOXES), follower.step(1), follower.step(2)]
    ours = [score for tracked in found for _, score in tracked.values()]
    np.testing.assert_allclose(ours, estimated, atol=1e-5)
    assert len(set(estimated)) == 6


def test_tracks_that_begin_later_are_as_if_alone_in_the_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = random_model(), moving(10)
    first = official_masks(official(model), frames, BOXES, monkeypatch)
    later = official_masks(official(model), frames, {7: LATER}, monkeypatch, start=4)
    follower, ours = Follower(model, frames), {}
    for index in range(10):
        ours[index] = follower.masks(follower.step(index))
        if index in (0, 4):
            ours[index] |= follower.masks(follower.propagator.add_boxes(BOXES if index == 0 else {7: LATER}))
    assert agreement(ours, {i: found | later.get(i, {}) for i, found in first.items()}) >= 0.9999


def test_a_track_that_starts_anew_forgets_what_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = random_model(), moving(9)
    anew = official_masks(official(model), frames, {1: LATER}, monkeypatch, start=3)
    other = official_masks(official(model), frames, {2: BOXES[2]}, monkeypatch)
    follower, ours = Follower(model, frames), {}
    for index in range(9):
        ours[index] = follower.masks(follower.step(index))
        if index in (0, 3):
            ours[index] |= follower.masks(follower.propagator.add_boxes(BOXES if index == 0 else {1: LATER}))
    assert agreement({i: ours[i] for i in range(3, 9)}, {i: other[i] | anew[i] for i in range(3, 9)}) >= 0.9999


def test_tracks_with_equally_large_memories_attend_to_them_together(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames, passes = random_model(), moving(24), []
    attend = model.memory_attention.layers[0].forward
    monkeypatch.setattr(
        model.memory_attention.layers[0], "forward", lambda **given: passes.append(len(given["tgt"])) or attend(**given)
    )
    alone = Follower(model, frames).follow({7: LATER}, range(4, 24))
    passes.clear()
    follower, ours = Follower(model, frames), {}
    for index in range(24):
        ours[index] = follower.masks(follower.step(index))
        if index in (0, 4):
            follower.propagator.add_boxes(BOXES if index == 0 else {7: LATER})
    assert passes[:5] == [2, 2, 2, 2, 2]
    assert passes[5:7] == [1, 2] or passes[5:7] == [2, 1]
    assert passes[-3:] == [3, 3, 3]  # both memories are full
    late = {index: {7: ours[index][7]} for index in range(5, 24)}
    assert agreement(late, {index: alone[index] for index in range(5, 24)}) >= 0.9999


def test_masks_do_not_depend_on_how_many_tracks_memory_allows_at_once() -> None:
    model, frames, boxes = random_model(), moving(3), BOXES | {7: LATER}
    together = Follower(model, frames).follow(boxes, range(3))
    apart = Follower(model, frames)
    apart.propagator.chunk_bytes = 1
    assert agreement(apart.follow(boxes, range(3)), together) >= 0.9999


def test_as_many_tracks_are_followed_at_once_as_before_memory_was_out() -> None:
    propagator = Follower(random_model(), moving(1)).propagator
    before = propagator._at_once
    for _ in range(2):
        propagator.use_less_memory(1, "no room")
    assert propagator._at_once < before
    for _ in range(3):
        propagator.use_more_memory()
    assert propagator._at_once == before


@pytest.mark.parametrize("low", [False, True])
def test_values_projected_after_the_softmax_give_the_official_attention(low: bool) -> None:
    model = random_model(image_size=128)
    attention = model.memory_attention.layers[0].cross_attn_image
    rng = torch.Generator().manual_seed(0)
    frame = torch.randn(2, 64, 128, generator=rng)
    memory, places = (torch.randn(2, 3 * 64 + 8, 64, generator=rng) for _ in range(2))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=low):
        ours = attention(frame, memory + places, memory, num_k_exclude_rope=8)
        theirs = type(attention).forward(attention, frame, memory + places, memory, num_k_exclude_rope=8)
        exact = theirs if not low else None
    assert ours.dtype == theirs.dtype
    if exact is None:
        with torch.inference_mode():
            exact = type(attention).forward(attention, frame, memory + places, memory, num_k_exclude_rope=8)
        assert (ours - exact).abs().mean() <= 1.1 * (theirs - exact).abs().mean()
    else:
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_a_track_that_ends_leaves_the_others_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames = random_model(), moving(6)
    alone = official_masks(official(model), frames, {2: BOXES[2]}, monkeypatch)
    follower = Follower(model, frames)
    follower.follow(BOXES, range(3))
    follower.propagator.remove(1)
    assert agreement({i: follower.masks(follower.step(i)) for i in range(3, 6)}, dict(list(alone.items())[3:])) == 1
    follower.propagator.remove(2)
    assert follower.step(5) == {}


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_low_precision_gives_about_the_same_masks(precision: torch.dtype) -> None:
    model, frames = random_model(), moving(4)
    exact = Follower(model, frames).follow(BOXES, range(4))
    assert agreement(Follower(model, frames, precision=precision).follow(BOXES, range(4)), exact) > 0.95


def test_frames_that_cannot_be_used_leave_a_hole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, frames, usable = random_model(), moving(12), [0, 1, 2, 5, 6, 9, 10, 11]
    predictor = official(model)
    state = official_state(predictor, frames, monkeypatch)
    for track_id, box in BOXES.items():
        predictor.add_new_points_or_box(state, 0, track_id, box=box)
    theirs = {}
    for index in usable:
        ((_, track_ids, logits),) = predictor.propagate_in_video(state, index, max_frame_num_to_track=0)
        theirs[index] = dict(zip(track_ids, (logits[:, 0] > 0).numpy()))
    assert agreement(Follower(model, frames, at_once=1).follow(BOXES, usable), theirs) >= 0.9999


def test_a_clip_begins_without_the_memory_of_the_one_before() -> None:
    model, frames = random_model(), moving(4)
    once = Follower(model, frames).follow(BOXES, range(4))
    again = Follower(model, frames)
    again.follow({1: LATER, 5: BOXES[1]}, range(3))
    again.propagator.reset(again.size, len(frames))
    assert agreement(again.follow(BOXES, range(4)), once) == 1


def tensors(kept: object) -> list[torch.Tensor]:
    """All tensors in a nest of dicts, lists and tuples."""
    if isinstance(kept, torch.Tensor):
        return [kept]
    inner = kept.values() if isinstance(kept, dict) else kept if isinstance(kept, (list, tuple)) else ()
    return [tensor for each in inner for tensor in tensors(each)]


def entries(kept: object) -> int:
    """How many entries all dicts of a nest have."""
    return len(kept) + sum(map(entries, kept.values())) if isinstance(kept, dict) else 0


@pytest.mark.slow
def test_the_state_stays_as_large_as_it_is_after_some_frames() -> None:
    frames = moving(1, (32, 48))
    propagator = Follower(random_model(image_size=32), frames).propagator
    (backbone,) = propagator.encode(frames)
    sizes = []
    for index in range(200):
        propagator.step(index, backbone)
        if index % 20 == 0:  # one track is corrected, another one lives for some frames
            propagator.add_boxes({1000: BOXES[1], index + 1: BOXES[2]})
        elif index % 20 == 3:
            propagator.remove(index - 2)
        kept = {"frame": propagator._frame, "memories": propagator._memories}
        sizes.append((entries(kept), sum(tensor.nbytes for tensor in tensors(kept))))
    assert sizes[39] == sizes[119] == sizes[199]
    assert max(sizes) == max(sizes[:40])
    assert propagator.model.mask_scores == []


def test_a_video_model_gives_single_images_the_same_masks() -> None:
    plain, video = (build_sam2(DEMO_CONFIG, 128, video=video) for video in (False, True))
    video.load_state_dict(plain.state_dict())
    for model in (plain, video):
        simplify(model)
    frames, boxes = moving(2), [np.array([*BOXES.values()], np.float32)] * 2
    ours, theirs = (Segmenter(model, torch.float32, 2**30)(frames, boxes) for model in (video, plain))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        for x, y in zip(a.masks, b.masks, strict=True):
            np.testing.assert_array_equal(x.to_full(frames[0].shape[:2]), y.to_full(frames[0].shape[:2]))


def test_frames_that_are_encoded_already_have_the_masks_of_single_images() -> None:
    model, frames = random_model(), moving(1)
    boxes = np.array([*BOXES.values()], np.float32)
    segmenter, follower = Segmenter(model, torch.float32, 2**30), Follower(model, frames)
    (backbone,) = follower.propagator.encode(frames)
    pending = segmenter.launch_encoded(backbone, follower.size, boxes)
    (ours,), (theirs,) = segmenter.collect(pending), segmenter(frames, [boxes])
    np.testing.assert_array_equal(ours.scores, theirs.scores)
    for x, y in zip(ours.masks, theirs.masks, strict=True):
        np.testing.assert_array_equal(x.to_full(follower.size), y.to_full(follower.size))
    nothing = np.zeros((0, 4), np.float32)
    (answered,) = segmenter.collect(segmenter.launch_encoded(backbone, follower.size, nothing))
    assert (answered.masks, answered.scores.shape) == ([], (0,))


def test_models_are_built_as_the_official_build_builds_them() -> None:
    ours, theirs = build_sam2(OFFICIAL_TINY, video=True), build_sam2_video_predictor(OFFICIAL_TINY, device="cpu")
    assert repr(ours).replace("VideoModel", "SAM2VideoPredictor") == repr(theirs)
    assert not ours.training
    plain = (bool, int, float, str, type(None))
    settings = [{k: v for k, v in vars(model).items() if isinstance(v, plain)} for model in (ours, theirs)]
    assert settings[0] == settings[1] | {"fill_hole_area": 0}
    decoders = [vars(model.sam_mask_decoder) for model in (ours, theirs)]
    for name in ("via_stability", "stability_delta", "stability_thresh"):
        assert decoders[0][f"dynamic_multimask_{name}"] == decoders[1][f"dynamic_multimask_{name}"]


def test_output_that_is_not_finite_is_refused_instead_of_becoming_empty_masks() -> None:
    model = random_model()
    model.sam_mask_decoder.iou_prediction_head.layers[-1].bias.data[:] = torch.nan
    follower = Follower(model, moving(1))
    follower.step(0)
    with pytest.raises(RunError, match="not finite"):
        follower.propagator.add_boxes(BOXES)
