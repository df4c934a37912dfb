"""The rows of a comparison, each in a process of its own, and what a pass of one takes."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.demo import draw_figure, find_boxes, read_image, segment, write_labelme
from benchmarks.harness import CONF, IMGSZ, Boxes, Masks, Pixels, Workload, load_predictor
from benchmarks.processes import Process
from datasets.loading import Images, open_images
from models.loading import RunModels
from models.segmenter import preprocess
from models.ultralytics_quiet import quiet_ultralytics
from utils.annotations.plan import plan_annotations
from utils.cli.options import Options, Output
from utils.cli.parsers import parse
from utils.distributed import Session
from utils.engine import RunSummary, SinkReport, run_loop
from utils.errors import UserError
from utils.io.writers import Writers
from utils.run import OUTPUTS
from utils.run import Run as RunOutputs
from utils.structures import Instances, Sample

SCOPES: dict[str, tuple[Output, ...]] = {  # what is made of the masks, which every scope brings to the host
    "model": (),
    "metrics": ("evaluate",),
    "annotations": ("annotate",),
    "metrics+annotations": ("evaluate", "annotate"),
    "overlays": ("visual",),
    "all": ("evaluate", "annotate", "visual"),
}

Run = Callable[..., int]
"""A row with its models loaded: `run(scope, count, look)` puts the first `count` images through to the outputs of a
scope and returns how many it did; `look`, where given, is called with the masks of each image."""


def confusion(found: Masks, target: Pixels, num_labels: int) -> npt.NDArray[np.int64]:
    """Count the pixels by target (row) and predicted label (column), void ones (255) left out.

    A label is class id + 1, or 0; the highest score wins an overlapped pixel, the first of equal ones.
    """
    labels = np.zeros(target.shape, np.int64)
    for i in sorted(range(len(found.masks)), key=lambda i: (found.scores[i], -i)):
        labels[found.masks[i] > 0] = found.class_ids[i] + 1
    counted = target != 255
    pairs = num_labels * target[counted].astype(np.int64) + labels[counted]
    return np.bincount(pairs, minlength=num_labels**2).reshape(num_labels, num_labels)


def autocast(precision: str, device: str) -> contextlib.AbstractContextManager[None]:
    """Return what a user writes for a precision: nothing for fp32, else autocast."""
    import torch

    return torch.autocast(device, torch.float16 if precision == "fp16" else torch.bfloat16, precision != "fp32")


def plain_loop(row: int, precision: str, work: Workload) -> Run:
    """Load rows 1 to 3: what a user would write, batch by batch; the scope says whether it renders."""
    import torch

    predictor = load_predictor(work.sam_config, work.sam_weights, work.device)
    boxes_of, names = finder_of(work), work.names

    def run(scope: str, count: int, look: Callable[[Masks], object] = len) -> int:
        matrix = np.zeros((len(names) + 1, len(names) + 1), np.int64)
        for start in range(0, count, work.batch):
            indices = range(start, min(start + work.batch, count))
            images = [read_image(work.files(i)[0]) for i in indices]
            boxes = boxes_of(indices, images)
            with torch.inference_mode(), autocast(precision, work.device):
                found = segment(predictor, images, boxes, one_by_one=row == 3)
            for i, image, each, masks in zip(indices, images, boxes, found):
                look(masks)
                path, (file, labels) = work.out(row, precision) / work.image_id(i), work.files(i)
                if "evaluate" in SCOPES[scope]:
                    matrix += confusion(masks, np.array(Image.open(labels)), len(matrix))
                if "annotate" in SCOPES[scope]:
                    write_labelme(path.with_suffix(".json"), file, masks.masks, each, names)
                if "visual" in SCOPES[scope]:
                    draw_figure(path.with_suffix(".jpg"), image, masks.masks, each, names)
        return count

    return run


def finder_of(work: Workload) -> Callable[[Sequence[int], Sequence[Pixels]], list[Boxes]]:
    """Return what gives the boxes of some images: the fixed ones, or what YOLO finds with the settings of row 5."""
    if not work.detector:
        return lambda indices, images: [work.draw_boxes(i) for i in indices]
    quiet_ultralytics()
    from ultralytics import YOLO

    settings = {"conf": CONF, "imgsz": IMGSZ, "max_det": work.most_boxes, "device": work.device}
    yolo = YOLO(work.yolo_weights)
    return lambda indices, images: find_boxes(yolo, images, **settings)


def auto_annotate(row: int, precision: str, work: Workload) -> Run:
    """Load row 4: the loop of ultralytics' `auto_annotate` with its own SAM2; it writes polygons as text."""
    if work.model == "demo" or work.image_size not in (None, 1024):
        raise RuntimeError("ultralytics builds SAM2.1's official architectures only, at 1024 px")
    quiet_ultralytics()
    from ultralytics import SAM

    boxes_of, sam, quantize = finder_of(work), SAM(work.sam_weights), None if precision == "fp32" else 16

    def run(scope: str, count: int) -> int:
        work.out(row, precision).mkdir()
        for i in range(count):
            image = np.asarray(cv2.imread(str(work.files(i)[0])))
            (boxes,) = boxes_of([i], [image[:, :, ::-1]])
            if len(boxes.xyxy):
                found = sam(image, bboxes=boxes.xyxy, verbose=False, save=False, device=work.device, quantize=quantize)
                polygons = found[0].masks.xyn if found[0].masks is not None else []
                texts = (" ".join(map(str, polygon.reshape(-1).tolist())) for polygon in polygons)
                lines = (f"{class_id} {text}\n" for class_id, text in zip(boxes.class_ids, texts))
                (work.out(row, precision) / f"{work.image_id(i)}.txt").write_text("".join(lines))
        return count

    return run


