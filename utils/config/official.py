"""Weights that are known by name: where they live here, and the SAM2 configs of the publishers' own."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

OFFICIAL_YOLO = ("yolov8n.pt", "yolov8s.pt", "yolov8m.pt", "yolov8l.pt", "yolov8x.pt")
OFFICIAL_SAM = {
    "sam2.1_hiera_tiny.pt": "configs/sam2.1/sam2.1_hiera_t.yaml",
    "sam2.1_hiera_small.pt": "configs/sam2.1/sam2.1_hiera_s.yaml",
    "sam2.1_hiera_base_plus.pt": "configs/sam2.1/sam2.1_hiera_b+.yaml",
    "sam2.1_hiera_large.pt": "configs/sam2.1/sam2.1_hiera_l.yaml",
    "sam2.1_hiera_l.pt": "configs/sam2.1/sam2.1_hiera_l.yaml",
}
"""Weight file -> the name of its architecture inside the sam2 package; the last two are one model."""

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
        return REPOSITORY / "yolo" / "yolov8" / name
    return REPOSITORY / "sam" / "sam2.1" / name if name in OFFICIAL_SAM else None
