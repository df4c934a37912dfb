"""Write YOLO detection labels, upright and rotated: the boxes of the masks."""

from __future__ import annotations

from collections.abc import Sequence

from utils.boxes import box_of_points, corners_of_box, normalize, rotated_box_of_mask, xyxy_to_cxcywh
from utils.formats.yolo import YoloExporter, label_row
from utils.structures import Instances

Rows = tuple[list[str], dict[str, int], dict[str, list[float]]]

MSG_UPRIGHT = "rotated boxes larger than their image, written upright"


class YoloDetectExporter(YoloExporter):
    """Write a dataset for a detector: each row is `class_id cx cy w h` of the tight box around a mask."""

    def rows(self, instances: Instances, kept: Sequence[int]) -> Rows:
        """Format the boxes as shares of the image."""
        rows = []
        for i in kept:
            box = xyxy_to_cxcywh(normalize(instances.masks[i].box.astype(float), instances.size))
            rows.append(f"{instances.detections.class_ids[i]} {' '.join(f'{value:.6f}' for value in box.tolist())}\n")
        return rows, {}, {}


class YoloObbExporter(YoloExporter):
    """Write a dataset for a detector of rotated boxes: each row is a class id and four corners.

    The box is the smallest rectangle around a mask. Its corners may lie outside the image, which ultralytics takes as
    long as the rectangle is no larger than the image; a larger one is written upright, tight around the mask.
    """

    def rows(self, instances: Instances, kept: Sequence[int]) -> Rows:
        """Format the corners as shares of the image."""
        rows, upright = [], 0
        for i in kept:
            mask = instances.masks[i]
            corners = rotated_box_of_mask(mask.crop) + mask.offset
            around = box_of_points(corners)
            if (around[2:] - around[:2] > instances.size[::-1]).any():
                corners, upright = corners_of_box(mask.box.astype(float)), upright + 1
            rows.append(label_row(int(instances.detections.class_ids[i]), corners, instances.size))
        return rows, {MSG_UPRIGHT: upright}, {}
