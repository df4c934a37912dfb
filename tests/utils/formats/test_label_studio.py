"""The masks are unpacked by label-studio-sdk's own converter where it is installed, else by the format's definition."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from utils.formats.base import ExportSettings
from utils.formats.label_studio import CONFIG, LabelStudioExporter, brush_rle
from utils.masks import Mask
from utils.structures import Instances, Sample

NAMES = ("car", 'air "plane" & <1>', "汽车")


def unpack(packed: list[int]) -> np.ndarray:
    """Unpack bit by bit, after https://thi.ng/rle-pack."""
    text, place = "".join(f"{byte:08b}" for byte in packed), 0

    def read(count: int) -> int:
        nonlocal place
        place += count
        return int(text[place - count : place], 2)

    values, word, widths = np.zeros(read(32), np.uint8), read(5) + 1, [read(4) + 1 for _ in range(4)]
    done = 0
    while done < len(values):
        is_run, length = read(1), read(widths[read(2)]) + 1
        values[done : done + length] = read(word) if is_run else [read(word) for _ in range(length)]
        done += length
    assert len(packed) == -(-place // 8)
    return values


@pytest.fixture(params=["definition", "label-studio-sdk"])
def decode(request: pytest.FixtureRequest) -> Callable[[list[int]], np.ndarray]:
    if request.param == "definition":
        return unpack
    return pytest.importorskip("label_studio_sdk.converter.brush", reason="it is not installed").decode_rle


@pytest.mark.parametrize("kind", ["noise", "all", "one pixel", "stripes", "long runs"])
def test_a_brush_mask_has_the_masks_pixels_in_all_channels(kind: str, decode: Callable) -> None:
    size = (300, 400) if kind == "long runs" else (23, 37)
    full = np.zeros(size, bool)
    if kind == "noise":
        full = np.random.default_rng(0).random(size) < 0.4
    elif kind == "stripes":
        full[:, ::2] = True
    elif kind == "one pixel":
        full[-1, -1] = True
    else:
        full[: size[0] // 2 if kind == "long runs" else None] = True
    values = decode(brush_rle(Mask.from_array(full), size)).reshape(*size, 4)
    for channel in range(4):
        np.testing.assert_array_equal(values[..., channel], full * 255)


def test_a_task_names_photo_labels_and_size(tmp_path: Path, scene: tuple[Sample, Instances], write: Callable) -> None:
    sample, instances = scene
    (made,) = write(LabelStudioExporter(ExportSettings(tmp_path, NAMES)), tmp_path, [scene])
    task = json.loads((tmp_path / "clip" / "a.json").read_bytes())
    link = urlsplit(task["data"]["image"])
    assert link.path == "/data/local-files/" and Path("/", *parse_qs(link.query)["d"]) == sample.path
    (prediction,) = task["predictions"]
    kept = [i for i, mask in enumerate(instances.masks) if mask.crop.size]
    assert made.shapes == len(prediction["result"]) == len(kept)
    assert len({region["id"] for region in prediction["result"]}) == len(kept)
    config = ElementTree.parse(tmp_path / CONFIG).getroot()
    labels = [label.get("value") for label in config.iter("Label")]
    assert labels == list(NAMES)
    (brush,), (image,) = config.iter("BrushLabels"), config.iter("Image")
    for i, region in zip(kept, prediction["result"]):
        assert (region["original_height"], region["original_width"]) == sample.size
        assert region["value"]["brushlabels"] == [NAMES[instances.detections.class_ids[i]]]
        assert (region["from_name"], region["to_name"]) == (brush.get("name"), image.get("name"))
        assert image.get("value") == "$image" and brush.get("toName") == image.get("name")
        values = unpack(region["value"]["rle"]).reshape(*sample.size, 4)
        np.testing.assert_array_equal(values[..., 3] > 0, instances.masks[i].to_full(sample.size))
