"""What following objects is worth, on a dataset with clips: each row is a run of `yolo_sam.py`, read from metrics.json.

python -m benchmarks.tracking                                              the embedded demo's clip
python -m benchmarks.tracking --data DIR --prompts DIR/prediction.json     clips of your own

J of each clip, followed from the boxes of its first frame, beside the same boxes filled and standing still, and beside
single images that have the boxes of every frame. Then the mean IoU where half of all boxes are gone at random: frames
as single images, and followed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import yolo_sam
import yolo_sam_auto_anno_generator
from benchmarks.comparison import folder_of, say
from benchmarks.report import heading, machine, markdown, write_json
from datasets.voc import VocDataset
from utils.classes import load_class_names
from utils.config.official import REPOSITORY
from utils.io.image_files import image_size

Row = dict[str, Any]
"""A row of a prompt file."""

GONE = 0.5
"""Share of the boxes that are taken away."""


@dataclass(frozen=True)
class Clips:
    """A dataset's clips, and true or detected boxes of all their frames.

    Attributes:
        root: the dataset, of which nothing but the clips is listed.
        names: its file of class names.
        prompts: rows of a prompt file in the seed's form, in the order of the frames.
        frames: image ids of each clip.
    """

    root: Path
    names: Path
    prompts: list[Row]
    frames: dict[str, list[str]]

    @classmethod
    def linked(cls, data: Path, split: str, names: Path, prompts: Path, folder: Path) -> Clips:
        """The clips of a dataset, in a new folder of links to it."""
        for part in ("JPEGImages", "SegmentationClass", "SegmentationObject"):
            if (data / part).is_dir():
                (folder / part).symlink_to((data / part).absolute())
        lists = folder / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        videos = f"{split}_videos.txt"
        (lists / videos).write_text((data / "ImageSets" / "Segmentation" / videos).read_text())
        (lists / f"{split}.txt").write_text("")
        dataset = VocDataset(folder, split, by_clips=True)
        frames = {clip: [dataset.ids[i] for i in places] for clip, places in dataset.clips.items()}
        place = {image_id: i for i, image_id in enumerate(dataset.ids)}
        rows = [row for row in json.loads(prompts.read_text()) if row["image_id"] in place]
        return cls(folder, names, sorted(rows, key=lambda row: place[row["image_id"]]), frames)


@dataclass(frozen=True)
class Runs:
    """Runs the scripts on clips and reads what they measured.

    Attributes:
        clips: the dataset.
        folder: for what the runs write.
        arguments: of all runs: the config, and what the command line adds to it.
    """

    clips: Clips
    folder: Path
    arguments: Sequence[str]

    def evaluated(self, *arguments: str) -> dict[str, Any]:
        """metrics.json of a run of `yolo_sam.py`."""
        out = self.folder / "evaluation"
        wanted = [f"--set=evaluator.save_dir={out}", "--set=evaluator.report=false"]
        self._run(yolo_sam.main, [*wanted, *arguments])
        metrics: dict[str, Any] = json.loads((out / "metrics.json").read_text())
        return metrics

    def annotated(self, name: str, *arguments: str) -> Path:
        """The folder of labelme files that a run of `yolo_sam_auto_anno_generator.py` writes."""
        out = self.folder / name
        self._run(yolo_sam_auto_anno_generator.main, [f"--set=auto_mask.save_dir={out}", *arguments])
        return out

    def prompt_file(self, rows: Sequence[Row]) -> str:
        """A prompt file with these rows."""
        path = self.folder / "prompts.json"
        path.write_text(json.dumps(rows))
        return str(path)

    def _run(self, main: Any, arguments: Sequence[str]) -> None:
        dataset = [f"--set=dataset.data_dir={self.clips.root}", f"--set=dataset.classes={self.clips.names}"]
        with contextlib.redirect_stdout(io.StringIO()):
            code = main([*self.arguments, *dataset, *arguments])
        assert code == 0, f"a run ended with {code}"


def first_boxes(clips: Clips) -> list[Row]:
    """The rows of the first frame of each clip."""
    first = {frames[0] for frames in clips.frames.values()}
    return [row for row in clips.prompts if row["image_id"] in first]


def thinned(rows: Sequence[Row], seed: int) -> list[Row]:
    """What is left of the rows when half of them are gone at random."""
    gone = {*np.random.default_rng(seed).permutation(len(rows))[: round(GONE * len(rows))].tolist()}
    return [row for i, row in enumerate(rows) if i not in gone]


def write_filled(clips: Clips, folder: Path) -> None:
    """labelme files in which the boxes of each clip's first frame stand as rectangles in every frame."""
    names, boxes = load_class_names(clips.names), defaultdict[str, list[Row]](list)
    for row in first_boxes(clips):
        boxes[row["image_id"]].append(row)
    for frames in clips.frames.values():
        (photo,) = (clips.root / "JPEGImages").glob(f"{frames[0]}.*")
        height, width = image_size(photo)
        shapes = [
            {
                "label": names[row["category_id"]],
                "points": [row["bbox"][:2], row["bbox"][2:]],
                "shape_type": "rectangle",
                "group_id": track,
                "flags": {},
            }
            for track, row in enumerate(boxes[frames[0]], 1)
        ]
        for image_id in frames:
            path = folder / f"{image_id}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture = {"imagePath": photo.name, "imageData": None, "imageHeight": height, "imageWidth": width}
            path.write_text(json.dumps({"version": "5.5.0", "flags": {}, "shapes": shapes, **picture}))


