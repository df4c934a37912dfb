"""The two splits of a finetuning, checked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from datasets.preflight import check_split, missing_warnings
from datasets.video import frame_size_message
from datasets.voc import VocDataset
from utils.config import Config
from utils.cores import usable_cores
from utils.distributed import Session
from utils.errors import SampleError, UserError, refuse
from utils.io.image_files import image_size, set_largest_image
from utils.io.terminal import warn


def open_training_splits(
    config: Config, *, by_clips: bool = False, val_images: int | None = None
) -> tuple[VocDataset, VocDataset]:
    """Open the training and the validation split of `finetune` with ground truth, and check them.

    Args:
        by_clips: take clips only, whose objects must have ids.
        val_images: how many images of the validation split are used, from its start; None: all.

    Raises:
        UserError: `dataset.data_dir` or `dataset.classes` is not set; a split or its masks cannot be used or show no
            object; or the splits share images. By clips also: there are none, a frame has no map of its objects, or the
            frames of a clip differ in size.
    """
    set_largest_image(config.dataloader.max_megapixels)
    dataset, names = config.dataset, (config.finetune.train_split, config.finetune.val_split)
    if dataset.data_dir is None or dataset.classes is None:
        raise UserError("finetuning needs dataset.data_dir and dataset.classes")
    if dataset.class_map:
        warn(["dataset.class_map: training learns the dataset's own classes; the runs that use the result map them"])
    session = Session()  # each process of a distributed training checks everything itself
    ground_truth = {"with_gt_masks": True, "with_gt_instances": True}
    train, val = (
        VocDataset(dataset.data_dir, name, dataset.label_map, dataset.classes, **ground_truth, by_clips=by_clips)
        for name in names
    )
    in_train = set(train.ids)
    shared = [image_id for image_id in val.ids if image_id in in_train]
    refuse(f"The splits {names[0]} and {names[1]} share images, so validation would tell nothing:", shared)
    for split in (train, val):
        check_split(split, len(dataset.classes), session)
        warn(missing_warnings(split))
        if by_clips:
            maps = map(split.objects_path, range(len(split)))
            missing = [str(path) for path in maps if not path.is_file()]
            refuse("Tracking needs object ids, but these files in SegmentationObject are missing:", missing)
            refuse("The frames of a clip must be of one size:", list(_size_mismatches(split)))
    _check_objects(train, range(len(train)))
    _check_objects(val, range(min(val_images or len(val), len(val))))
    return train, val


SHARED_MEMORY, ENOUGH = "/dev/shm", 256 * 2**20
"""Where loader processes leave their batches, and the bytes there below which one may wait for room for ever."""


def loader_workers(config: Config) -> int:
    """Return how many processes load examples: `dataloader.num_workers`, but no more than there are cores for them.

    None does where there is too little shared memory, as Docker gives by default; the main process then loads them.
    """
    if os.path.isdir(SHARED_MEMORY) and (free := shutil.disk_usage(SHARED_MEMORY).free) < ENOUGH:
        room = f"{SHARED_MEMORY} has room for {free // 2**20} MiB only"
        warn([f"{room}: examples are loaded by the main process; with docker run --shm-size=1g it is faster"])
        return 0
    return min(config.dataloader.num_workers, usable_cores())


def _check_objects(split: VocDataset, used: range) -> None:
    """Raise UserError if no readable one of the used images has an object."""
    for index in used:
        try:
            if split.load(index).gt_instances:
                return
        except SampleError:
            continue
    count = "" if len(used) == len(split) else f"first {len(used)} "
    raise UserError(f"{split.root}: none of the {count}images of the split {split.split} shows an object")


def _size_mismatches(split: VocDataset) -> Iterator[str]:
    """Describe the readable frames that differ in size from the first one of their clip."""
    for clip in split.clips.values():
        first: tuple[int, int] | None = None
        for path in (split.paths[index] for index in clip):
            try:
                size = image_size(path)
            except ValueError:
                continue
            first = first or size
            if size != first:
                yield f"{path}: {frame_size_message(size, first)}"
