"""labelme JSON with polygon shapes, for tools that do not know mask shapes, such as X-AnyLabeling."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from utils.exporters.exporter import EMPTY, POLYGON_IOU, Exported, ExportSettings, counted, not_empty
from utils.exporters.labelme import labelme_file, labelme_shape
from utils.exporters.review import review_flags
from utils.polygons import as_labelme_draws, iou, pixel_outlines
from utils.structures import Instances, Sample


class LabelmePolygonExporter:
    """A polygon for each part of a mask, holes cut out; the parts of one mask have a `group_id` of their own."""

    def __init__(self, settings: ExportSettings) -> None:
        self.settings = settings

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """`<image_id>.json`; how near the polygons come is measured on them as labelme draws them."""
        shapes: list[dict[str, Any]] = []
        kept, ious = not_empty(instances), []
        flags = review_flags(instances, self.settings.review_below)
        for i in kept:
            crop = instances.masks[i].crop
            parts = pixel_outlines(crop, self.settings.tolerance)
            shapes += self._shapes(instances, i, parts, flags[i])
            ious.append(iou(as_labelme_draws(parts, crop.shape), crop))
        return Exported(
            {f"{sample.image_id}.json": labelme_file(sample, shapes, self.settings)},
            shapes=len(shapes),
            losses=counted({EMPTY: len(instances) - len(kept)}),
            measures={POLYGON_IOU: ious} if ious else {},
        )

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """Nothing: every image has all in its own file."""
        return {}

    def _shapes(
        self, instances: Instances, i: int, parts: list[np.ndarray], flags: Mapping[str, bool]
    ) -> list[dict[str, Any]]:
        """The polygons of instance `i`; they need a group where there are several, or where it has a track."""
        mask, tracks = instances.masks[i], instances.track_ids
        group = int(tracks[i]) if tracks is not None else i if len(parts) > 1 else None
        polygons = [(part + mask.corner).tolist() for part in parts]
        names = self.settings.names
        return [labelme_shape(instances, i, names, "polygon", points, group, flags) for points in polygons]