def compared(runs: Runs) -> Iterator[tuple[str, dict[str, Any]]]:
    """J and F of each way to find the objects of the clips."""
    clips = runs.clips
    first, every = runs.prompt_file, clips.prompts
    write_filled(clips, runs.folder / "filled")
    yield "first frame's boxes, filled", runs.evaluated("--video", "-a", str(runs.folder / "filled"))
    yield (
        "first frame's boxes, followed",
        runs.evaluated("--video", "--keyframe-interval=0", "-p", first(first_boxes(clips))),
    )
    single = runs.annotated("single", "-p", first(every))
    yield "every frame's boxes, single images", runs.evaluated("--video", "-a", str(single))
    yield "every frame's boxes, followed", runs.evaluated("--video", "--keyframe-interval=1", "-p", first(every))


def with_gaps(runs: Runs, seeds: Sequence[int]) -> Iterator[dict[str, float]]:
    """Mean IoU with half of the boxes, by the way to find the objects, for each seed."""
    for seed in seeds:
        path = runs.prompt_file(thinned(runs.clips.prompts, seed))
        yield {
            "single images": runs.evaluated("-p", path)["Mean_IOU"],
            "followed": runs.evaluated("--video", "--keyframe-interval=1", "-p", path)["Mean_IOU"],
        }
        say(f"seed {seed} is done")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures and prints."""
    given = _parser().parse_args(argv)
    names = given.names or given.data / "class_names.txt"
    with folder_of(None) as root, folder_of(None) as folder:
        clips = Clips.linked(given.data, given.split, names, given.prompts, root)
        runs = Runs(clips, folder, ["-c", str(given.config), *given.project])
        rows = dict(compared(runs))
        gaps = list(with_gaps(runs, range(given.seeds)))
    print(heading(machine()))
    print(*_clip_table(rows), "", *_gap_table(gaps), sep="\n")
    if given.json:
        write_json(given.json, clips={name: metrics["clips"] for name, metrics in rows.items()}, half_gone=gaps)
    return 0


def _clip_table(rows: Mapping[str, dict[str, Any]]) -> list[str]:
    """J of each clip; none where nothing says which object of one frame is which of another."""
    clips = sorted({clip for metrics in rows.values() for clip in metrics["clips"]["per_clip"]})

    def columns(metrics: dict[str, Any]) -> Iterator[str]:
        measured = metrics["clips"]
        joined = not any(clip["untracked_objects"] for clip in measured["per_clip"].values())
        values = [*(measured["per_clip"][clip]["J"] for clip in clips), measured["J"], measured["F"]]
        yield from ("" if value is None or not joined else f"{value:.3f}" for value in values)  # None: no object
        yield "" if measured["id_switches"] is None or not joined else str(measured["id_switches"])
        yield f"{metrics['Mean_IOU']:.4f}"

    titles = ("boxes", *(f"J {clip}" for clip in clips), "J", "F", "id switches", "mean IoU")
    return markdown(titles, ((name, *columns(metrics)) for name, metrics in rows.items()))


def _gap_table(gaps: Sequence[Mapping[str, float]]) -> list[str]:
    """Mean IoU with half of the boxes: the mean over the seeds, the least and the most."""
    if not gaps:
        return []
    values = {name: [each[name] for each in gaps] for name in gaps[0]}
    rows = [
        (name, f"{statistics.mean(each):.4f}", f"{min(each):.4f}", f"{max(each):.4f}") for name, each in values.items()
    ]
    return markdown((f"half of the boxes gone, {len(gaps)} seeds", "mean IoU", "least", "most"), rows)


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m benchmarks.tracking", description=__doc__, formatter_class=layout)
    demo = REPOSITORY / "datasets" / "demo"
    add = parser.add_argument
    add("--config", type=Path, default=REPOSITORY / "config.json", help="the models (the demo's)")
    add("--data", type=Path, default=demo, metavar="DIR", help="a VOC tree with clips (the demo)")
    add("--split", default="val", help="(default: %(default)s)")
    add("--names", type=Path, metavar="FILE", help="class names (class_names.txt in the tree)")
    add("--prompts", type=Path, default=demo / "prediction.json", metavar="FILE", help="boxes of all frames")
    add(
        "--seeds", type=int, default=5, metavar="N", help="how often half of the boxes are drawn (default: %(default)s)"
    )
    add("--project", nargs="*", default=(), metavar="ARGUMENT", help="further arguments of the scripts")
    add("--json", type=Path, metavar="FILE", help="write all numbers here, too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
