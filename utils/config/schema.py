"""The config's sections but for finetuning: each key with its type, its limits, its default and its meaning.

Sections are frozen dataclasses that pydantic checks; the text below a key is its description. `python -m
utils.config.docs` makes docs/config.md and configs/schema.json of them.

Numbers and texts are strict by their types: "1" is not 1. Containers are not, so that JSON's lists become tuples. A
section's `__post_init__` raises `ValueError("key: reason")`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
import numpy.typing as npt
from pydantic import Field, StrictBool, StrictStr
from pydantic.dataclasses import dataclass

from utils.class_map import ClassMap
from utils.classes import ClassIndex
from utils.config.official import OFFICIAL_SAM
from utils.config.values import (
    ALL_OTHERS,
    SECTION,
    ClassNames,
    Count,
    FileName,
    FileOrNameOrNone,
    FormatName,
    LabelMap,
    Natural,
    Pixels,
    PositiveOrZero,
    Scores,
    Share,
    Shown,
    ShownParts,
    Splits,
    Weights,
)
from utils.errors import UserError
from utils.formats.base import Segmentation

CONF = 0.25
"""Score that boxes must exceed where nothing else is set."""


@dataclass(frozen=True, config=SECTION)
class ArchConfig:
    """The two models."""

    yolo: StrictStr = "yolov8"
    """The kind of the detector: `yolov8` is any model of Ultralytics; other kinds are those of `models/detector.py`."""
    yolo_weights: Weights = None
    """Weights of the detector; an official name (`yolov8x.pt`) is downloaded when it is missing."""
    sam: Literal["sam2"] = "sam2"
    """The kind of the segmenter; only `sam2`."""
    sam_config: FileOrNameOrNone = None
    """Architecture of the segmenter: a yaml file, or a name in the sam2 package; official weights bring their own."""
    sam_weights: Weights = None
    """Weights of the segmenter; an official name (`sam2.1_hiera_large.pt`) is downloaded when it is missing."""

    @property
    def sam_architecture(self) -> str | None:
        """SAM2's config; official weights bring their own where none is set."""
        official = None if self.sam_weights is None else OFFICIAL_SAM.get(self.sam_weights.name)
        return self.sam_config or official


@dataclass(frozen=True, config=SECTION)
class DatasetConfig:
    """The images, their classes, and which boxes count."""

    data_dir: Path | None = None
    """A folder in Pascal VOC layout; not needed with `--source`."""
    split: FileName = "val"
    """The split: the list `ImageSets/Segmentation/<split>.txt` and, for frames, `<split>_videos.txt`."""
    conf: Scores = CONF
    """Detector boxes with this score or a lower one are left out.

    Also by class, `{"dog": 0.31, "*": 0.4}`, where `*` means all others (else 0.25), or a file that `--tune` wrote.
    """
    classes: ClassNames = None
    """Class names by id: a list, a text file with one per line, `data.yaml`, `labelmap.txt`, or a `.json` of COCO.

    Left out, those of the dataset where `-p` names YOLO labels, else those of the detector.
    """
    num_classes: Annotated[int | None, Field(strict=True)] = None
    """An optional check: the number of classes plus one for the background."""
    label_map: LabelMap = None
    """Labels of pixel values in masks, where they are not labels: `{"7": 1, "255": 255}`; other values stay."""
    class_map: dict[StrictStr, StrictStr | None] = Field(default_factory=dict)
    """Merge, rename and drop classes, also those of the masks: `{"car": "vehicle", "truck": "vehicle", "dog": null}`.

    Keys are classes of the dataset or the detector. Their pixels and boxes count as those of the class they become,
    which all outputs name; dropped ones become background.
    """

    def __post_init__(self) -> None:
        if self.classes is not None:
            self.check_classes(self.classes)

    @property
    def least_conf(self) -> float:
        """The lowest score that a box of some class must exceed."""
        return min(self.conf.values(), default=CONF) if isinstance(self.conf, dict) else self.conf

    def class_conf(self, names: Sequence[str]) -> npt.NDArray[np.float32]:
        """Return the (C,) scores that boxes of each class must exceed.

        Args:
            names: class names of the run, by class id.

        Raises:
            UserError: `conf` names another class.
        """
        by_name = self.conf if isinstance(self.conf, dict) else {ALL_OTHERS: self.conf}
        scores, index = np.full(len(names), by_name.get(ALL_OTHERS, CONF), np.float32), ClassIndex(names)
        for name in by_name.keys() - {ALL_OTHERS}:
            scores[index.class_id(name, "conf")] = by_name[name]
        return scores

    def check_classes(self, names: Sequence[str]) -> None:
        """Compare what `class_map`, `conf` and `num_classes` say, if they are set, with the class names before any map.

        Raises:
            UserError: they do not fit.
        """
        self.class_conf(ClassMap.from_targets(names, self.class_map).names)
        count = len(names) + 1
        if self.num_classes not in (None, count):
            fact = f"is {self.num_classes}, but {len(names)} class names and the background make {count}"
            raise UserError(f"num_classes: {fact}")


