#!/usr/bin/env bash
# I have masks of my own, and want models that know my classes: train both, and see what it gained.
# Painted scenes and the demo's weights stand in for your dataset and `-c configs/official.json`. The numbers of steps
# only show how it goes; leave them out, and the defaults count.
set -euo pipefail
cd "$(dirname "$0")/../.."
rm -rf journey/own journey/before journey/after journey/yolo* journey/sam*

# Your dataset: a Pascal VOC tree with two splits.
python -m datasets.scenes --seed 76 --count 4 --split train --out journey/own
python -m datasets.scenes --seed 77 --count 2 --split val --out journey/own

# Train YOLO, then SAM2. Each scores the weights it starts with, and keeps the better ones.
python -m yolo.finetune --data journey/own --set finetune.output=journey/yolo.pt \
    --set finetune.yolo.epochs=1 --set finetune.yolo.imgsz=256 --set finetune.yolo.batch=2
python -m sam.finetune --data journey/own --set finetune.output=journey/sam.pt \
    --set finetune.sam.steps=3 --set finetune.sam.image_size=256 --set finetune.sam.batch_size=1
head -3 journey/yolo.csv journey/sam.csv

# Use them.
python yolo_sam.py --data journey/own --yolo-weights journey/yolo.pt --sam-weights journey/sam.pt -o journey/after
