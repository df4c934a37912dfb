"""Clips: folders of frames and video files, whose frames follow each other."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from datasets.folder import (
    Dataset,
    ExcludedFolders,
    duplicate_ids,
    empty_folders,
    files_of,
    frame_id,
    frame_ranges,
    natural_key,
    sample_errors,
)
from datasets.images import read_image
from datasets.video_file import VideoFile
from utils.errors import SampleError, UserError, refuse
from utils.io.image_files import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_image_name, is_unread_name, is_video_name
from utils.structures import Frame, Sample

Found = dict[tuple[str, Path], dict[str, list[Path]]]
"""A clip's name and its folder or video file -> its frames' ids and files, none for a video file."""


class Clips:
    """The frames of clips, one clip after the other; a sample knows its place.

    Attributes:
        ids, paths: those of the frames.
        units: the positions of each clip.
    """

    def __init__(self, frames: Dataset, clips: Mapping[str, range]) -> None:
        """Put frames together.

        Args:
            clips: the positions of each clip's frames, by its name, in order and without gaps.
        """
        self.ids, self.paths = frames.ids, frames.paths
        self.units = list(clips.values())
        self._frames, self._names = frames, list(clips)
        self._starts = [unit.start for unit in self.units]

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            SampleError: the frame is missing or cannot be used, or the clip has none.
        """
        if self.paths[index].is_dir():
            raise SampleError(self.ids[index], self.paths[index], "the folder holds no frames")
        clip = bisect_right(self._starts, index) - 1
        unit = self.units[clip]
        return replace(self._frames.load(index), frame=Frame(self._names[clip], index - unit.start, len(unit)))


class SameSizeFilter:
    """Holds the frames of each clip to the size of the first one that can be used; images by themselves pass."""

    def __init__(self) -> None:
        self._clip: str | None = None
        self._size = 0, 0

    def __call__(self, entry: Sample | SampleError) -> Sample | SampleError:
        """The sample, or what is wrong with it; frames come in their order."""
        if isinstance(entry, SampleError) or entry.frame is None:
            return entry
        if entry.frame.clip != self._clip:
            self._clip, self._size = entry.frame.clip, entry.size
        if entry.size == self._size:
            return entry
        return SampleError(entry.image_id, entry.path, unequal(entry.size, self._size))


def unequal(frame: tuple[int, int], first: tuple[int, int]) -> str:
    """What to say of a frame that has another (height, width) than the first one of its clip."""
    own, theirs = (f"{width}x{height}" for height, width in (frame, first))
    return f"the frame has {own} pixels, its clip's first one {theirs}"


class ClipFolder:
    """The frames of clips, in folders, with all folders below them, and in single files; samples have no target.

    A clip is a folder that holds images, or a video file. Names are paths relative to the source without suffix, or to
    the folder around it, if the source holds images itself: a clip has a name, by whichever folder it is found.

    Attributes:
        ids: of images, their names; of frames of video files, the file's, a slash and six digits from 0. Clips in the
            order given, those of one source in natural order, as are frames.
        paths: the image and video files, in the order of `ids`.
        clips: the positions of each clip, by its name. A folder that is empty, or a video that cannot be opened, has
            one.
        left_out: the folders of outputs below the sources, each with how many images and videos lie there.
        unread: photographs of kinds that are not read.
    """

    def __init__(self, sources: Sequence[Path], outputs: Iterable[Path] = ()) -> None:
        """Find the clips, and count the frames of video files.

        Args:
            outputs: folders that are passed over where they lie below a source.

        Raises:
            UserError: a source is missing or holds no clip, or two clips or frames have the same name.
        """
        passed = ExcludedFolders(outputs)
        found = _found(sources, passed)
        self.left_out = passed.counts(_is_frame_or_video)
        self.unread = [path for source in sources for _, path in files_of(source, is_unread_name, passed)]
        with ThreadPoolExecutor() as pool:
            videos = dict(pool.map(_opened, [place for _, place in found if is_video_name(place.name)]))
        frames = {clip: _frames(clip, place, files, videos) for (clip, place), files in found.items()}
        self.clips = frame_ranges({clip: len(ids) for clip, ids in frames.items()})
        every = list(chain.from_iterable(frames.values()))
        self.ids, self.paths = [image_id for image_id, _ in every], [path for _, path in every]
        self._videos = videos
        self._numbers = [number for ids in frames.values() for number in range(len(ids))]  # in their clips

    def __len__(self) -> int:
        return len(self.ids)

    def load(self, index: int) -> Sample:
        """Read one sample; those of a video file are best read in their order, and only by one thread.

        Raises:
            SampleError: the frame cannot be read.
        """
        image_id, path = self.ids[index], self.paths[index]
        with sample_errors(image_id, path):
            return Sample(image_id, path, self._pixels(index))

    def _pixels(self, index: int) -> np.ndarray:
        path = self.paths[index]
        if path not in self._videos:
            return read_image(path)
        video = self._videos[path]
        if isinstance(video, str):
            raise ValueError(video)
        return video.frame(self._numbers[index])