def this_project(row: int, precision: str, work: Workload) -> Run:
    """Load row 5, or 7 with SAM2's encoder in OpenVINO: the scripts' own parts and their one loop, in process."""
    session, out = Session(), work.out(row, precision)
    argv = ["-c", str(work.config), "--device", work.device, "--precision", precision]
    argv += ["--compile", "off" if work.compile == "off" else "on"]
    argv += [f"--set=segmenter.backend={'openvino' if row == 7 else 'torch'}", *work.project]
    argv += [] if work.detector else ["-p", str(work.prompts)]
    argv += [f"--set={section}.save_dir={out / section}" for section in ("evaluator", "predictor", "auto_mask")]

    @functools.cache  # so that only the warm-up lists and checks the images
    def prepared(scope: str) -> tuple[Options, Images]:
        script, *others = SCOPES[scope] or ("visual",)
        options = parse(script, None, [*argv, *(["--also", *others] if others else [])])
        return options, open_images(options, session)

    try:
        with quiet():
            models = RunModels(*prepared("all"), session)
            cascade = models.build_cascade()
    except UserError as error:
        raise RuntimeError(str(error)) from error

    def run(scope: str, count: int, look: Callable[[Masks], object] | None = None) -> int:
        options, images = prepared(scope)
        with quiet(), Writers() as writers:
            plan = plan_annotations(options, images, models.prompts, session)
            outputs = RunOutputs(options, session, writers, images, models, plan)
            sinks = [sink for output in SCOPES[scope] for sink in OUTPUTS[output](outputs)]
            units = [range(unit.start, min(unit.stop, count)) for unit in plan.units if unit.start < count]
            summary = run_loop(
                cascade, images.batches(units), [*sinks, HostMasks(look)], session, ahead=models.batches_ahead
            )
        assert not summary.failures, summary.failures
        return sum(map(len, units))

    return run


