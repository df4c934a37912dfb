"""Folders that the version before the manifests has annotated: what is done stays done, what is edited stays edited.

The fixture holds two clips, weights, and what that version wrote of them in every format. Files of the same settings
must have the same records and stamps as then, or earlier versions would take ours for outdated or edited, and we
theirs. Raise `VERSION` and lay the fixture anew where that is meant.
"""

from __future__ import annotations

import base64
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.project import FORMATS, tree
from utils.annotations.plan import AnnotationPlan, plan_annotations
from utils.cli.options import Options
from utils.config import ArchConfig, AutoMaskConfig, Config, DatasetConfig
from utils.distributed import Session
from utils.engine import run_loop
from utils.io.writers import Writers
from utils.masks import Mask
from utils.structures import Detections, Frame, Instances, Sample

FIXTURE = Path(__file__).parents[2] / "fixtures" / "annotations_before_manifest.zip"
NAMES, SIZE = ("dog", "cat"), (12, 16)
IDS = ("a/000000", "a/000001", "film/000000", "film/000001")


class Images:
    """The two clips of the fixture, a folder of frames and a video file; no file is decoded."""

    def __init__(self, folder: Path) -> None:
        self.ids = [*IDS]
        self.paths = [folder / ("film.mp4" if "film" in image_id else f"{image_id}.png") for image_id in IDS]
        self.units: Sequence[range] = [range(2), range(2, 4)]

    def batches(self, units: Sequence[range]) -> Batches:
        return Batches(self, units)

    def load(self, i: int) -> Sample:
        frame = Frame(self.ids[i].split("/")[0], i % 2, 2)
        return Sample(self.ids[i], self.paths[i], np.full((*SIZE, 3), i, np.uint8), frame=frame)


class Batches:
    """Some of the clips, one at a time."""

    def __init__(self, images: Images, units: Sequence[range]) -> None:
        self.ids, self._images, self._units = images.ids, images, units

    @property
    def num_images(self) -> int:
        return sum(map(len, self._units))

    def __iter__(self) -> Iterator[list[Sample]]:
        for unit in self._units:
            yield [self._images.load(i) for i in unit]


class TwoObjects:
    """The cascade that the fixture was made with."""

    def __call__(self, samples: Sequence[Sample]) -> Iterator[tuple[Sample, Instances]]:
        for sample in samples:
            assert sample.frame is not None
            full = np.zeros((2, *SIZE), bool)
            full[0, 2:6, 3 : 9 + sample.frame.index] = full[1, 5:9, 10:14] = True
            detections = Detections.from_arrays([[3, 2, 10, 6], [10, 5, 14, 9]], [0.75, 0.5], [0, 1])
            scores = np.array([0.875, 0.25], np.float32)
            yield sample, Instances(SIZE, detections, [*map(Mask.from_array, full)], scores, np.array([1, 2]))

    def summary_lines(self, session: Session) -> list[str]:
        return []


class Boxes:
    """Prompts as the plan sees them."""

    def content(self, image_id: str) -> bytes:
        return image_id.encode()


