"""Mask AP against pycocotools' whole way: run lengths, COCO files in memory, evaluate, accumulate, summarize."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Sequence

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.helpers.evaluate import NAMES, SHARED, Pair, evaluation_of, needs_photos, photos, random_pairs
from utils.classes import VOID
from utils.evaluation.console import split_lines
from utils.evaluation.files import evaluation_files
from utils.evaluation.report.tables import figures
from utils.masks import Mask
from utils.structures import Instances, Sample


def encoded(full: np.ndarray) -> dict:
    return coco_mask.encode(np.asfortranarray(full.astype(np.uint8)))


def entry(number: int, image: int, class_id: int, full: np.ndarray, **more: float) -> dict:
    shared = {"id": number, "image_id": image, "category_id": class_id + 1, "area": int(full.sum()), "iscrowd": 0}
    return shared | {"segmentation": encoded(full), "bbox": [0, 0, 1, 1]} | more


def coco_of(entries: list[dict], pairs: Sequence[Pair], num_classes: int) -> COCO:
    images = [{"id": i, "height": sample.size[0], "width": sample.size[1]} for i, (sample, _) in enumerate(pairs, 1)]
    coco = COCO()
    categories = [{"id": k + 1, "name": str(k)} for k in range(num_classes)]
    coco.dataset = {"images": images, "categories": categories, "annotations": entries}
    coco.createIndex()
    return coco


def pycocotools_says(pairs: Sequence[Pair], num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """AP, AP50, AP75, and AP of each class; -1 where there is none."""
    true, found = [], []
    for image, (sample, instances) in enumerate(pairs, 1):
        void = sample.gt_mask == VOID
        for mask, class_id in zip(sample.gt_instances.masks, sample.gt_instances.detections.class_ids.tolist()):
            true.append(entry(len(true) + 1, image, class_id, mask.to_full(sample.size)))
        for i, mask in enumerate(instances.masks):
            full = mask.to_full(sample.size)
            if (full & void).sum() <= (full & ~void).sum():
                class_id, score = int(instances.detections.class_ids[i]), float(instances.detections.scores[i])
                found.append(entry(len(found) + 1, image, class_id, full & ~void, score=score))
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(coco_of(true, pairs, num_classes), coco_of(found, pairs, num_classes), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    of_class = evaluation.eval["precision"][:, :, :, 0, 2]
    means = [of_class[:, :, k][of_class[:, :, k] > -1] for k in range(num_classes)]
    return evaluation.stats[:3], np.array([mean.mean() if len(mean) else -1 for mean in means])


def assert_equal(pairs: Sequence[Pair], names: Sequence[str]) -> None:
    ours = evaluation_of(pairs, names).average_precision
    means, classes = pycocotools_says(pairs, len(names))
    assert [ours.mean, ours.at_50, ours.at_75] == pytest.approx(means, abs=1e-12)
    np.testing.assert_allclose(np.nan_to_num(ours.labels[1:], nan=-1), classes, rtol=0, atol=1e-12)
    assert 0 < ours.mean < 1


def test_random_images_with_void_ties_and_empty_masks_give_the_ap_of_pycocotools() -> None:
    pairs = random_pairs(60)
    assert_equal(pairs, NAMES)
    found = evaluation_of(pairs, NAMES).average_precision
    assert np.isnan(found.labels[3])  # nowhere
    assert found.on_void > 0
    assert found.found + found.on_void == sum(len(instances) for _, instances in pairs)


@needs_photos
def test_photographs_with_instance_ids_give_the_ap_of_pycocotools() -> None:
    assert_equal(photos("coco"), (SHARED / "coco" / "class_names.txt").read_text().split("\n")[:20])


def test_a_hundred_objects_of_a_class_count_at_most() -> None:
    size = (40, 40)
    full = np.arange(1600).reshape(size)
    true = Instances.from_masks(size, [0] * 150, [Mask.from_array((full // 10) == k) for k in range(150)])
    target = np.where(full < 1500, np.uint8(1), np.uint8(0))
    sample = Sample("a", SHARED, np.zeros((*size, 3), np.uint8), target, true, has_instance_ids=True)
    scores = np.linspace(0, 1, 150)
    pair = sample, Instances.from_masks(size, [0] * 150, true.masks, scores, scores)
    assert_equal([pair], ["car"])
    assert evaluation_of([pair], ["car"]).average_precision.mean < 0.7


def test_objects_without_scores_are_said_not_to_be_ranked() -> None:
    """Files without scores give all objects the same. Then AP is that of an order that nobody chose."""
    pairs = random_pairs(20)
    assert evaluation_of(pairs, NAMES).average_precision.is_ranked
    assert "not ranked" not in "\n".join(split_lines(evaluation_of(pairs, NAMES)))
    alike = [
        (each, Instances.from_masks(one.size, one.detections.class_ids.tolist(), one.masks)) for each, one in pairs
    ]
    found = evaluation_of(alike, NAMES)
    assert not found.average_precision.is_ranked
    assert "    not ranked, since all found objects have the same score: their order decides" in split_lines(found)
    files = evaluation_files(found, {}, None)
    assert not json.loads(files["metrics.json"])["mask_average_precision"]["ranked_by_score"]
    assert files["per_class.tex"].startswith(rb"% in percent; needs \usepackage{booktabs}; AP is not ranked, since")
    (figure,) = (row for row in figures(found) if row.name == "Mask AP")
    assert figure.note.endswith("; not ranked by scores")
    reordered = evaluation_of([(sample, instances[::-1]) for sample, instances in alike], NAMES)
    assert reordered.average_precision.mean != found.average_precision.mean


def test_without_instance_ids_there_is_no_average_precision() -> None:
    sample, instances = random_pairs(1)[0]
    without = Sample(sample.image_id, sample.path, sample.image, sample.gt_mask, sample.gt_instances)
    assert evaluation_of([(without, instances)], NAMES).average_precision is None
