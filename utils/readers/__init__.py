"""Annotation files as other tools write them, read into plain values; nothing is decided or dropped here.

`coco.py`, `labelme.py` and `yolo.py` know what their format says and where; prompt files and the readers of the
exporters build on them.
"""