@dataclass(frozen=True, config=SECTION)
class DataloaderConfig:
    """How images are read."""

    batch_size: Count = 16
    """Images per batch and per process."""
    num_workers: Natural = 8
    """Workers that read images ahead; with 0, images are read when they are needed."""
    max_megapixels: Count = 1000
    """Larger images are named and left out, as are those for which memory is short."""


@dataclass(frozen=True, config=SECTION)
class EvaluatorConfig:
    """Evaluation."""

    save_dir: Path = Path("outputs/evaluation")
    """Folder of `metrics.json`, `report.html` and the tables `per_class`, `per_image` and `confusion_matrix`."""
    report: StrictBool = True
    """Write `report.html`."""
    report_images: Natural = 200
    """How many images the report shows, the worst first."""
    attribution: Literal["shapley", "chain"] = "shapley"
    """How `--attribute` shares out errors: by `shapley` values, or in the fixed order of a `chain`."""


@dataclass(frozen=True, config=SECTION)
class PredictorConfig:
    """Overlays."""

    save_dir: Path = Path("outputs/masks")
    """Folder of the overlays."""
    show: ShownParts = get_args(Shown)
    """What to draw: names, scores, boxes, masks, outlines, and in clips ids; also as text: `masks,names`."""
    color: Literal["class", "object"] | None = None
    """Color by `class`, or a color for each `object`; left out, by class, and in clips by object."""
    opacity: Share = 0.45
    """Opacity of masks: 0 leaves the photograph as it is, 1 hides it."""
    line_width: Annotated[int | None, Field(strict=True, ge=1, le=100)] = None
    """Width of boxes and outlines in pixels; left out, by the size of the image."""
    format: Literal["jpg", "png", "mp4"] = "jpg"
    """`jpg` or `png`, or `mp4`: with `--video`, a film of each clip in place of its frames."""
    fps: Annotated[float, Field(strict=True, ge=1, le=1000)] = 25.0
    """Frames per second of an `mp4`; a clip that is a video file keeps its own."""
    side_by_side: StrictBool = False
    """Put the target beside the prediction, where there is one."""
    font: Path | None = None
    """A TrueType or OpenType font for class names; left out, one that comes with the installation."""


@dataclass(frozen=True, config=SECTION)
class AutoMaskConfig:
    """Annotations."""

    save_dir: Path = Path("outputs/annotations")
    """Folder of the annotations."""
    formats: Annotated[tuple[FormatName, ...], Field(min_length=1)] = ("labelme",)
    """One or more formats. `labelme` files go to `save_dir`, those of other formats to a folder of their name in it."""
    polygon_tolerance: PositiveOrZero = 1.0
    """How far in pixels polygons may leave outlines of masks, small and thin parts less; 0 keeps every pixel."""
    coco_segmentation: Segmentation = "rle"
    """How COCO files hold masks: `rle`, exactly, or `polygon`."""
    review_below: Annotated[float | None, Field(strict=True, ge=0, le=1)] = None
    """Shapes with a score or another sign of confidence below this get the labelme flag `needs_review`."""
    low_overlap: Share = 0.75
    """With `--diff`, objects whose IoU with the annotated one is below this are listed."""
    audit: Natural = 0
    """Objects to draw at random for a check, in `review.csv`; `--diff` then says how many of all are wrong at most."""
    splits: Splits = None
    """Shares of the images by split, `{"train": 0.8, "val": 0.2}`; train, val and test folders are kept in any case."""
    split_by: Literal["image", "clip", "folder"] = "image"
    """What is never divided: an image, a `clip` (a folder of frames), or the outermost `folder`. Clips never are."""
    split_seed: Natural = 0
    """Another number draws other splits."""
    copy_images: StrictBool = False
    """Copy photos to `yolo/images/` and `voc/JPEGImages/`; otherwise links lead to them."""


