"""The config's sections of what comes in and what goes out: each key's meaning, its default and its limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.formats.base import Format, Segmentation
from utils.official import OFFICIAL_SAM
from utils.values import ClassNames, FileOrName, Weights, require, within


@dataclass(frozen=True)
class ArchConfig:
    """The two models.

    Attributes:
        yolo: the detector's kind: a name of the table in `models/detector.py`.
        yolo_weights: the detector's weights; an official name (`yolov8x.pt`) is downloaded when it is missing.
        sam: the segmenter's kind; only `sam2`.
        sam_config: the segmenter's architecture: a yaml file, or a name inside the sam2 package; left out, official
            weights bring their own.
        sam_weights: the segmenter's weights; an official name (`sam2.1_hiera_large.pt`) is downloaded when it is
            missing.
    """

    yolo: str = "yolov8"
    yolo_weights: Weights | None = None
    sam: Literal["sam2"] = "sam2"
    sam_config: FileOrName | None = None
    sam_weights: Weights | None = None

    @property
    def sam_architecture(self) -> str | None:
        """SAM2's config; official weights bring their own where none is set."""
        official = None if self.sam_weights is None else OFFICIAL_SAM.get(self.sam_weights.name)
        return self.sam_config or official


@dataclass(frozen=True)
class DatasetConfig:
    """The images, their classes, and which boxes count.

    Attributes:
        data_dir: a folder in Pascal VOC layout; not needed with `--source`.
        split: the list `ImageSets/Segmentation/<split>.txt` and, for frames, `<split>_videos.txt`.
        conf: detector boxes with this score or a lower one are left out.
        classes: class names in the order of their ids, as a list, a text file with one a line or a `data.yaml`; left
            out, the detector's.
        num_classes: an optional check: the number of classes plus one for the background.
        label_map: what pixel values of the masks mean, where they are not labels: `{"7": 1, "255": 255}`; values not
            named stay.
    """

    data_dir: Path | None = None
    split: str = "val"
    conf: float = 0.25
    classes: ClassNames | None = None
    num_classes: int | None = None
    label_map: dict[int, int] | None = None

    def __post_init__(self) -> None:
        require(bool(self.split), "split", "the name is empty")
        within(self, "conf", 0, 1)
        for pair in (self.label_map or {}).items():
            reason = f"{pair[0]}: {pair[1]} is not within 0 to 255"
            require(all(0 <= value <= 255 for value in pair), "label_map", reason)
        if self.classes is not None:
            self.check_num_classes(self.classes)

    def check_num_classes(self, names: Sequence[str]) -> None:
        """Raises FieldError if `num_classes` is given and does not fit these class names."""
        count = len(names) + 1
        reason = f"is {self.num_classes}, but {len(names)} class names and the background make {count}"
        require(self.num_classes in (None, count), "num_classes", reason)


@dataclass(frozen=True)
class DataloaderConfig:
    """How images are read.

    Attributes:
        batch_size: images in a batch; with several processes, of each.
        num_workers: workers that read images ahead; 0 reads them when they are needed.
    """

    batch_size: int = 16
    num_workers: int = 8

    def __post_init__(self) -> None:
        within(self, "batch_size", 1)
        within(self, "num_workers", 0)


@dataclass(frozen=True)
class EvaluatorConfig:
    """Evaluation.

    Attributes:
        save_dir: where `metrics.json`, `per_image.csv`, `confusion_matrix.csv`, with `--video` `per_clip.csv`, and
            `report.html` go.
        report: write `report.html`.
        report_images: how many images it shows, the worst first.
    """

    save_dir: Path = Path("outputs/evaluation")
    report: bool = True
    report_images: int = 200

    def __post_init__(self) -> None:
        within(self, "report_images", 0)


OverlayFormat = Literal["jpg", "png", "mp4"]


@dataclass(frozen=True)
class PredictorConfig:
    """Overlays.

    Attributes:
        save_dir: where overlays go.
        format: `jpg` or `png`, or `mp4`: with `--video`, a film of each clip in place of its frames.
        fps: frames a second of an `mp4`, unless the clip is a video file, which has its own.
        side_by_side: put the target beside the prediction, where there is one.
        font: a TrueType or OpenType font for class names; left out, one that comes with the installation.
    """

    save_dir: Path = Path("outputs/masks")
    format: OverlayFormat = "jpg"
    fps: float = 25.0
    side_by_side: bool = False
    font: Path | None = None

    def __post_init__(self) -> None:
        within(self, "fps", 1, 1000)


@dataclass(frozen=True)
class AutoMaskConfig:
    """Annotations.

    Attributes:
        save_dir: where annotations go.
        formats: one or more of `labelme`, `labelme-polygon`, `coco`, `yolo`, `voc`; `labelme` files go there, those of
            every other format to a folder of its name.
        polygon_tolerance: how far in pixels polygons may leave the outlines of their masks, small and thin parts less;
            0 keeps every pixel.
        coco_segmentation: how COCO files hold masks: `rle`, exactly, or `polygon`.
        review_below: shapes of which a score, or another sign, is below this get the labelme flag `needs_review`; left
            out, none do.
        low_overlap: with `--diff`, objects whose IoU with the annotated one is below this are listed.
    """

    save_dir: Path = Path("outputs/annotations")
    formats: tuple[Format, ...] = ("labelme",)
    polygon_tolerance: float = 1.0
    coco_segmentation: Segmentation = "rle"
    review_below: float | None = None
    low_overlap: float = 0.75

    def __post_init__(self) -> None:
        require(bool(self.formats), "formats", "there is none")
        within(self, "polygon_tolerance", 0)
        within(self, "review_below", 0, 1)
        within(self, "low_overlap", 0, 1)
