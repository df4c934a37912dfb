#!/usr/bin/env bash
# I have a labelled dataset, and want to know how good the masks are: evaluate, find out why, change something, compare.
# Painted scenes and the demo's weights stand in for your data and `-c configs/official.json`.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf journey/voc journey/first journey/second

# Your dataset: a Pascal VOC tree, with a list of your own classes.
python -m datasets.scenes --seed 71 --count 3 --out journey/voc

# Evaluate it. --attribute says which model the missing mIoU is due to; the annotations are kept for a comparison.
python yolo_sam.py --data journey/voc --set dataset.classes=journey/voc/class_names.txt \
    --attribute --also annotate -o journey/first

# The worst images first; open journey/first/evaluation/report.html for pictures of them.
head -4 journey/first/evaluation/per_image.csv
cat journey/first/evaluation/per_class.tex

# Change something, and compare with the first run.
python yolo_sam.py --data journey/voc --set dataset.classes=journey/voc/class_names.txt \
    --imgsz 320 --diff journey/first/annotations -o journey/second
ls journey/second/evaluation/report.html journey/second/evaluation/comparison.json
