"""Paint labelled scenes as a Pascal VOC tree.

The tree has images, class masks, object masks, class_names.txt, and prediction.json with the exact boxes. Paint each
split with a command of its own:

    python -m datasets.scenes --seed 1 --count 800 --out scenes --split train
    python -m datasets.scenes --seed 2 --count 40 --clips 1 --out scenes --split val
"""

from __future__ import annotations

import argparse
import io
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from datasets.folder import frame_id
from datasets.scenes.scene import Scene, class_names, paint_clip, paint_scene
from utils.classes import CLASS_NAMES, VOC_PALETTE
from utils.cli.guard import guarded
from utils.config.official import PAINTED
from utils.errors import UserError
from utils.formats.voc import map_files, split_lists
from utils.io.terminal import counted
from utils.io.writers import atomic_write


@dataclass(frozen=True)
class SplitSpec:
    """What to paint into one split of a tree; raises UserError if that is nothing, or a value makes no sense."""

    seed: int  # the same seed paints the same pixels
    count: int  # number of single images, named `<split>_00000` and so on
    split: str = "val"  # the split's name; all names begin with it, so splits of one tree cannot collide
    clips: int = 0  # number of clips, folders of frames named `<split>_clip_000` and so on
    frames: int = 12  # number of frames in a clip
    quality: int = 92  # of the JPEG files, 1 to 95
    plain: bool = False  # whether to paint few, separate objects on smooth backgrounds

    def __post_init__(self) -> None:
        if min(self.seed, self.count, self.clips) < 0 or self.count + self.clips == 0 or self.frames < 1:
            raise UserError("seed, count and clips are at least 0, frames at least 1, and there is something to paint")
        if not 1 <= self.quality <= 95:
            raise UserError(f"quality {self.quality} is not within 1 to 95")
        if not re.fullmatch(r"[\w-]+", self.split):
            raise UserError(f"split {self.split!r}: its name takes letters, digits, - and _ only")


def write_split(root: Path, spec: SplitSpec) -> int:
    """Paint a split into a tree, new or with other splits, and extend its prediction.json; return the number of boxes.

    Raises UserError if the tree has the split already or has other classes, WriterError if a file cannot be written.
    """
    images, videos = (root / name for name in split_lists(spec.split))
    if images.exists() or videos.exists():
        raise UserError(f"{root} already has a split {spec.split}; choose another name or another folder")
    known = root / CLASS_NAMES
    if known.exists() and known.read_text().splitlines() != list(class_names()):
        raise UserError(f"{known} lists other classes than {', '.join(class_names())}")
    image_ids = [f"{spec.split}_{index:05d}" for index in range(spec.count)]
    clip_ids = [f"{spec.split}_clip_{index:03d}" for index in range(spec.clips)]
    rows = []
    for index, image_id in enumerate(image_ids):
        rows += _write_scene(root, image_id, paint_scene(spec.seed, index, spec.plain), spec.quality)
    for index, clip_id in enumerate(clip_ids):
        for frame, scene in enumerate(paint_clip(spec.seed, index, spec.frames, spec.plain)):
            rows += _write_scene(root, frame_id(clip_id, frame), scene, spec.quality)
    prompts = root / "prediction.json"
    earlier = json.loads(prompts.read_text()) if prompts.exists() else []
    painted = {row["image_id"] for row in rows}  # an interrupted run may have left rows of the same images
    kept = [row for row in earlier if row["image_id"] not in painted]
    atomic_write(prompts, json.dumps(kept + rows).encode())
    _write_lines(known, class_names())
    marker = root / PAINTED
    splits = json.loads(marker.read_text()) if marker.exists() else {}
    atomic_write(marker, json.dumps(splits | {spec.split: asdict(spec)}, indent=2).encode() + b"\n")
    if clip_ids:
        _write_lines(videos, clip_ids)
    _write_lines(images, image_ids)  # last: it marks the split as complete
    return len(rows)


def _write_scene(root: Path, image_id: str, scene: Scene, quality: int) -> list[dict[str, Any]]:
    """Write one image and its masks; return its rows of prediction.json."""
    image = Image.fromarray(scene.image)
    atomic_write(root / "JPEGImages" / f"{image_id}.jpg", _encode(image, "JPEG", quality=quality))
    for name, labels in zip(map_files(image_id), (scene.classes, scene.instances)):
        mask = Image.fromarray(labels)
        mask.putpalette(VOC_PALETTE)
        atomic_write(root / name, _encode(mask, "PNG", optimize=True))
    return [
        {"image_id": image_id, "category_id": class_id, "bbox": box.tolist(), "score": 1.0}
        for class_id, box in zip(scene.class_ids, scene.boxes)
        if box.any()
    ]


def _encode(image: Image.Image, file_format: str, **options: Any) -> bytes:
    contents = io.BytesIO()
    image.save(contents, file_format, **options)
    return contents.getvalue()


def _write_lines(path: Path, lines: Sequence[str]) -> None:
    atomic_write(path, "".join(f"{line}\n" for line in lines).encode())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 2 if the split cannot be painted as asked, or 3 if a file cannot be written."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m datasets.scenes", description=__doc__, formatter_class=layout)
    add = parser.add_argument
    add("--seed", type=int, required=True, help="the same seed paints the same pixels")
    add("--count", type=int, required=True, help="number of single images")
    add("--out", type=Path, required=True, help="the tree's folder; it may hold other splits")
    add("--split", default="val", help="name of the split (default: %(default)s)")
    add("--clips", type=int, default=0, help="number of clips, each a folder of frames (default: %(default)s)")
    add("--frames", type=int, default=12, help="number of frames in a clip (default: %(default)s)")
    add("--quality", type=int, default=92, help="of the JPEG files (default: %(default)s)")
    add("--plain", action="store_true", help="paint few, separate objects on smooth backgrounds")
    return guarded(lambda: _paint(**vars(parser.parse_args(argv))))


def _paint(out: Path, **options: Any) -> int:
    spec = SplitSpec(**options)
    boxes = write_split(out, spec)
    made = counted(spec.count, "image"), counted(spec.clips, "clip"), counted(boxes, "box", "boxes")
    print(f"{out}: split {spec.split}: {', '.join(made)}")
    return 0
