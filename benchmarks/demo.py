"""Whole processes on the embedded demo: overlays and annotations by this project and by the plain loop, in turn.

python -m benchmarks.demo                    on two CPU cores some 15 minutes
python -m benchmarks.demo --repeats 5 --json outputs/demo.json

Also measured: the time until the first overlay is written, and what `--help` takes.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks import harness
from benchmarks.harness import Boxes, Masks, Pixels, median_and_spread
from datasets.voc import VocDataset
from models.ultralytics_quiet import ENVIRONMENT
from utils.config import load_config
from utils.config.official import REPOSITORY

CONFIG = REPOSITORY / "config.json"
LOOP = "plain loop (row 1), fp32"
KINDS = ("overlays", "annotations")
Run = dict[str, float]


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; return 0, or 1 if the systems did not write equally many files."""
    parser = harness.parser_of("demo", __doc__)
    parser.add_argument("--repeats", type=int, default=3, help="(default: %(default)s)")
    given = parser.parse_args(argv)
    project = [REPOSITORY / "yolo_sam_visual.py", "-c", CONFIG, "--also", "annotate", "--device", given.device]
    project += ["--set=predictor.save_dir=masks", "--set=auto_mask.save_dir=annotations", *given.project]
    plain = ["-c", f"from benchmarks import demo; demo.plain_loop({given.device!r})"]
    commands = {"this project": project, "this project, fp32": [*project, "--precision=fp32"], LOOP: plain}
    runs, helps = defaultdict[str, list[Run]](list), defaultdict[str, list[Run]](list)
    for _ in range(given.repeats):
        for name, command in commands.items():
            runs[name].append(timed(command, given.folder))
            harness.say(f"{name}: {runs[name][-1]}")
        for script in ("yolo_sam.py", "yolo_sam_visual.py", "yolo_sam_auto_anno_generator.py"):
            helps[script].append(timed([REPOSITORY / script, "--help"], given.folder))
    gate, seconds = same_files(runs), {name: [run["s"] for run in each] for name, each in {**runs, **helps}.items()}
    lines = []
    for name, each in runs.items():
        middle, spread = median_and_spread(seconds[name])
        line = {"process": name, "s": middle, "spread": spread, "x row 1": median(seconds[LOOP]) / middle}
        line |= {key: median(run[key] for run in each) for key in ("s to first overlay", "CPU s")}
        lines.append({**line, "peak MiB": max(run["peak MiB"] for run in each), "runs": len(each)})
    texts = [{"--help of": name, "median s": median(seconds[name]), "slowest s": max(seconds[name])} for name in helps]
    print(harness.heading(), gate, "", harness.markdown(lines), "", harness.markdown(texts), sep="\n")
    harness.write_json(given.json, gates=[asdict(gate)], runs=runs, help_seconds=helps)
    return 0 if gate.passed else 1


