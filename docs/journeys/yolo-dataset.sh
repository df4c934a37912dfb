#!/usr/bin/env bash
# I have a YOLO detection dataset, and want masks: the same images, splits and classes, with outlines in place of boxes.
# Painted scenes and the demo's SAM2 stand in for your dataset and `-c configs/official.json`; YOLO does not run.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf journey/drawn journey/boats journey/boats-masks

# Your dataset: images and labels in folders of three splits, and data.yaml with your classes.
python -m datasets.scenes --seed 74 --count 4 --out journey/drawn
python - << 'PYTHON'
import json
from pathlib import Path

painted, boats = Path("journey/drawn"), Path("journey/boats")
names = (painted / "class_names.txt").read_text().split()
labels = {}
for row in json.loads((painted / "prediction.json").read_text()):
    (x1, y1, x2, y2), class_id = row["bbox"], len(names) - 1 - row["category_id"]
    box = (x1 + x2) / 1280, (y1 + y2) / 720, (x2 - x1) / 640, (y2 - y1) / 360
    labels.setdefault(row["image_id"], []).append(" ".join(map(str, (class_id, *box))))
for split, path in zip(("train", "train", "val", "test"), sorted((painted / "JPEGImages").glob("*.jpg"))):
    for kind in ("images", "labels"):
        (boats / kind / split).mkdir(parents=True, exist_ok=True)
    path.rename(boats / "images" / split / path.name)
    if path.stem in labels:  # images without objects have no file
        (boats / "labels" / split / f"{path.stem}.txt").write_text("\n".join(labels[path.stem]))
splits = "".join(f"{split}: images/{split}\n" for split in ("train", "val", "test"))
(painted / "painted.json").rename(boats / "painted.json")  # by it the demo's weights know that this is painted
(boats / "data.yaml").write_text(f"path: .\n{splits}names: {json.dumps(names[::-1])}\n")
PYTHON

# Masks in place of boxes, and overlays to look at. With configs/official.json, leave dataset.classes out.
python yolo_sam_auto_anno_generator.py -s journey/boats/images -p journey/boats/labels --format yolo \
    --set dataset.classes=journey/boats/data.yaml --also visual -o journey/boats-masks

# The splits and classes are those of your dataset; `yolo segment train data=.../data.yaml` takes it.
cd journey/boats-masks/annotations/yolo
cat data.yaml train.txt val.txt test.txt
head -c 200 labels/train/*.txt