def _found(sources: Sequence[Path], passed: ExcludedFolders) -> Found:
    """The clips of all sources; UserError as `ClipFolder` says."""
    found: Found = {}
    for source in sources:
        for key, frames in sorted(_clips_of(source, passed).items(), key=lambda clip: natural_key(clip[0][0])):
            known = found.setdefault(key, {})
            for image_id, paths in frames.items():
                known[image_id] = list(dict.fromkeys([*known.get(image_id, []), *paths]))
    places, files = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
    for (name, place), frames in found.items():
        places[name].append(place)
        for image_id, paths in frames.items():
            files[image_id] += paths
    heading = "The name of a clip or frame is its path below the folder, without suffix, and must be its own:"
    refuse(heading, duplicate_ids(places) + duplicate_ids(files))
    return found


def _clips_of(source: Path, passed: ExcludedFolders) -> Found:
    """The clips of one folder, or of one file."""
    files = files_of(source, _is_frame_or_video, passed)
    own, clips = _own_name(files), Found()
    for below, path in files:
        name = own / below
        if is_video_name(path.name):
            clips[str(name), path] = {}
        else:
            clips.setdefault((str(name.parent), path.parent), {}).setdefault(str(name), []).append(path)
    if not clips:
        endings = (", ".join(sorted(suffixes)) for suffixes in (IMAGE_SUFFIXES, VIDEO_SUFFIXES))
        raise UserError("{}: no clip here; frames end in {}; videos in {}".format(source, *endings))
    empty = empty_folders(source, passed) if source.is_dir() else []
    return clips | {(str(own / folder.relative_to(source).as_posix()), folder): {} for folder in empty}


def _is_frame_or_video(name: str) -> bool:
    return is_image_name(name) or is_video_name(name)


def _own_name(files: Sequence[tuple[str, Path]]) -> PurePosixPath:
    """The name of a source that holds images itself, which all names in it begin with; nothing for another one."""
    for below, path in files:
        if "/" not in below and is_image_name(path.name):
            return PurePosixPath(os.path.basename(os.path.abspath(path.parent)))
    return PurePosixPath()


def _opened(path: Path) -> tuple[Path, VideoFile | str]:
    """The path and its video, or why it cannot be opened."""
    try:
        return path, VideoFile(path)
    except ValueError as error:
        return path, str(error)


def _frames(
    clip: str, place: Path, files: Mapping[str, list[Path]], videos: Mapping[Path, VideoFile | str]
) -> list[tuple[str, Path]]:
    """Ids and files of a clip's frames, at least one."""
    if files:
        return [(image_id, files[image_id][0]) for image_id in sorted(files, key=natural_key)]
    video = videos.get(place)
    return [(frame_id(clip, i), place) for i in range(video.count if isinstance(video, VideoFile) else 1)]
