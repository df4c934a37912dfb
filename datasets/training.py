"""The two splits that finetuning uses."""

from __future__ import annotations

from datasets.preflight import check_split
from datasets.voc import VocDataset
from utils.config import Config
from utils.distributed import Session
from utils.errors import UserError
from utils.problems import refuse


def open_training_splits(config: Config, *, by_clips: bool = False) -> tuple[VocDataset, VocDataset]:
    """The training and the validation split of `finetune`, their masks checked.

    Args:
        by_clips: take clips, whose objects must be told apart, and nothing but clips.

    Raises:
        UserError: `dataset.data_dir` or `dataset.classes` is not set, a split or its masks cannot be used, or the two
            splits share images; by clips, also if there are none, or a frame has no map of its objects.
    """
    dataset, names = config.dataset, (config.finetune.train_split, config.finetune.val_split)
    if dataset.data_dir is None or dataset.classes is None:
        raise UserError("finetuning needs dataset.data_dir and dataset.classes")
    session = Session()  # no finetune shares its reading
    train, val = (VocDataset(dataset.data_dir, name, dataset.label_map, by_clips=by_clips) for name in names)
    in_train = set(train.ids)
    shared = [image_id for image_id in val.ids if image_id in in_train]
    refuse(f"The splits {names[0]} and {names[1]} share images, so validation would tell nothing:", shared)
    for split in (train, val):
        check_split(split, len(dataset.classes), session)
        if by_clips:
            maps = map(split.objects_path, range(len(split)))
            missing = [str(path) for path in maps if not path.is_file()]
            refuse("Objects can be followed where SegmentationObject numbers them; there is no", missing)
    return train, val
