"""What all benchmarks share: the workload, command-line options, gates, tables and JSON."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from datasets.scenes import class_names, paint_scene
from models.ultralytics_quiet import quiet_ultralytics
from utils.config.official import REPOSITORY
from utils.cores import usable_cores
from utils.device import choose_device
from utils.distributed import Session

MIB = 2**20
MODELS = {"tiny": "t", "small": "s", "base+": "b+", "large": "l", "demo": ""}  # name -> suffix of sam2's config
SKEWED = (0, 1, 10, 1, 3, 30, 0, 5)  # boxes of the images of a skewed mix, over and over
PAINTED = 16  # further images are links to the same files, with boxes of their own
CONF, IMGSZ = 0.25, 640
COVERAGE = 0.25  # the share of the pixels that random masks are set to cover
SPREAD = 10.0  # standard deviation of their logits: far from zero almost everywhere, as those of trained models

Pixels = npt.NDArray[np.uint8]


class Boxes(NamedTuple):
    """The boxes of one image: (N, 4) xyxy in its pixels, (N,) scores, (N,) class ids from 0."""

    xyxy: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]


class Masks(NamedTuple):
    """What was found in one image: (N, H, W) masks, nonzero is foreground, (N,) mask scores, (N,) class ids from 0."""

    masks: npt.NDArray[Any]
    scores: npt.NDArray[np.float32]
    class_ids: npt.NDArray[np.int64]


@dataclass(unsafe_hash=True)
class Workload:
    """A folder with painted images as a Pascal VOC tree, their boxes, random weights and a config."""

    folder: Path
    model: str  # a key of MODELS; the architecture of the demo is this project's
    size: tuple[int, int]  # (width, height) of the images in pixels
    images: int  # how many
    boxes: int | None  # per image; None: the skewed mix
    batch: int  # images per batch
    device: str  # `cpu` or `cuda`
    image_size: int | None = None  # side of SAM2's square input in pixels; None: the architecture's own
    detector: str | None = None  # a YOLO architecture that finds at most `boxes` per image; None: fixed boxes
    clip: bool = False  # whether the images are the frames of a clip
    compile: str = "off"  # of the bare forward: a mode of `torch.compile`, or `off`
    project: tuple[str, ...] = ()  # further options of this project's scripts

    def __post_init__(self) -> None:
        self.names, self.tree, self.config = class_names(), self.folder / "tree", self.folder / "config.json"
        self.prompts, self.sam_config = self.tree / "prediction.json", self.folder / "sam2.yaml"
        # Ultralytics knows an architecture by the name of its weights.
        self.sam_weights = self.folder / f"sam2.1_{MODELS[self.model].rstrip('+') or 'demo'}.pt"
        self.yolo_weights = self.folder / "yolo.pt"
        self.most_boxes = max(SKEWED) if self.boxes is None else self.boxes

    def image_id(self, index: int) -> str:
        """Return the id of an image."""
        return f"{'clip/' if self.clip else ''}image_{index:05d}"

    def files(self, index: int) -> tuple[Path, Path]:
        """Return the files of an image and of its labels."""
        image_id = self.image_id(index)
        return self.tree / "JPEGImages" / f"{image_id}.jpg", self.tree / "SegmentationClass" / f"{image_id}.png"

    def out(self, row: int, precision: str) -> Path:
        """Return the folder that a row writes to."""
        return self.folder / f"row-{row}-{precision}"

    def draw_boxes(self, index: int) -> Boxes:
        """Draw the fixed boxes of an image: random, but always the same."""
        rng = np.random.default_rng([1, index])
        count = SKEWED[index % len(SKEWED)] if self.boxes is None else self.boxes
        side, place = rng.uniform(0.05, 0.6, (count, 2)), rng.uniform(0, 1, (count, 2))
        corner = place * (1 - side)
        xyxy = np.hstack([corner, corner + side]) * np.tile(self.size, 2)
        scores = rng.uniform(CONF + 0.05, 1, count)
        return Boxes(xyxy.astype(np.float32), scores.astype(np.float32), rng.integers(0, len(self.names), count))

    def write(self) -> None:
        """Write all files."""
        ids, images, rows = [self.image_id(i) for i in range(self.images)], self._write_images(), []
        lists = self.tree / "ImageSets" / "Segmentation"
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("\n".join(ids))
        (lists / "val_videos.txt").write_text("clip" if self.clip else "")
        (self.tree / "class_names.txt").write_text("\n".join(self.names))
        for i, image_id in enumerate(ids):
            for box, score, class_id in zip(*(column.tolist() for column in self.draw_boxes(i))):
                rows.append({"image_id": image_id, "category_id": class_id, "bbox": box, "score": score})
        self.prompts.write_text(json.dumps(rows))
        arch = {"sam_config": self.sam_config.name, "sam_weights": self.sam_weights.name}
        settings = {
            "arch": arch | ({"yolo_weights": self.yolo_weights.name} if self.detector else {}),
            "dataset": {"data_dir": "tree", "classes": list(self.names), "conf": CONF},
            "dataloader": {"batch_size": self.batch},
            "detector": {"imgsz": IMGSZ, "max_det": self.most_boxes},
        }
        self.config.write_text(json.dumps(settings))
        self._write_sam(images[0])
        if self.detector:
            self._write_yolo(images[:8])

    def _write_images(self) -> list[Pixels]:
        """Write images and labels; return the (H, W, 3) RGB images that were painted."""
        images: list[Pixels] = []
        for file in self.files(0):
            file.parent.mkdir(parents=True)
        for i in range(min(PAINTED, self.images)):
            scene, (image, labels) = paint_scene(3, i), self.files(i)
            images.append(np.asarray(cv2.resize(scene.image, self.size, interpolation=cv2.INTER_CUBIC), np.uint8))
            Image.fromarray(images[-1]).save(image, quality=92)
            Image.fromarray(cv2.resize(scene.classes, self.size, interpolation=cv2.INTER_NEAREST)).save(labels)
        for i in range(PAINTED, self.images):
            for link, file in zip(self.files(i), self.files(i % PAINTED)):
                link.hardlink_to(file)
        return images

    def _write_sam(self, image: Pixels) -> None:
        """Write SAM2's architecture and random weights whose masks are two-valued blobs.

        Every mask is the product of a token and of upscaled features that a GELU left positive on the whole. So scaling
        the layer that makes the token scales the logits, and lowering its bias lowers them everywhere.
        """
        import sam2
        import torch

        official = Path(sam2.__path__[0], "configs", "sam2.1", f"sam2.1_hiera_{MODELS[self.model]}.yaml")
        path = REPOSITORY / "sam/sam2.1/sam2.1_hiera_demo.yaml" if self.model == "demo" else official
        size = rf"\1 {self.image_size}" if self.image_size else r"\g<0>"
        self.sam_config.write_text(re.sub(r"(?m)^(\s*image_size:).*", size, path.read_text()))
        torch.manual_seed(0)
        predictor = load_predictor(self.sam_config, None, "cpu")
        heads = [mlp.layers[-1] for mlp in predictor.model.sam_mask_decoder.output_hypernetworks_mlps]
        predictor.set_image(image)
        boxes = np.concatenate([self.draw_boxes(i).xyxy for i in range(len(SKEWED))])[:10]

        def logits() -> npt.NDArray[np.float32]:
            return predictor.predict(box=boxes, multimask_output=False, return_logits=True)[0]

        with torch.no_grad():
            scale = SPREAD / max(float(logits().std()), 1e-6)
            for head in heads:
                head.weight *= scale
                head.bias *= scale
            step = 4 * SPREAD
            while step > 0.01:  # bisection, from the middle
                step /= 2
                shift = step if (logits() > 0).mean() > COVERAGE else -step
                for head in heads:
                    head.bias -= shift
        torch.save({"model": predictor.model.state_dict()}, self.sam_weights)

    def _write_yolo(self, images: Sequence[Pixels]) -> None:
        """Write random weights that find some boxes of every class in most images."""
        quiet_ultralytics()
        import torch
        from ultralytics.nn.tasks import DetectionModel

        torch.manual_seed(0)
        model = DetectionModel(f"{self.detector}.yaml", nc=len(self.names), verbose=False)
        model.names = dict(enumerate(self.names))
        squares = np.stack([cv2.resize(image, (IMGSZ, IMGSZ)) for image in images])
        pixels = torch.from_numpy(squares).permute(0, 3, 1, 2).float() / 255
        for layer in model.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.momentum = None  # the mean of all batches seen
        with torch.no_grad():
            model(pixels)
            scores = model.eval()(pixels)[0][:, 4:]  # (B, classes, anchors) in 0 to 1
            best = torch.quantile(scores.logit().transpose(0, 1).flatten(1), 0.98, dim=1)
            for head in model.model[-1].cv3:
                head[-1].bias -= best
        torch.save({"model": model.half(), "train_args": {}}, self.yolo_weights)


def load_predictor(config: Path | str, weights: Path | None, device: str) -> Any:
    """Load SAM2's own image predictor with the weights of a checkpoint, or with random ones.

    The official builder makes the model, so that a mistake in ours cannot stand on both sides of a gate.
    """
    import sam2  # noqa: F401  (initialises Hydra with its own folder; the config's takes its place for a moment)
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from sam2.build_sam import build_sam2
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    checkpoint = None if weights is None else str(weights)
    if Path(config).is_file():
        hydra, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        with initialize_config_dir(str(Path(config).parent.absolute()), version_base="1.2"):
            model = build_sam2(Path(config).name, checkpoint, device=device)
        GlobalHydra.instance().hydra = hydra
    else:
        model = build_sam2(str(config), checkpoint, device=device)
    predictor = SAM2ImagePredictor(model)
    side = model.image_size // 4  # the predictor itself knows only 1024 px
    predictor._bb_feat_sizes = [(side, side), (side // 2, side // 2), (side // 4, side // 4)]
    return predictor


@dataclass(frozen=True)
class Gate:
    """A check: what must hold, whether it does, and the numbers that were compared."""

    name: str
    passed: bool
    numbers: Mapping[str, float]

    def __str__(self) -> str:
        numbers = ", ".join(f"{name} {value:.6g}" for name, value in self.numbers.items())
        return f"{'passed' if self.passed else 'FAILED'}: {self.name} ({numbers})"


def parser_of(name: str, description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that every benchmark has."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"python -m benchmarks.{name}", description=description, formatter_class=layout)
    add = parser.add_argument
    add("--device", type=device_type, default="auto", help="cpu, cuda or auto (default: %(default)s)")
    add("--project", type=options_of, default="", metavar="OPTIONS", help="more options of the scripts, in one text")
    add("--folder", type=Path, metavar="DIR", help="where a run's files go for its time")
    add("--json", type=Path, metavar="FILE", help="write the results there, too")
    if name in ("throughput", "memory"):
        add("--model", choices=MODELS, default="tiny", help="SAM2.1's architecture (default: %(default)s)")
        add("--image_size", type=int, metavar="N", help="side of SAM2's input in px, instead of the architecture's own")
    return parser


def device_type(name: str) -> str:
    """Return what torch calls a device; `auto` is the GPU if there is one."""
    return choose_device(name, Session()).type


@contextmanager
def workload(given: argparse.Namespace, **others: Any) -> Iterator[Workload]:
    """Write the workload of a command line, with other values for some of its fields; remove it at the end."""
    known = {each.name: getattr(given, each.name) for each in fields(Workload) if hasattr(given, each.name)}
    with folder_of(given.folder) as folder:
        work = Workload(**(known | others | {"folder": Path(folder)}))
        say(f"painting {work.images} images of {work.size[0]}x{work.size[1]}, {work.boxes} boxes each, into {folder}")
        work.write()
        yield work


def options_of(text: str) -> tuple[str, ...]:
    """Split a text as a shell does."""
    return tuple(shlex.split(text))


def size_of(text: str) -> tuple[int, int]:
    """Return (width, height) of a text such as `1920x1080`."""
    width, height = text.split("x")
    return int(width), int(height)


def folder_of(parent: Path | None) -> tempfile.TemporaryDirectory[str]:
    """Make a folder for the files of a run, in a given one or where temporary files go, and remove it at the end."""
    return tempfile.TemporaryDirectory(prefix="benchmark-", dir=parent)


def say(line: object) -> None:
    """Print progress, apart from the results."""
    print(line, file=sys.stderr, flush=True)


def median_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the median, and least to most as a share of it."""
    middle = statistics.median(values)
    return middle, (max(values) - min(values)) / middle


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return a Markdown table of lines with equal keys, its titles; numbers have four digits, None is left empty."""
    rows = [[_text(name, value) for name, value in line.items()] for line in lines]
    table = [[*lines[0]], ["---"] * len(lines[0]), *rows] if lines else []
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def _text(name: str, value: Any) -> str:
    if value is None:
        return ""
    form = ".0%" if name in ("spread", "of row 6") else ".4g" if isinstance(value, float) else ""
    return format(value, form)


def machine() -> dict[str, Any]:
    """Say where, when and with which command this runs."""
    import torch

    cpu = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", cpu.read_text()) if cpu.exists() else None
    return {
        "processor": model[1] if model else platform.machine(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "sam2", "ultralytics", "numpy")},
        "commit": subprocess.getoutput(f"git -C {shlex.quote(str(REPOSITORY))} rev-parse --short HEAD"),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
    }


def heading() -> str:
    """Return one line that says where, when and with which command."""
    here = machine()
    where = f"{here['gpu'] or here['processor']}, {here['cores']} cores, {here['threads']} threads"
    return f"{where}; torch {here['versions']['torch']}; {here['date'][:10]}; `{here['command']}`"


def write_json(path: Path | None, **content: Any) -> None:
    """Write results with the machine, the date and the command, where a path is given."""
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **content}, indent=2, default=str) + "\n")
