#!/usr/bin/env bash
# I have a video, and want its objects followed: a film with overlays, and annotations of every frame.
# A painted clip and the demo's weights stand in for your film and `-c configs/official.json`.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf journey/clips journey/film

# Your film.
python -m datasets.scenes --seed 75 --count 0 --clips 1 --frames 6 --out journey/clips
python - << 'PYTHON'
from pathlib import Path

import cv2

frames = sorted(Path("journey/clips/JPEGImages").rglob("*.jpg"))
film = cv2.VideoWriter("journey/clips/film.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10, (640, 360))
for frame in frames:
    film.write(cv2.imread(str(frame)))
film.release()
PYTHON

# One object, one id, from its first frame to its last; boxes are looked for on every third frame.
python yolo_sam_visual.py --video -s journey/clips/film.mp4 --set predictor.format=mp4 --keyframe-interval 3 \
    --also annotate --format labelme-polygon coco -o journey/film
ls journey/film/masks journey/film/annotations/labelme-polygon/* journey/film/annotations/coco
