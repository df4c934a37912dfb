from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tests.helpers.report import NAMES, Scored, images
from utils.classes import VOID
from utils.distributed import Session
from utils.evaluation.report.pictures import ImagePanels, WorstImages
from utils.metrics.scores import score_image
from utils.structures import Instances, Sample


def kept_of(scored: Iterable[Scored], count: int, session: Session | None = None) -> list[ImagePanels]:
    worst_images = WorstImages(count)
    with ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(add, worst_images, *each) for each in scored]:
            done.result()
    assert len(worst_images._kept) <= count
    return worst_images.collect(session or Session())


def add(worst_images: WorstImages, sample: Sample, instances: Instances) -> None:
    worst_images.add(score_image(sample, instances, len(NAMES) + 1)[0], sample, instances)


def ranked(scored: Iterable[Scored]) -> list[str]:
    """Image ids, the lowest mean IoU first, ties by id."""
    scores = [score_image(*each, len(NAMES) + 1)[0] for each in scored]
    return [each.image_id for each in sorted(scores, key=lambda score: (score.mean_iou, score.image_id))]


def renamed(image_id: str, scored: Scored) -> Scored:
    sample, instances = scored
    return Sample(image_id, sample.path, sample.image, sample.gt_mask), instances


def test_the_worst_images_are_kept_in_whatever_order_they_come() -> None:
    scored = list(images(40))
    kept = kept_of(scored, 7)
    assert [pictures.image_id for pictures in kept] == ranked(scored)[:7]
    assert kept_of(reversed(scored), 7) == kept


def test_two_processes_keep_what_one_keeps() -> None:
    class Two(Session):
        """The first of two processes, of which the other one has collected already."""

        def gather(self, part: list) -> list:
            return [*part, *others]

    scored, others = list(images(30)), []
    worst_images = WorstImages(8)
    for each in scored[1::2]:
        add(worst_images, *each)
    others += worst_images._kept
    assert kept_of(scored[::2], 8, Two(0, 2)) == kept_of(scored, 8)


def test_ties_go_by_id_and_an_image_that_is_all_void_is_last() -> None:
    scored = next(images(1))
    sample, instances = scored
    void = Sample("0 void", sample.path, sample.image, np.full_like(sample.gt_mask, VOID)), instances
    kept = kept_of([renamed("c", scored), void, renamed("a", scored), renamed("b", scored)], 4)
    assert [pictures.image_id for pictures in kept] == ["a", "b", "c", "0 void"]
    assert [pictures.image_id for pictures in kept_of([void, renamed("c", scored)], 1)] == ["c"]


def test_no_pictures_if_none_are_wanted() -> None:
    assert kept_of(images(3), 0) == []
