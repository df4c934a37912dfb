"""What following objects is worth, on a dataset with clips: each row is a run of `yolo_sam.py`, read from metrics.json.

python -m benchmarks.tracking                                              the embedded demo's clip
python -m benchmarks.tracking --data DIR --prompts DIR/prediction.json     clips of your own

J of each clip, followed from the boxes of its first frame, beside the same boxes filled and standing still, and beside
single images that have the boxes of every frame. Then the mean IoU where half of all boxes are gone at random: frames
as single images, and followed.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import yolo_sam
import yolo_sam_auto_anno_generator
from benchmarks.harness import folder_of, heading, markdown, parser_of, say, write_json
from datasets.voc import VocDataset
from utils.classes import load_class_names
from utils.config.official import REPOSITORY
from utils.io.image_files import image_size

DEMO = REPOSITORY / "datasets" / "demo"
Box = dict[str, Any]  # a row of a prompt file


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = parser_of("tracking", __doc__)
    add = parser.add_argument
    add("--config", type=Path, default=REPOSITORY / "config.json", help="the models (the demo's)")
    add("--data", type=Path, default=DEMO, metavar="DIR", help="a VOC tree with clips and class_names.txt (the demo)")
    add("--prompts", type=Path, default=DEMO / "prediction.json", metavar="FILE", help="boxes of all frames")
    add(
        "--seeds", type=int, default=5, metavar="N", help="how often half of the boxes are drawn (default: %(default)s)"
    )
    given = parser.parse_args(argv)
    with folder_of(given.folder) as temporary:
        folder, tree, prompts = Path(temporary), Path(temporary, "tree"), Path(temporary, "prompts.json")
        clips, boxes = linked_clips(given.data, given.prompts, tree)
        common = ["-c", str(given.config), "--device", given.device, *given.project, "--set=evaluator.report=false"]
        common += [f"--set=dataset.data_dir={tree}", f"--set=dataset.classes={tree / 'class_names.txt'}"]
        common += [f"--set=evaluator.save_dir={folder}", f"--set=auto_mask.save_dir={folder / 'single'}"]

        def run(script: Callable[[Sequence[str]], int], *more: str, boxes: Sequence[Box] = ()) -> dict[str, Any]:
            prompts.write_text(json.dumps(boxes))
            with contextlib.redirect_stdout(io.StringIO()):
                code = script([*common, *more, *(["-p", str(prompts)] if boxes else [])])
            assert code == 0, f"a run ended with {code}"
            metrics = folder / "metrics.json"
            return json.loads(metrics.read_text()) if metrics.exists() else {}

        first = [box for box in boxes if box["image_id"] in {frames[0] for frames in clips}]
        write_filled(tree, clips, first, folder / "filled")
        run(yolo_sam_auto_anno_generator.main, boxes=boxes)
        evaluated = functools.partial(run, yolo_sam.main)
        rows = {
            "first frame's boxes, filled": evaluated("--video", "-a", str(folder / "filled")),
            "first frame's boxes, followed": evaluated("--video", "--keyframe-interval=0", boxes=first),
            "every frame's boxes, single images": evaluated("--video", "-a", str(folder / "single")),
            "every frame's boxes, followed": evaluated("--video", "--keyframe-interval=1", boxes=boxes),
        }
        gaps: dict[str, list[float]] = {"single images": [], "followed": []}
        for seed in range(given.seeds):
            half = thinned(boxes, seed)
            gaps["single images"].append(evaluated(boxes=half)["Mean_IOU"])
            gaps["followed"].append(evaluated("--video", "--keyframe-interval=1", boxes=half)["Mean_IOU"])
            say(f"seed {seed} is done")
    print(heading(), markdown([clip_line(*row) for row in rows.items()]), sep="\n")
    if given.seeds:
        title = f"half of the boxes gone, {given.seeds} seeds"
        lines = [(name, statistics.mean(ious), min(ious), max(ious)) for name, ious in gaps.items()]
        print("", markdown([dict(zip((title, "mean IoU", "least", "most"), line)) for line in lines]), sep="\n")
    write_json(given.json, clips={name: metrics["clips"] for name, metrics in rows.items()}, half_gone=gaps)
    return 0


def linked_clips(data: Path, prompts: Path, tree: Path) -> tuple[list[list[str]], list[Box]]:
    """Link a dataset's clips into a new tree, which has none of its single images.

    Returns:
        the image ids of each clip, and the boxes of a prompt file that are on them, in the order of the frames.
    """
    lists = Path("ImageSets", "Segmentation")
    (tree / lists).mkdir(parents=True)
    (tree / lists / "val.txt").touch()
    for name in ("JPEGImages", "SegmentationClass", "SegmentationObject", "class_names.txt", lists / "val_videos.txt"):
        if (data / name).exists():
            (tree / name).symlink_to((data / name).absolute())
    dataset = VocDataset(tree, "val", by_clips=True)
    place = {image_id: i for i, image_id in enumerate(dataset.ids)}
    boxes = [box for box in json.loads(prompts.read_text()) if box["image_id"] in place]
    clips = [[dataset.ids[i] for i in places] for places in dataset.clips.values()]
    return clips, sorted(boxes, key=lambda box: place[box["image_id"]])


def thinned(boxes: Sequence[Box], seed: int) -> list[Box]:
    """Return what is left of the boxes when half of them are gone at random."""
    gone = {*np.random.default_rng(seed).permutation(len(boxes))[: round(0.5 * len(boxes))].tolist()}
    return [box for i, box in enumerate(boxes) if i not in gone]


def write_filled(tree: Path, clips: Sequence[Sequence[str]], first: Sequence[Box], folder: Path) -> None:
    """Write labelme files in which the boxes of each clip's first frame stand as rectangles in every frame."""
    names = load_class_names(tree / "class_names.txt")
    for frames in clips:
        (photo,) = (tree / "JPEGImages").glob(f"{frames[0]}.*")
        height, width = image_size(photo)
        picture = {"imagePath": photo.name, "imageData": None, "imageHeight": height, "imageWidth": width}
        shapes = [
            {"label": names[box["category_id"]], "points": [box["bbox"][:2], box["bbox"][2:]], "group_id": track}
            | {"shape_type": "rectangle", "flags": {}}
            for track, box in enumerate((box for box in first if box["image_id"] == frames[0]), 1)
        ]
        content = json.dumps({"version": "5.5.0", "flags": {}, "shapes": shapes, **picture})
        (folder / frames[0]).parent.mkdir(parents=True, exist_ok=True)
        for image_id in frames:
            (folder / f"{image_id}.json").write_text(content)


def clip_line(name: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return a line of the table; without J and F where nothing says which object of one frame is which of another."""
    measured, per_clip = metrics["clips"], metrics["clips"]["per_clip"]
    values = {f"J {clip}": each["J"] for clip, each in sorted(per_clip.items())}
    values |= {"J": measured["J"], "F": measured["F"], "id switches": measured["id_switches"]}
    if any(each["untracked_objects"] for each in per_clip.values()):
        values = dict.fromkeys(values)
    return {"boxes": name, **values, "mean IoU": metrics["Mean_IOU"]}


if __name__ == "__main__":
    sys.exit(main())
