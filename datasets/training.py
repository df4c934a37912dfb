"""The two splits that finetuning uses."""

from __future__ import annotations

from collections.abc import Iterator

from datasets.preflight import check_split
from datasets.video import unequal
from datasets.voc import VocDataset
from utils.config import Config
from utils.distributed import Session
from utils.errors import SampleError, UserError, refuse
from utils.io.image_files import image_size


def open_training_splits(
    config: Config, *, by_clips: bool = False, val_images: int | None = None
) -> tuple[VocDataset, VocDataset]:
    """The training and the validation split of `finetune`, with targets and true instances, their masks checked.

    Args:
        by_clips: take clips, whose objects must be told apart, and nothing but clips.
        val_images: how many images of the validation split are used, from its start; None: all.

    Raises:
        UserError: `dataset.data_dir` or `dataset.classes` is not set, a split or its masks cannot be used or show no
            object, or the two splits share images; by clips, also if there are none, a frame has no map of its objects,
            or the frames of a clip are not of one size.
    """
    dataset, names = config.dataset, (config.finetune.train_split, config.finetune.val_split)
    if dataset.data_dir is None or dataset.classes is None:
        raise UserError("finetuning needs dataset.data_dir and dataset.classes")
    session = Session()  # no finetune shares its reading
    train, val = (VocDataset(dataset.data_dir, name, dataset.label_map, True, True, by_clips) for name in names)
    in_train = set(train.ids)
    shared = [image_id for image_id in val.ids if image_id in in_train]
    refuse(f"The splits {names[0]} and {names[1]} share images, so validation would tell nothing:", shared)
    for split in (train, val):
        check_split(split, len(dataset.classes), session)
        if by_clips:
            maps = map(split.objects_path, range(len(split)))
            missing = [str(path) for path in maps if not path.is_file()]
            refuse("Objects can be followed where SegmentationObject numbers them; there is no", missing)
            refuse("The frames of a clip must be of one size:", list(_odd_frames(split)))
    _check_objects(train, range(len(train)))
    _check_objects(val, range(min(val_images or len(val), len(val))))
    return train, val


def _check_objects(split: VocDataset, used: range) -> None:
    """Raises UserError where no image that is used shows an object; those that cannot be read show none."""
    for index in used:
        try:
            truth = split.load(index).gt_instances
        except SampleError:
            continue
        if truth is not None and len(truth):
            return
    count = "" if len(used) == len(split) else f"first {len(used)} "
    raise UserError(f"{split.root}: none of the {count}images of the split {split.split} shows an object")


def _odd_frames(split: VocDataset) -> Iterator[str]:
    """The frames that are of another size than the first one of their clip; those that cannot be read are none."""
    for clip in split.clips.values():
        first: tuple[int, int] | None = None
        for path in (split.paths[index] for index in clip):
            try:
                size = image_size(path)
            except ValueError:
                continue
            first = first or size
            if size != first:
                yield f"{path}: {unequal(size, first)}"