@dataclass(frozen=True, config=SECTION)
class CleanupConfig:
    """Cleaning of masks; by default nothing is done."""

    clip_to_box: StrictBool = False
    """Remove what lies outside the box."""
    largest_hole: Natural = 0
    """Fill holes of up to so many pixels."""
    smallest_part: Natural = 0
    """Remove the parts of a mask that have fewer pixels."""
    largest_part_only: StrictBool = False
    """Remove all parts of a mask but the largest."""
    disjoint: StrictBool = False
    """Give each pixel to one object only, in all formats: to the surest mask, as in a label map."""


@dataclass(frozen=True, config=SECTION)
class DetectorConfig:
    """How YOLO finds boxes."""

    imgsz: Pixels = 640
    """Longer side, in pixels, to which YOLO scales an image."""
    iou: Share = 0.7
    """Of boxes of one class that overlap more than this only the best is kept."""
    max_det: Count = 300
    """Boxes kept per image, or per slice, best first."""
    agnostic_nms: StrictBool = False
    """Compare boxes of all classes for `detector.iou`, not of one class only."""
    classes: ClassNames = None
    """Names of the classes whose boxes are kept, the detector's or a prompt file's; left out, all."""
    slice: Annotated[int | None, Field(strict=True, ge=32)] = None
    """Also look at slices, squares of so many pixels of an image, and merge their boxes; left out, at none.

    Each is scaled to `imgsz`. Images that are no larger are not sliced. Needs the package `sahi`.
    """
    overlap: Annotated[float, Field(strict=True, ge=0, le=0.9)] = 0.2
    """Share of a slice that the next one repeats; objects that are no longer than that are whole in some slice."""


@dataclass(frozen=True, config=SECTION)
class SegmenterConfig:
    """How SAM2 finds masks."""

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """`fp32`, `bf16`, `fp16`, or `auto`: the fastest that the device computes natively."""
    chunk_mb: Count | Literal["auto"] = "auto"
    """Memory in MiB to decode one chunk of boxes; `auto`: a quarter of a GPU's free memory, at most 8192, or 1024."""
    backend: Literal["auto", "torch", "openvino"] = "auto"
    """What runs SAM2's encoder: `torch`, `openvino`, or `auto`: OpenVINO on CPUs where it is installed and faster."""
    calibration: Path | None = None
    """The `calibration.json` of an evaluation: objects get the IoU that is to be expected of their scores."""
    window: Literal["auto", "off"] = "off"
    """`auto`: SAM2 sees small objects of large images in windows, up to twice as large as they are; `off`: never."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Compile SAM2 first, which takes minutes: `on`, `off`, or `auto`: on a GPU, if the run is long enough."""


@dataclass(frozen=True, config=SECTION)
class VideoConfig:
    """How objects are followed through clips, with `--video`."""

    keyframe_interval: Natural = 5
    """Frames between keyframes, on which boxes start, confirm and correct tracks; 0: only the first frame is one."""
    match_iou: Share = 0.2
    """Least IoU of a detection's mask with that of the track it belongs to; different objects hardly overlap."""
    correct_iou: Share = 0.7
    """A track whose mask overlaps that of its detection less than this starts anew from the box, under the same id."""
    patience: Count = 10
    """Keyframes in a row without a detection that end a track."""
    non_overlap_masks: StrictBool = True
    """Give a pixel that several tracks claim to the one with the highest logit, as SAM2's DAVIS evaluation does."""
