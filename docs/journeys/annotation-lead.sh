#!/usr/bin/env bash
# I have photos, and people who correct annotations: annotate, correct in labelme, go on, review, compare, export.
# Painted scenes and the demo's weights stand in for your photos and `-c configs/official.json`.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf journey/photos journey/lead journey/corrected journey/checked

# Your photos.
python -m datasets.scenes --seed 72 --count 3 --out journey/photos

# Annotate them: polygons, whose points can be dragged. The run prints the command that opens them in labelme.
python yolo_sam_auto_anno_generator.py -s journey/photos/JPEGImages --format labelme-polygon -o journey/lead

# Keep what the models found, to measure it later.
cp -r journey/lead/annotations/labelme-polygon journey/lead/found

# Correct one of them. In labelme you would; here Python removes a shape.
python - << 'PYTHON'
import json
from pathlib import Path

for path in sorted(Path("journey/lead/annotations/labelme-polygon").glob("*.json")):
    annotation = json.loads(path.read_text())
    if annotation["shapes"]:
        del annotation["shapes"][0]
        path.write_text(json.dumps(annotation, indent=2))
        break
PYTHON

# More photos come. The same command annotates only these, and keeps what was corrected.
python -m datasets.scenes --seed 73 --count 1 --split more --out journey/photos
python yolo_sam_auto_anno_generator.py -s journey/photos/JPEGImages --format labelme-polygon -o journey/lead

# Which ones should a person look at? No model runs for this.
python yolo_sam_auto_anno_generator.py -s journey/photos/JPEGImages --format labelme-polygon -o journey/lead \
    --set auto_mask.review_below=0.6
cat journey/lead/annotations/review.csv
ls journey/lead/annotations/review

# What did people change?
python yolo_sam_auto_anno_generator.py -s journey/photos/JPEGImages --format labelme-polygon -o journey/lead \
    --set auto_mask.review_below=0.6 --diff journey/lead/annotations/labelme-polygon
cat journey/lead/annotations/diff.csv

# Export the corrected annotations. No model runs for this, either.
python yolo_sam_auto_anno_generator.py -s journey/photos/JPEGImages -a journey/lead/annotations/labelme-polygon \
    --set dataset.classes=journey/lead/annotations/class_names.txt --format coco yolo voc -o journey/corrected
ls journey/corrected/annotations/*

# How good were the models on the first photos? The corrected annotations are the truth, and a VOC tree.
cp journey/photos/ImageSets/Segmentation/val.txt journey/corrected/annotations/voc/ImageSets/Segmentation/first.txt
python yolo_sam.py --data journey/corrected/annotations/voc --split first -a journey/lead/found \
    --set dataset.classes=journey/corrected/annotations/voc/class_names.txt -o journey/checked
