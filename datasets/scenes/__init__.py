"""Painted scenes whose exact masks are known: five classes, any number of images and clips, from a seed.

    dice -> composition -> painting -> tree -> command

`composition` draws what lies where: a ground (`grounds`), objects (`silhouettes`, `things`) and `clutter`, rendered as
shaded sprites (`rendering`) out of contours (`geometry`) and surfaces (`textures`). `painting` lays the sprites over
each other (`layers`), labels what stays visible and photographs it (`camera`). `tree` writes a Pascal VOC tree.
"""

from __future__ import annotations

from datasets.scenes.command import main
from datasets.scenes.composition import Style
from datasets.scenes.painting import Scene, class_names, paint_clip, paint_scene
from datasets.scenes.tree import Order, write_split

__all__ = ["Order", "Scene", "Style", "class_names", "main", "paint_clip", "paint_scene", "write_split"]