class Earlier:
    """The fixture's project, laid in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.out = folder, folder / "out"
        with zipfile.ZipFile(FIXTURE) as archive:
            archive.extractall(folder)
        weights = {"yolo_weights": folder / "yolo.pt", "sam_weights": folder / "sam.pt"}
        config = Config(
            arch=ArchConfig(sam_config=str(folder / "sam.yaml"), **weights),
            dataset=DatasetConfig(classes=NAMES),
            auto_mask=AutoMaskConfig(self.out, FORMATS),
        )
        reference = folder / "reference"
        self.options = Options(config, ("annotate",), (), None, "cpu", False, video=True, diff=reference)

    def plan(self, **options: Any) -> AnnotationPlan:
        images, options = Images(self.folder), {**options}
        return plan_annotations(replace(self.options, **options), images, Boxes(), Session())  # type: ignore[arg-type]

    def run(self) -> None:
        plan = self.plan()
        batches = Images(self.folder).batches(plan.units)
        with Writers(2) as writers:
            run_loop(plan.skip_finished(TwoObjects()), batches, plan.sinks(NAMES, writers), Session())


@pytest.fixture
def earlier(tmp_path: Path) -> Earlier:
    return Earlier(tmp_path)


def test_a_finished_folder_is_finished(earlier: Earlier) -> None:
    plan = earlier.plan()
    assert plan.nothing_to_do
    assert plan.units == []
    lines = [line.split(";")[0] for line in plan.lines]
    assert lines[: len(FORMATS)] == [f"{name}: 4 done" for name in FORMATS]
    assert all(line.startswith("open all") for line in lines[len(FORMATS) :])


EDITED = (
    "a/000001.json",
    "labelme-polygon/a/000001.json",
    "yolo/labels/a/000001.txt",
    "voc/SegmentationClass/a/000001.png",
)


def test_edited_files_are_edited_and_kept(earlier: Earlier) -> None:
    for name in EDITED:
        path = earlier.out / name
        if name.endswith(".json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), "shapes": []}))
        else:
            path.write_bytes(b"mine")
    before = {name: (earlier.out / name).read_bytes() for name in EDITED}
    *lines, advice = (line.split(";")[0] for line in earlier.plan(dry_run=True).lines)
    assert advice.startswith(f"what a person edited in {earlier.out} is in no other format: ")
    assert lines == [
        "frames: 4 done",
        "labelme: 3 done, 1 edited and kept",
        "labelme-polygon: 3 done, 1 edited and kept",
        "coco: 4 done",
        "yolo: 3 done, 1 edited and kept",
        "voc: 3 done, 1 edited and kept",
        "review: 4 done",
        "diff: 4 done",
    ]
    (earlier.out / "a/000000.json").unlink()
    earlier.run()
    assert {name: (earlier.out / name).read_bytes() for name in EDITED} == before
    assert (earlier.out / "a/000000.json").exists()


def test_files_of_other_settings_are_outdated(earlier: Earlier) -> None:
    (earlier.folder / "sam.pt").write_text("other weights")
    lines = [line.split(";")[0] for line in earlier.plan(dry_run=True).lines]
    assert lines[0] == "frames: 4 done"
    assert all(": 4 to write again" in line for line in lines[1:])


def decode(content: dict[str, Any]) -> None:
    """Replaces what encoders of images make by what it holds, as far as it is to be the same."""
    content.pop("imageData", None)
    content["files"] = [*content.get("files", ())]
    for shape in content.get("shapes", ()):
        if shape.get("mask"):
            shape["mask"] = np.asarray(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))).tolist()


def sorted_rows(files: dict[str, bytes]) -> dict[str, bytes]:
    """Sorts the rows of YOLO labels, which are in another order now."""
    return {
        name: b"".join(sorted(content.splitlines(True))) if name.startswith("yolo/labels/") else content
        for name, content in files.items()
    }


def test_what_is_written_now_has_the_records_and_stamps_of_then(earlier: Earlier) -> None:
    """So that the earlier version, which reads nothing else, takes our folder for its own."""
    then = sorted_rows(tree(earlier.out))
    earlier.out.rename(earlier.folder / "then")
    earlier.run()
    added = "review/", "voc/JPEGImages/", "voc/dataset_meta.json"
    now = {name: content for name, content in sorted_rows(tree(earlier.out)).items() if not name.startswith(added)}
    assert now.pop("class_names.txt") == b"dog\ncat\n"
    assert now.keys() == then.keys()
    # What hashes the records: those tell more now, or of labels in another order.
    for name in now.keys() - {".review.json", ".diff.json", "voc/.records.json", "yolo/.records.json"}:
        if name.endswith(".json"):
            ours, theirs = json.loads(now[name]), json.loads(then[name])
            # Encoders of images may compress otherwise from version to version, and imagePath leads to a real file.
            for content in (ours, theirs):
                decode(content)
            for shape in ours.get("shapes", ()):  # which earlier versions keep, as they do other keys
                del shape["confidence"]
            if "shapes" in ours:
                assert ours.pop("content_hash") != theirs.pop("content_hash")
            if name.startswith(".diff/"):
                assert ours["record"].pop("objects") == 2
                assert bool(ours["record"].pop("changes", [])) == ("pairs" in theirs["record"])
            if name.startswith(".review/"):
                assert len(ours["record"].pop("confidences")) == ours["record"]["objects"]
                assert (earlier.out / ours["record"].pop("photo")).exists()
            if name.startswith("voc/.records/"):  # which holds the photo, too
                ours["files"] = [file for file in ours["files"] if not file.startswith("JPEGImages/")]
                ours["links"], ours["photo"] = [], ""
            assert ours == theirs, name
        elif name.endswith((".txt", ".yaml", "diff.csv")):
            assert now[name] == then[name]