@dataclass
class HostMasks:
    """A sink that asks for every mask on the host, where the plain loop's predictor leaves it."""

    look: Callable[[Masks], object] | None

    def write(self, sample: Sample, instances: Instances) -> None:
        crops = [mask.crop for mask in instances.masks]
        if self.look:
            masks = np.zeros((len(crops), *instances.size), bool)
            for full, mask in zip(masks, instances.masks):
                full[mask.slices] = mask.crop
            self.look(Masks(masks, instances.mask_scores, instances.detections.class_ids))

    def finish(self, summary: RunSummary, session: Session) -> SinkReport:
        return SinkReport([])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what is printed meanwhile off the screen."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def bare_forward(row: int, precision: str, work: Workload) -> Run:
    """Load row 6, the limit: this project's passes over one batch again and again, on tensors that lie on the device.

    Nothing is read, resized, upsampled, copied or written. Boxes are decoded 128 at once; more are no faster.
    """
    import torch

    from models import sam2_forward
    from models.sam2_build import load_sam2
    from models.sam2_prepare import fit_to_device, simplify

    batch, device = min(work.batch, work.images), torch.device(work.device)
    model = load_sam2(str(work.sam_config), work.sam_weights, device)
    simplify(model)
    fit_to_device(
        model,
        getattr(torch, {"bf16": "bfloat16", "fp16": "float16"}.get(precision, "float32")),
        compiles=work.compile != "off",
    )
    boxes = [torch.from_numpy(work.draw_boxes(i).xyxy) for i in range(batch)]
    image_of = torch.arange(batch).repeat_interleave(torch.tensor([*map(len, boxes)])).to(device)
    scale = torch.tensor([model.image_size / side for side in work.size] * 2)
    chunks = [*zip(image_of.split(128), (torch.cat(boxes) * scale).to(device).split(128))] if len(image_of) else []
    with torch.inference_mode():
        pixels = preprocess([read_image(work.files(i)[0]) for i in range(batch)], model.image_size, device)
    encode: Callable[..., Any] = partial(sam2_forward.encode, model)
    decode: Callable[..., Any] = partial(sam2_forward.decode, model)
    with torch.inference_mode(), autocast(precision, work.device):
        encode(pixels[:1])  # fills the model's position cache, after which the encoder would be compiled once more
    if work.compile != "off":
        compiled = partial(torch.compile, dynamic=False, mode=work.compile)
        encode, decode = compiled(encode), compiled(decode)

    def run(scope: str, count: int) -> int:
        batches = max(1, count // batch)
        with torch.inference_mode(), autocast(precision, work.device):
            for _ in range(batches):
                torch.compiler.cudagraph_mark_step_begin()
                features = encode(pixels)
                for chunk in chunks:
                    decode(features, *chunk)
        return batches * batch

    return run


ROWS = {
    1: plain_loop,
    2: plain_loop,
    3: plain_loop,
    4: auto_annotate,
    5: this_project,
    6: bare_forward,
    7: this_project,
}
_loaded = functools.cache(lambda row, precision, work: ROWS[row](row, precision, work))  # once in a process


class Rows(contextlib.ExitStack):
    """Rows in processes of their own, so that they share no memory and one that fails does not end the others.

    Args:
        work: of all rows.
        once: whether a process ends with its first task, so that a small GPU has room for the next one.
        deadline: time of `time.monotonic` at which a row that is not done is ended by a TimeoutError.
    """

    def __init__(self, work: Workload, *, once: bool = False, deadline: float = math.inf) -> None:
        super().__init__()
        self.work, self._once, self._deadline = work, once, deadline
        self._processes: dict[tuple[int, str], Process] = {}

    def __call__(self, row: int, precision: str, task: Callable[..., Any], *arguments: Any) -> Any:
        """Empty the row's folder; return what `task(run, *arguments)` returns in its process, or raise what it does."""
        if (row, precision) not in self._processes:
            self._processes[row, precision] = self.enter_context(Process())
        shutil.rmtree(self.work.out(row, precision), ignore_errors=True)
        process = self._processes[row, precision]
        try:
            return process(self._deadline, _in_process, row, precision, self.work, task, arguments)
        finally:
            if self._once:
                self._processes.pop((row, precision)).shutdown()


def _in_process(row: int, precision: str, work: Workload, task: Callable[..., Any], arguments: Sequence[Any]) -> Any:
    return task(_loaded(row, precision, work), *arguments)


def evidence(run: Run, count: int) -> list[Masks]:
    """Return what a row finds in the first `count` images, in fp32 proper: without TF32."""
    import torch

    found: list[Masks] = []
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        run("metrics+annotations", count, found.append)
    torch.cuda.empty_cache()  # other rows share the GPU
    return found
