"""Random weights in the publishers' form, set so that what comes out has the size of real results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.plain import load_predictor
from models.ultralytics_quiet import quiet_ultralytics

COVERAGE = 0.25
"""Share of the pixels, of all masks together, that random masks are set to cover."""
SPREAD = 10.0
"""Standard deviation that mask logits are scaled to: far from zero almost everywhere, as those of trained models."""
BISECTIONS = 14
SEED = 0


def write_sam(config: Path, weights: Path, image: np.ndarray, boxes: np.ndarray) -> None:
    """Write a checkpoint of the architecture whose masks are two-valued blobs.

    Every mask is the product of a token and of upscaled features that a GELU left positive on the whole. So scaling
    the layer that makes the token scales the logits, and lowering its bias lowers them everywhere.

    Args:
        config: the architecture.
        weights: where the checkpoint goes.
        image: (H, W, 3) uint8 RGB, a picture of the kind that will be measured.
        boxes: (N, 4) float32 xyxy in its pixels, N > 0.
    """
    import torch

    torch.manual_seed(SEED)
    predictor = load_predictor(config, None, "cpu")
    heads = [mlp.layers[-1] for mlp in predictor.model.sam_mask_decoder.output_hypernetworks_mlps]
    predictor.set_image(image)

    def logits() -> np.ndarray:
        return predictor.predict(box=boxes, multimask_output=False, return_logits=True)[0]

    with torch.no_grad():
        scale = SPREAD / max(float(logits().std()), 1e-6)
        for head in heads:
            head.weight *= scale
            head.bias *= scale
        biases = [head.bias.clone() for head in heads]
        low, high = -4 * SPREAD, 4 * SPREAD
        for _ in range(BISECTIONS):
            shift = (low + high) / 2
            for head, bias in zip(heads, biases):
                head.bias.copy_(bias - shift)
            low, high = (shift, high) if (logits() > 0).mean() > COVERAGE else (low, shift)
    torch.save({"model": predictor.model.state_dict()}, weights)


def write_yolo(architecture: str, names: Sequence[str], images: Sequence[np.ndarray], imgsz: int, path: Path) -> None:
    """Write a checkpoint of a YOLO architecture that finds some boxes of every class in most images.

    Args:
        architecture: a yaml file, or the name of one that ultralytics knows, such as `yolov8n.yaml`.
        images: (H, W, 3) uint8 RGB pictures of the kind that will be measured; batch norm learns from them.
        imgsz: side of the square that they are squeezed into for that.
    """
    quiet_ultralytics()
    import cv2
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(SEED)
    model = DetectionModel(architecture, nc=len(names), verbose=False)
    model.names = dict(enumerate(names))
    squares = np.stack([cv2.resize(image, (imgsz, imgsz)) for image in images])
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
    torch.save({"model": model.half(), "train_args": {}}, path)
