"""Write tasks of Label Studio (https://labelstud.io): a brush mask of each object, as predictions to be corrected."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
import numpy.typing as npt

from utils.errors import UserError
from utils.formats.base import Exported, Exporter, json_score, nonempty
from utils.io.encoding import encode_json
from utils.masks import Mask
from utils.structures import Instances, Sample

CONFIG = "labeling_config.xml"
"""What to paste into the labeling interface of a project."""

LENGTH_BITS = np.array([3, 4, 8, 16])
"""How many bits may hold the length of a run; which of them, a run says itself."""

MAX_RUN = 1 << 16

CHANNELS = 4
"""A brush mask is an RGBA image, each channel of which is 255 in the mask."""


def refuse_tasks(content: Any, path: Path) -> None:
    """Raise UserError if a file holds a task of Label Studio, or a list of them, as it exports JSON and JSON-MIN."""
    task = content[0] if isinstance(content, list) and content else content
    keys = task.keys() if isinstance(task, dict) else set()
    if ("data" in keys and keys & {"predictions", "annotations"}) or {"annotation_id", "lead_time"} <= keys:
        what = "a task of Label Studio, which is" if task is content else "tasks of Label Studio, which are"
        advice = "export COCO there; -a takes its masks, -p its boxes"
        raise UserError(f"{path}: {what} not read; {advice}")


class LabelStudioExporter(Exporter):
    """Write `<image_id>.json`, one task with its predictions, and `labeling_config.xml`.

    A task names its photo by the path that Label Studio serves where LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT is `/`.
    """

    def export(self, sample: Sample, instances: Instances) -> Exported:
        """Make the task of one image; empty masks are left out."""
        kept, losses = nonempty(instances)
        photo = self.settings.photo(sample).absolute().as_posix().lstrip("/")
        task = {
            "data": {"image": f"/data/local-files/?d={quote(photo.encode('utf-8', 'surrogateescape'))}"},
            "predictions": [{"model_version": "yolo-sam2", "result": [self._result(instances, i) for i in kept]}],
        }
        return Exported({f"{sample.image_id}.json": encode_json(task)}, shapes=len(kept), losses=losses)

    def _result(self, instances: Instances, i: int) -> dict[str, Any]:
        """Make the region of instance `i`; in a clip its track is in `meta`."""
        height, width = instances.size
        name = self.settings.names[instances.detections.class_ids[i]]
        region: dict[str, Any] = {
            "id": f"object{i + 1}",
            "type": "brushlabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {"format": "rle", "rle": brush_rle(instances.masks[i], instances.size), "brushlabels": [name]},
        }
        if (score := json_score(instances.detections.scores[i])) is not None:
            region["score"] = score
        if instances.track_ids is not None:
            region["meta"] = {"text": [f"track {instances.track_ids[i]}"]}
        return region

    def assemble(self, records: Iterable[tuple[str, Mapping[str, Any]]]) -> Mapping[str, bytes]:
        """Make the labeling interface: the image and a brush for each class."""
        labels = "".join(f"    <Label value={quoteattr(name)}/>\n" for name in self.settings.names)
        view = (
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n  <BrushLabels name="label" toName="image">\n'
        )
        return {CONFIG: f"{view}{labels}  </BrushLabels>\n</View>\n".encode("utf-8", "surrogateescape")}


def brush_rle(mask: Mask, size: tuple[int, int]) -> list[int]:
    """Encode a mask as Label Studio's brush does: an RGBA image, packed by https://thi.ng/rle-pack.

    After a head (number of values, bits of a value, the four widths of lengths) come the runs: 1 bit that it is one, 2
    bits that choose the width, the length less one, the value.

    Returns:
        bytes, each in 0..255.
    """
    pixels = mask.to_full(size).ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = CHANNELS * np.diff(starts, append=pixels.size)
    blocks = -(-lengths // MAX_RUN)  # a run is cut where no width can hold its length
    of_run, last = np.repeat(np.arange(len(starts)), blocks), np.cumsum(blocks) - 1
    block_lengths = np.full(len(of_run), MAX_RUN)
    block_lengths[last] = lengths - (blocks - 1) * MAX_RUN
    width = np.searchsorted(1 << LENGTH_BITS, block_lengths)
    value = np.repeat(pixels[starts[of_run]][:, None], 8, axis=1)
    bits = np.hstack([np.ones((len(width), 1)), _bits(width, 2), _bits(block_lengths - 1, 16), value]).astype(np.uint8)
    used = np.ones(bits.shape, bool)
    used[:, 3:19] = np.arange(16) >= 16 - LENGTH_BITS[width, None]
    head = [_bits(np.array([number]), count).ravel() for number, count in ((CHANNELS * pixels.size, 32), (7, 5))]
    return np.packbits(np.concatenate([*head, _bits(LENGTH_BITS - 1, 4).ravel(), bits[used]])).tolist()


def _bits(numbers: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.uint8]:
    """Return the (N, count) lowest bits of N numbers, the highest first."""
    return (numbers[:, None] >> np.arange(count - 1, -1, -1) & 1).astype(np.uint8)
