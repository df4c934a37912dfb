"""Weights that are known by name: where they live here, and the SAM2 configs of the publishers' own."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def _sizes(family: str, sizes: str, *endings: str) -> list[str]:
    return [f"{family}{size}{ending}.pt" for ending in endings for size in sizes]


OFFICIAL_YOLO = (
    *(f"yolov3{kind}u.pt" for kind in ("", "-spp", "-tiny")),
    *_sizes("yolov5", "nsmlx", "u", "6u"),
    *_sizes("yolov8", "nsmlx", "", "-seg", "-pose", "-obb", "-oiv7"),
    *_sizes("yolov8", "smlx", "-world", "-worldv2"),
    *_sizes("yolov9", "tsmce", ""),
    *_sizes("yolov9", "ce", "-seg"),
    *_sizes("yolov10", "nsmblx", ""),
    *_sizes("yolo11", "nsmlx", "", "-seg", "-pose", "-obb"),
    *_sizes("yolo12", "nsmlx", ""),
    *_sizes("yolo26", "nsmlx", "", "-seg", "-pose", "-obb"),
    *_sizes("rtdetr-", "lx", ""),
)
"""The detectors that Ultralytics publishes and that say what they detect."""

OFFICIAL_SAM = {
    "sam2.1_hiera_tiny.pt": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1_hiera_small.pt": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1_hiera_base_plus.pt": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2.1_hiera_large.pt": "configs/sam2.1/sam2.1_hiera_l.yaml",
    "sam2.1_hiera_l.pt": "configs/sam2.1/sam2.1_hiera_l.yaml",
    "sam2_hiera_tiny.pt": "configs/sam2/sam2_hiera_t.yaml",
    "sam2_hiera_small.pt": "configs/sam2/sam2_hiera_s.yaml",
    "sam2_hiera_base_plus.pt": "configs/sam2/sam2_hiera_b+.yaml",
    "sam2_hiera_large.pt": "configs/sam2/sam2_hiera_l.yaml",
}
"""Weight file -> the name of its architecture inside the sam2 package; `sam2.1_hiera_l.pt` is the large one, too."""

YOLO_ADDRESS = "https://github.com/ultralytics/assets/releases/download/v8.4.0/"
SAM_ADDRESS = "https://dl.fbaipublicfiles.com/segment_anything_2/"

# Each stands in public code that checks downloads from the same address by it: SAM 2.1's in three projects, SAM 2.0's
# in 3D Slicer's SegmentWithSAM, those of YOLO as GitHub shows them beside the release's files.
SHA256 = {
    "sam2.1_hiera_tiny.pt": "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69",
    "sam2.1_hiera_small.pt": "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38",
    "sam2.1_hiera_base_plus.pt": "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5",
    "sam2.1_hiera_large.pt": "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318",
    "sam2_hiera_tiny.pt": "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125",
    "sam2_hiera_small.pt": "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3",
    "sam2_hiera_base_plus.pt": "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071",
    "sam2_hiera_large.pt": "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b",
    "yolov8n.pt": "f59b3d833e2ff32e194b5bb8e08d211dc7c5bdf144b90d2c8412c47ccfc83b36",
    "yolov8s.pt": "1f47a78bf100391c2a140b7ac73a1caae18c32779be7d310658112f7ac9aa78a",
    "yolov8m.pt": "5d4a90cdc7a21786cc59cd19778e9eafff836df9e2da32524737c7ee6efe4fe5",
    "yolov8l.pt": "64c9115303f6a25575f82200d1b22ec409fa6bd7d08d0313884fc20d919478cd",
    "yolov8x.pt": "3df4ada6b4dad6d657868f2fdf7faecfb34dcfccf3a25c4b82079064718524c8",
    "yolo11n.pt": "0ebbc80d4a7680d14987a577cd21342b65ecfd94632bd9a8da63ae6417644ee1",
    "yolo11s.pt": "85a76fe86dd8afe384648546b56a7a78580c7cb7b404fc595f97969322d502d5",
    "yolo11m.pt": "d5ffc1a674953a08e11a8d21e022781b1b23a19b730afc309290bd9fb5305b95",
    "yolo26n.pt": "9b09cc8bf347f0fc8a5f7657480587f25db09b34bf33b0652110fb03a8ad4fef",
}
"""The digests of the files that are published; of the others, length and inner checksums are checked."""

DEMO_WEIGHTS = (
    REPOSITORY / "yolo" / "yolov8" / "demo.pt",
    REPOSITORY / "sam" / "sam2.1" / "sam2.1_hiera_demo.pt",
)
"""What `config.json` names: trained on painted scenes only."""

PAINTED = "painted.json"
"""File by which a tree is known as painted; it says how."""


def home_of(name: str) -> Path | None:
    """Where an official weight file of this name (without a folder) belongs, or None if the name is not official."""
    if name in OFFICIAL_YOLO:
        family = re.match(r"yolov?\d+|rtdetr", name)
        assert family is not None, name
        return REPOSITORY / "yolo" / family.group() / name
    return REPOSITORY / "sam" / name.split("_")[0] / name if name in OFFICIAL_SAM else None


def published_name(name: str) -> str:
    """The name under which the publisher offers an official file."""
    return {"sam2.1_hiera_l.pt": "sam2.1_hiera_large.pt"}.get(name, name)


def address_of(name: str) -> str | None:
    """Where the publisher offers an official weight file, or None if the name is not official."""
    if name in OFFICIAL_YOLO:
        return YOLO_ADDRESS + name
    release = "092824/" if name.startswith("sam2.1") else "072824/"
    return SAM_ADDRESS + release + published_name(name) if name in OFFICIAL_SAM else None
