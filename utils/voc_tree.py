"""Where the files of a Pascal VOC tree lie, as paths below its folder."""

from __future__ import annotations

CLASS_NAMES = "class_names.txt"
"""One class a line, in the order of the class ids; not VOC's own."""


def split_lists(split: str) -> tuple[str, str]:
    """The list of a split's images and that of its clips, which are folders of frames."""
    return f"ImageSets/Segmentation/{split}.txt", f"ImageSets/Segmentation/{split}_videos.txt"


def map_files(image_id: str) -> tuple[str, str]:
    """The label map of an image and the map of its object numbers."""
    return f"SegmentationClass/{image_id}.png", f"SegmentationObject/{image_id}.png"
