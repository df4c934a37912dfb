"""The plain loop: what a user would write with YOLO, SAM2's predictor, matplotlib and PIL, without this project.

python -m benchmarks.plain --images A.jpg B.jpg ... --yolo yolo.pt --sam_config sam.yaml --sam sam.pt --out DIR
"""

from __future__ import annotations

import argparse
import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from sam2.sam2_image_predictor import SAM2ImagePredictor
    from ultralytics import YOLO


class Boxes(NamedTuple):
    """The boxes of one image: (N, 4) xyxy in its pixels, (N,) scores, (N,) class ids from 0."""

    xyxy: np.ndarray
    scores: np.ndarray
    class_ids: np.ndarray


Masks = tuple[np.ndarray, np.ndarray]
"""(N, H, W) masks of 0 and 1, in the type in which they come, and their (N,) scores."""


def load_predictor(config: Path, weights: Path | None, device: str) -> SAM2ImagePredictor:
    """The official predictor with the weights of a checkpoint, or with random ones."""
    import sam2  # noqa: F401  (initialises Hydra with its own folder; the config's takes its place for a moment)
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from sam2.build_sam import build_sam2
    from sam2.sam2_image_predictor import SAM2ImagePredictor

    hydra, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    with initialize_config_dir(str(config.parent.absolute()), version_base="1.2"):
        model = build_sam2(config.name, None if weights is None else str(weights), device=device)
    GlobalHydra.instance().hydra = hydra
    predictor = SAM2ImagePredictor(model)
    side = model.image_size // 4  # the predictor itself knows only 1024 px
    predictor._bb_feat_sizes = [(side, side), (side // 2, side // 2), (side // 4, side // 4)]
    return predictor


def read_image(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return np.array(Image.open(path).convert("RGB"))


def find_boxes(yolo: YOLO, images: Sequence[np.ndarray], **settings: Any) -> list[Boxes]:
    """What `YOLO.predict` finds in a list of RGB images."""
    results = yolo.predict([Image.fromarray(image) for image in images], verbose=False, **settings)
    found = [result.boxes.cpu().numpy() for result in results]
    return [Boxes(each.xyxy, each.conf, each.cls.astype(int)) for each in found]


def segment_batch(
    predictor: SAM2ImagePredictor, images: Sequence[np.ndarray], boxes: Sequence[np.ndarray]
) -> list[Masks]:
    """Masks of a batch by `set_image_batch` and `predict_batch`, which take no image without boxes."""
    masks = [_no_masks(image) for image in images]
    prompted = [i for i, each in enumerate(boxes) if len(each)]
    if prompted:
        predictor.set_image_batch([images[i] for i in prompted])
        found = predictor.predict_batch(box_batch=[boxes[i] for i in prompted], multimask_output=False)
        for i, each, scores in zip(prompted, found[0], found[1]):
            masks[i] = _in_order(each, scores)
    return masks


def segment_one(predictor: SAM2ImagePredictor, image: np.ndarray, boxes: np.ndarray) -> Masks:
    """Masks of one image by `set_image` and `predict`."""
    if not len(boxes):
        return _no_masks(image)
    predictor.set_image(image)
    masks, scores, _ = predictor.predict(box=boxes, multimask_output=False)
    return _in_order(masks, scores)


def _no_masks(image: np.ndarray) -> Masks:
    return np.zeros((0, *image.shape[:2]), np.float32), np.zeros(0, np.float32)


def _in_order(masks: np.ndarray, scores: np.ndarray) -> Masks:
    """The predictor gives (1, H, W) for one box and (N, 1, H, W) for more."""
    return masks.reshape(-1, *masks.shape[-2:]), scores.reshape(-1)


def label_map(masks: np.ndarray, scores: np.ndarray, class_ids: np.ndarray) -> np.ndarray:
    """(H, W) int64: class id + 1, or 0; the highest score wins an overlapped pixel, the first of equal ones."""
    labels = np.zeros(masks.shape[1:], np.int64)
    for i in sorted(range(len(masks)), key=lambda i: (scores[i], -i)):
        labels[masks[i] > 0] = class_ids[i] + 1
    return labels


def histogram(labels: np.ndarray, target: np.ndarray, num_labels: int) -> np.ndarray:
    """(num_labels, num_labels) int64 pixels by target (row) and prediction (column), void pixels (255) left out."""
    counted = target != 255
    pairs = num_labels * target[counted].astype(np.int64) + labels[counted]
    return np.bincount(pairs, minlength=num_labels**2).reshape(num_labels, num_labels)


def draw(path: Path, image: np.ndarray, masks: np.ndarray, boxes: Boxes, names: Sequence[str]) -> None:
    """Save the figure that SAM2's own notebook draws: a colour layer a mask, a rectangle a box."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    rng = np.random.default_rng(0)
    plt.figure(figsize=(10, 10))
    plt.imshow(image)
    axes = plt.gca()
    for mask, (x1, y1, x2, y2), score, class_id in zip(masks, *boxes):
        colour = np.append(rng.random(3), 0.6)
        axes.imshow(mask[:, :, None] * colour.reshape(1, 1, -1))
        axes.add_patch(plt.Rectangle((x1, y1), x2 - x1, y2 - y1, edgecolor="green", facecolor=(0, 0, 0, 0), lw=2))
        axes.text(x1, y1, f"{names[class_id]} {score:.2f}", color="white", backgroundcolor="green", fontsize=8)
    plt.axis("off")
    path.parent.mkdir(parents=True, exist_ok=True)
    plt.savefig(path, dpi=300, bbox_inches="tight", pad_inches=0)
    plt.close()


def annotate(path: Path, image_path: Path, masks: np.ndarray, boxes: Boxes, names: Sequence[str]) -> None:
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
    height, width = masks.shape[1:]
    document: dict[str, Any] = {"version": "5.5.0", "flags": {}, "shapes": shapes, "imageData": None}
    document |= {"imagePath": image_path.name, "imageHeight": height, "imageWidth": width}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=2))


def decode_labelme(path: Path) -> list[np.ndarray]:
    """The (H, W) bool masks of a labelme file's shapes, in order."""
    document = json.loads(path.read_text())
    masks = []
    for shape in document["shapes"]:
        (x1, y1), (x2, y2) = shape["points"]
        mask = np.zeros((document["imageHeight"], document["imageWidth"]), bool)
        crop = np.array(Image.open(io.BytesIO(base64.b64decode(shape["mask"])))) > 0
        mask[y1 : y2 + 1, x1 : x2 + 1] = crop
        masks.append(mask)
    return masks


def main(argv: Sequence[str] | None = None) -> None:
    """Overlays and labelme files of some images, batch by batch."""
    given = _parser().parse_args(argv)
    import torch
    from ultralytics import YOLO

    yolo, predictor = YOLO(given.yolo), load_predictor(given.sam_config, given.sam, given.device)
    for start in range(0, len(given.images), given.batch):
        paths = given.images[start : start + given.batch]
        images = [read_image(path) for path in paths]
        boxes = find_boxes(yolo, images, conf=given.conf, imgsz=given.imgsz, device=given.device)
        with torch.inference_mode():
            results = segment_batch(predictor, images, [each.xyxy for each in boxes])
        for path, image, each, (masks, _) in zip(paths, images, boxes, results):
            draw(given.out / "masks" / f"{path.stem}.jpg", image, masks, each, list(yolo.names.values()))
            annotate(given.out / "annotations" / f"{path.stem}.json", path, masks, each, list(yolo.names.values()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("yolo", "sam_config", "sam", "out"):
        parser.add_argument(f"--{option}", type=Path, required=True)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--conf", type=float, default=0.25)
    parser.add_argument("--imgsz", type=int, default=640)
    return parser


if __name__ == "__main__":
    main()
