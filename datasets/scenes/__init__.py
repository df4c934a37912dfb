"""Paint scenes whose exact masks are known, images and clips of five classes, from a seed: the embedded demo.

`scene` lays objects (`objects`) and a background (`textures`) over each other, rendered as shaded sprites (`rendering`)
out of contours (`geometry`); `split` writes a Pascal VOC tree. All random numbers come from `rng`.
"""

from __future__ import annotations

from utils.cli.guard import packages_needed

with packages_needed():  # here, since `python -m` imports this file first
    from datasets.scenes.scene import Scene, class_names, paint_clip, paint_scene
    from datasets.scenes.split import SplitSpec, main, write_split

__all__ = ["Scene", "SplitSpec", "class_names", "main", "paint_clip", "paint_scene", "write_split"]
