"""Ultralytics without what it does behind the user's back."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import tempfile
from pathlib import Path

import cv2
import PIL.Image

ENVIRONMENT = {
    "YOLO_OFFLINE": "true",  # no analytics, no crash reports, no question for newer versions
    "YOLO_AUTOINSTALL": "false",  # no pip at run time
    "YOLO_VERBOSE": "false",
    "ULTRALYTICS_SAFE_LOAD": "true",  # no code out of checkpoints
}
SERVICES = ("sync", "clearml", "comet", "dvc", "mlflow", "neptune", "raytune", "tensorboard", "wandb")
"""Settings that send to somebody or write beside the run; ultralytics drops those that its version does not know."""


@functools.cache
def quiet_ultralytics() -> None:
    """Import ultralytics so that it sends, fetches, installs and prints nothing, and leaves the user's home alone.

    It reads its environment and its settings when it is imported; so whoever imports it calls this first. The processes
    that its trainer starts inherit both.
    """
    folder = Path(tempfile.mkdtemp(prefix="ultralytics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    settings = folder / "Ultralytics" / "settings.json"
    settings.parent.mkdir()
    settings.write_text(json.dumps(dict.fromkeys(SERVICES, False)), "utf-8")
    os.environ.update(ENVIRONMENT, YOLO_CONFIG_DIR=str(folder))
    threads, of_children = cv2.getNumThreads(), os.environ.get("OMP_NUM_THREADS")
    import torch  # noqa: F401  # a torch that is loaded after ultralytics has a single thread: OMP_NUM_THREADS is set to 1
    from ultralytics.utils import patches

    cv2.setNumThreads(threads)  # importing it leaves OpenCV a single thread, too
    if of_children is None:  # and all processes that are started later
        os.environ.pop("OMP_NUM_THREADS", None)
    PIL.Image.open = patches._image_open  # its own would install a package for each file that PIL does not know
    from ultralytics.utils import nms

    # by default, images that are late lose their boxes
    nms.non_max_suppression = functools.partial(nms.non_max_suppression, max_time_img=float("inf"))
