"""Which split each image of a run belongs to: that of its folder, or one that is drawn."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import accumulate
from pathlib import Path, PurePosixPath, PureWindowsPath

from utils.annotations.fingerprint import hash_of
from utils.cli.options import Options
from utils.config.values import split_of
from utils.engine import RunImages
from utils.files import read_text
from utils.formats.voc import split_lists

NO_SPLIT = "unassigned"
"""What images in no folder of a split are called together."""


def assign_splits(options: Options, images: RunImages) -> dict[str, str]:
    """Find the split of each image: that of its folder, or else one drawn by `auto_mask.splits`.

    Folders count where photos are read by `-s` and lie in folders of two splits or more; a single folder `train` may
    hold pictures of trains.

    Returns:
        splits by image id, in the order of the run; empty where there is only one.
    """
    wanted, found = options.config.auto_mask, dict[str, str]()
    if options.source:
        of_folder = cache(partial(_of_folder, options))
        if len(options.source) > 1:
            places = ((id_.rpartition("/")[0], os.path.dirname(path)) for id_, path in zip(images.ids, images.paths))
            found = {image_id: split for image_id, place in zip(images.ids, places) if (split := of_folder(*place))}
        else:  # images of one folder below the source lie in one folder, so one path of each is looked at
            firsts = dict[str, int]()
            for i, image_id in enumerate(images.ids):
                firsts.setdefault(image_id.rpartition("/")[0], i)
            by_folder = {folder: of_folder(folder, os.path.dirname(images.paths[i])) for folder, i in firsts.items()}
            every = images.ids if any(by_folder.values()) else ()
            found = {image_id: split for image_id in every if (split := by_folder[image_id.rpartition("/")[0]])}
    if len({*found.values()}) < 2:
        found = {}
    if not found and not wanted.splits:
        return {}
    rest = [image_id for image_id in images.ids if image_id not in found]
    if wanted.splits:
        group_of = _grouping(options, images)
        drawn = draw_splits(Counter(map(group_of, rest)), wanted.splits, wanted.split_seed)
        found |= {image_id: drawn[group_of(image_id)] for image_id in rest}
    else:
        found |= dict.fromkeys(rest, NO_SPLIT)
    return {image_id: found[image_id] for image_id in images.ids}


def draw_splits(groups: Mapping[str, int], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """Draw a split for each group, as a whole.

    Groups stand in the order of a hash, which is cut by the shares: the same groups and seed give the same splits on
    every machine, and groups that are added later move few of the others. A split that would stay empty takes the
    smallest group of the one with the most groups.

    Args:
        groups: number of images by group.
        shares: of the images, by split; they add up to 1.

    Returns:
        splits by group.
    """
    ends, names = [*accumulate(shares.values())], [*shares]
    total, before, drawn = sum(groups.values()), 0, dict[str, str]()
    for group in sorted(groups, key=lambda group: hash_of(f"{seed}:{group}".encode("utf-8", "surrogateescape"))):
        middle = (before + groups[group] / 2) / total
        drawn[group] = next((name for name, end in zip(names, ends) if middle < end), names[-1])
        before += groups[group]
    for name in names:
        counts = Counter(drawn.values())
        if not counts[name] and counts and (most := counts.most_common(1)[0])[1] > 1:
            drawn[min((group for group in drawn if drawn[group] == most[0]), key=groups.__getitem__)] = name
    return drawn


def split_lines(splits: Mapping[str, str], options: Options) -> list[str]:
    """Say how many images each split has, and where frames of a clip may lie in several."""
    if not splits:
        return []
    counts = Counter(splits.values())
    lines = [f"splits: {', '.join(f'{name} {count}' for name, count in counts.items())}"]
    if counts[NO_SPLIT]:
        first = next(image_id for image_id, split in splits.items() if split == NO_SPLIT)
        advice = "they are in no train, val or test folder; auto_mask.splits divides them"
        lines.append(f"splits: {NO_SPLIT} {counts[NO_SPLIT]}, such as {first}: {advice}")
    pairs = {(image_id.rpartition("/")[0], split) for image_id, split in splits.items()}
    splits_in = Counter(folder for folder, _ in pairs if folder)
    divided = sorted(folder for folder, count in splits_in.items() if count > 1)
    if divided and options.config.auto_mask.split_by == "image":
        advice = 'if they hold frames of clips, set auto_mask.split_by to "clip"'
        lines.append(
            f"splits: folders whose images are in several splits: {len(divided)}, such as {divided[0]}; {advice}"
        )
    return lines


def _of_folder(options: Options, below: str, folder: str) -> str | None:
    """Return the split of the images in a folder.

    It is what a folder of their ids (`below`) names, or else the source itself (`train/`, `train/images/`).
    """
    folders, path = PurePosixPath(below).parts, Path(folder)
    source = [path, *path.parents][len(folders)] if len(folders) <= len(path.parents) else path
    named = source.parts[-2:] if source in options.source else ()
    splits = map(split_of, (*folders, *reversed(named)))
    return next((split for split in splits if split), None)


def _grouping(options: Options, images: RunImages) -> Callable[[str], str]:
    """Return what gives the group of an image, none of which is divided."""
    by, clip_of = options.config.auto_mask.split_by, _clips(options, images)

    def group_of(image_id: str) -> str:
        folders = PurePosixPath(image_id).parts[:-1]
        if by == "folder" and folders:
            return f"{folders[0]}/"
        if image_id in clip_of:
            return clip_of[image_id]
        return f"{'/'.join(folders)}/" if by == "clip" and folders else image_id

    return group_of


def _clips(options: Options, images: RunImages) -> dict[str, str]:
    """Return the clip of each image that is known to be a frame: by `--video`, or by the tree's list of clips."""
    if options.video:
        return {images.ids[i]: f"{images.ids[unit[0]]}/" for unit in images.units for i in unit}
    root = options.config.dataset.data_dir
    if options.source or root is None:
        return {}
    listed = root / split_lists(options.config.dataset.split)[1]
    lines = read_text(listed).split("\n") if listed.is_file() else []
    clips = {PureWindowsPath(line.strip()).as_posix() for line in lines}
    parents = ((image_id, image_id.rpartition("/")[0]) for image_id in images.ids)
    return {image_id: f"{parent}/" for image_id, parent in parents if parent and parent in clips}
