"""The names of the files that evaluations write to `evaluator.save_dir`."""

from __future__ import annotations

METRICS = "metrics.json"
PER_IMAGE = "per_image.csv"
CONFUSION_MATRIX = "confusion_matrix.csv"
PER_CLIP = "per_clip.csv"
REPORT = "report.html"
ATTRIBUTION = "attribution.json"
GAIN = "gain.json"

EVERY = frozenset({METRICS, PER_IMAGE, CONFUSION_MATRIX, PER_CLIP, REPORT, ATTRIBUTION, GAIN})
"""All of them; which ones a run writes depends on its options."""
