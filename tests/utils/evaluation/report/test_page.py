"""The page as text; `test_browser.py` opens it."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.evaluate import provenance
from tests.helpers.report import NAMES, images, write_report
from utils.distributed import Session
from utils.engine import RunSummary
from utils.errors import SampleError
from utils.evaluation.evaluator import Evaluator
from utils.evaluation.report.page import place_scores
from utils.evaluation.report.pictures import PanelBox, WorstImages
from utils.io.writers import Writers
from utils.label_maps import instances_of
from utils.metrics.attribution import Attribution

VOID_TAGS = {"meta", "link", "img", "path", "rect"}
HOSTILE = (
    '"quoted" & <b>bold</b>',
    "</script><script>alert(1)</script>",
    "$x_1$ 'n' {{ 7 * 7 }}",
    "名前 " + "lang" * 60,
)


class Outline(HTMLParser):
    """Tags, ids, what they point to, and all text of a page; fails where tags do not close."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.sources: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        given = dict(attributes)
        self.ids.update([given["id"]] if "id" in given else [])
        self.sources += [given[name] or "" for name in ("src", "href", "xlink:href") if name in given]
        if tag not in VOID_TAGS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID_TAGS:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        self.text += data


def outline(path: Path) -> Outline:
    return Outline(path.read_text("utf-8"))


def test_every_image_wanted_has_its_card_and_every_label_its_row(tmp_path: Path) -> None:
    page = outline(write_report(tmp_path, images(12), shown=5))
    assert (tmp_path / "report.html").read_text("utf-8").count('class="card"') == 5
    assert "The 5 images with the lowest mean IoU of 12." in re.sub(r"\s+", " ", page.text)
    assert all(name in page.text for name in ("background", *NAMES))
    assert len([name for name in page.ids if name.startswith("chart-")]) == 5
    assert page.tags["img"] == 3 * 5


def test_ids_are_unique_and_nothing_lies_outside(tmp_path: Path) -> None:
    path = write_report(tmp_path, images(6))
    page = outline(path)
    assert [name for name, count in page.ids.items() if count > 1] == []
    assert all(source.startswith(("data:", "#")) for source in page.sources)
    assert all(source[1:] in page.ids for source in page.sources if source.startswith("#"))
    urls = re.findall(r"url\(([^)]{0,40})", path.read_text("utf-8"))
    assert all(url.startswith("data:") or url.removeprefix("#") in page.ids for url in urls)


def test_the_same_images_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    one = write_report(tmp_path / "one", images(9)).read_bytes()
    assert write_report(tmp_path / "two", reversed(list(images(9)))).read_bytes() == one


def test_no_name_breaks_the_page(tmp_path: Path) -> None:
    failure = SampleError("<i>broken", Path("x.jpg"), 'cut "off" & lost')
    plain = outline(
        write_report(tmp_path / "plain", images(6, names=HOSTILE), tuple("abcd"), summary=RunSummary([failure]))
    )
    hostile = write_report(tmp_path, images(6, names=HOSTILE), HOSTILE, summary=RunSummary([failure]), title=HOSTILE[1])
    page = outline(hostile)
    assert page.tags == plain.tags
    assert all(name in page.text for name in HOSTILE)
    assert '<i>broken: cut "off" & lost' in page.text


def test_file_names_that_are_not_utf8_are_spelled_out(tmp_path: Path) -> None:
    sample, instances = next(images(1))
    object.__setattr__(sample, "image_id", b"caf\xe9".decode(errors="surrogateescape"))
    assert r"caf\udce9" in outline(write_report(tmp_path, [(sample, instances)])).text


@pytest.mark.parametrize("shown", [0, 3])
def test_images_in_which_nothing_is_and_nothing_was_found(tmp_path: Path, shown: int) -> None:
    def blank(index: int, value: int) -> tuple:
        sample, instances = next(images(1))
        object.__setattr__(sample, "image_id", str(index))
        object.__setattr__(sample, "gt_mask", np.full(sample.size, value, np.uint8))
        return sample, type(instances).from_masks(sample.size, [], [])

    page = outline(write_report(tmp_path, [blank(0, 0), blank(1, 255)], shown=shown))
    assert [name for name in page.ids if name.startswith("chart-")] == ["chart-bars"]
    assert ("Worst images first" in page.text) == (shown > 0)


def test_scores_of_near_boxes_hide_nothing_of_each_other() -> None:
    boxes = [PanelBox(0, 0.5, 10 + 2 * i, 50, 100, 80) for i in range(3)] + [PanelBox(0, 0.5, 200, 0, 50, 50)]
    above, below = (13, 47), (15, 126)  # of the first box, and of the second
    assert place_scores(boxes, 1) == [above, below, None, (203, 18)]


def test_the_attribution_of_a_run_is_a_section_beside_its_file(tmp_path: Path) -> None:
    sample, instances = next(images(1))
    truth = instances_of(sample.gt_mask, None)
    sample = replace(sample, gt_instances=truth, gt_box_instances=truth)
    with Writers(1) as writers:
        collectors = {"worst_images": WorstImages(1), "attribution": Attribution(len(NAMES))}
        evaluator = Evaluator(NAMES, tmp_path, writers, provenance(), **collectors)
        evaluator.write(sample, instances)
        lines = evaluator.finish(RunSummary(), Session()).lines
    page = outline(tmp_path / "report.html")
    assert page.ids["attribution"] == 1
    assert "#attribution" in page.sources
    missing = json.loads((tmp_path / "attribution.json").read_text())["missing"]
    assert f"Missing\n  {100 * missing:.1f}" in page.text
    (row,) = csv.DictReader((tmp_path / "per_image.csv").open())
    worst = max((name for name in row if name.startswith("lost_")), key=lambda name: float(row[name]))
    assert f"; {row['main_error']} cost {100 * float(row[worst]):.1f} %" in page.text
    assert lines[0].startswith(f"attribution: missing in Mean_IOU          {missing:7.4f}")
    assert f"report: {tmp_path / 'report.html'}" in lines


def test_without_a_collection_of_worst_images_there_is_no_report(tmp_path: Path) -> None:
    with Writers(1) as writers:
        evaluator = Evaluator(NAMES, tmp_path, writers, provenance())
        evaluator.write(*next(images(1)))
        lines = evaluator.finish(RunSummary(), Session()).lines
    assert not (tmp_path / "report.html").exists()
    assert not [line for line in lines if line.startswith("report:")]