def timed(arguments: Sequence[object], parent: Path | None) -> Run:
    """Run Python in a new folder; measure it, and count the files that it writes to `masks` and `annotations`."""
    with harness.folder_of(parent) as folder:
        environment = {**os.environ, **ENVIRONMENT, "YOLO_CONFIG_DIR": folder, "PYTHONPATH": str(REPOSITORY)}
        began, clock = time.perf_counter(), time.time()
        command = [sys.executable, *map(str, arguments)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds, process.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args)
        overlays = [path.stat().st_mtime - clock for path in Path(folder, "masks").rglob("*.jpg")]
        annotations = [path for path in Path(folder, "annotations").rglob("*.json") if "/." not in str(path)]
    run = {"s": seconds, "s to first overlay": min(overlays, default=0.0), "CPU s": usage.ru_utime + usage.ru_stime}
    return {**run, "peak MiB": usage.ru_maxrss // 1024, "overlays": len(overlays), "annotations": len(annotations)}


def plain_loop(device: str) -> None:
    """Make overlays and labelme files of the demo's images as one would without this project, batch by batch."""
    import torch
    from ultralytics import YOLO

    config = load_config(CONFIG)
    arch, dataset, size = config.arch, config.dataset, config.dataloader.batch_size
    assert arch.sam_config and dataset.data_dir
    yolo, predictor = YOLO(arch.yolo_weights), harness.load_predictor(arch.sam_config, arch.sam_weights, device)
    names, paths = [*yolo.names.values()], VocDataset(dataset.data_dir, dataset.split).paths
    for batch in (paths[start : start + size] for start in range(0, len(paths), size)):
        images = [read_image(path) for path in batch]
        boxes = find_boxes(yolo, images, conf=dataset.conf, imgsz=config.detector.imgsz, device=device)
        with torch.inference_mode():
            found = segment(predictor, images, boxes, one_by_one=False)
        for path, image, each, masks in zip(batch, images, boxes, found):
            draw_figure(Path("masks", f"{path.stem}.jpg"), image, masks.masks, each, names)
            write_labelme(Path("annotations", f"{path.stem}.json"), path, masks.masks, each, names)


def read_image(path: Path) -> Pixels:
    """Read an image as (H, W, 3) RGB."""
    return np.array(Image.open(path).convert("RGB"))


def find_boxes(yolo: Any, images: Sequence[Pixels], **settings: Any) -> list[Boxes]:
    """Find the boxes of RGB images with `YOLO.predict`."""
    results = yolo.predict([Image.fromarray(image) for image in images], verbose=False, **settings)
    found = [result.boxes.cpu().numpy() for result in results]
    return [Boxes(each.xyxy, each.conf, each.cls.astype(int)) for each in found]


def segment(predictor: Any, images: Sequence[Pixels], boxes: Sequence[Boxes], *, one_by_one: bool) -> list[Masks]:
    """Segment images with `set_image_batch` and `predict_batch`, or one by one with `set_image` and `predict`."""
    prompted = [i for i, each in enumerate(boxes) if len(each.xyxy)]  # an image without boxes is refused
    found: dict[int, tuple] = {i: (np.zeros((0, 1, *image.shape[:2])), np.zeros(0)) for i, image in enumerate(images)}
    if one_by_one:
        for i in prompted:
            predictor.set_image(images[i])
            found[i] = predictor.predict(box=boxes[i].xyxy, multimask_output=False)[:2]
    elif prompted:
        predictor.set_image_batch([images[i] for i in prompted])
        results = predictor.predict_batch(box_batch=[boxes[i].xyxy for i in prompted], multimask_output=False)
        found |= zip(prompted, zip(*results[:2]))
    # (1, H, W) for one box, (N, 1, H, W) for more
    return [Masks(m.reshape(-1, *m.shape[-2:]), s.reshape(-1), boxes[i].class_ids) for i, (m, s) in found.items()]


def draw_figure(path: Path, image: Pixels, masks: npt.NDArray[Any], boxes: Boxes, names: Sequence[str]) -> None:
    """Save the figure that SAM2's own notebook draws: a color layer per mask, a rectangle per box."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(0)
    plt.figure(figsize=(10, 10))
    plt.imshow(image)
    axes = plt.gca()
    for mask, (x1, y1, x2, y2), score, class_id in zip(masks, *boxes):
        axes.imshow(mask[:, :, None] * np.append(rng.random(3), 0.6).reshape(1, 1, -1))
        axes.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, edgecolor="green", facecolor=(0, 0, 0, 0), lw=2))
        axes.text(x1, y1, f"{names[class_id]} {score:.2f}", color="white", backgroundcolor="green", fontsize=8)
    plt.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    plt.savefig(path, dpi=300, bbox_inches="tight", pad_inches=0)
    plt.close()


def write_labelme(path: Path, image: Path, masks: npt.NDArray[Any], boxes: Boxes, names: Sequence[str]) -> None:
    """Save a labelme file with a mask shape for each mask that is not empty."""
    shapes = []
    for mask, class_id, score in zip(masks, boxes.class_ids, boxes.scores):
        ys, xs = np.where(mask > 0)
        if len(ys):
            x1, y1, x2, y2 = int(xs.min()), int(ys.min()), int(xs.max()), int(ys.max())
            crop = io.BytesIO()
            Image.fromarray((mask[y1 : y2 + 1, x1 : x2 + 1] > 0).astype(np.uint8) * 255).save(crop, "PNG")
            shape = {"label": names[class_id], "points": [[x1, y1], [x2, y2]], "shape_type": "mask", "flags": {}}
            encoded = base64.b64encode(crop.getvalue()).decode()
            shapes.append({**shape, "group_id": None, "description": "", "mask": encoded, "score": float(score)})
    document: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None}
    document |= {"imagePath": image.name, "imageHeight": masks.shape[1], "imageWidth": masks.shape[2]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2))


def same_files(runs: Mapping[str, Sequence[Run]]) -> harness.Gate:
    """Check that all runs wrote an overlay and an annotation for each image."""
    counts = {f"{name}: {kind}": min(run[kind] for run in each) for name, each in runs.items() for kind in KINDS}
    written = {run[kind] for each in runs.values() for run in each for kind in KINDS}
    return harness.Gate("every system wrote both files of every image", len(written) == 1 and written != {0}, counts)


if __name__ == "__main__":
    sys.exit(main())
