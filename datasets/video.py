"""Clips: folders of frames, and video files."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path, PurePosixPath

from datasets.folder import (
    Dataset,
    ExcludedFolders,
    duplicate_ids,
    empty_folders,
    find_files,
    frame_id,
    frame_ranges,
    natural_key,
    sample_errors,
)
from datasets.video_file import VideoFile
from utils.errors import SampleError, UserError, refuse
from utils.io.image_files import (
    ANIMATION_SUFFIXES,
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    has_suffix,
    is_animation,
    is_image_name,
    is_unread_name,
    is_video_name,
)
from utils.io.photos import read_image, size_mismatch_message
from utils.structures import Frame, Sample

ClipFiles = dict[tuple[str, Path], dict[str, list[Path]]]
"""A clip's name and its folder or video file -> its frames' ids and files, empty for a video file."""


class Clips(Dataset):
    """The frames of clips, one clip after the other; samples know their frame.

    Attributes:
        ids, paths: image ids and files of the frames.
        units: the positions of each clip.
    """

    def __init__(self, frames: Dataset, clips: Mapping[str, range]) -> None:
        """Group frames; `clips` are the positions of each clip's frames by its name, in order and without gaps."""
        self.ids, self.paths = frames.ids, frames.paths
        self.units = list(clips.values())
        self._frames, self._names = frames, list(clips)
        self._starts = [unit.start for unit in self.units]

    def load(self, index: int) -> Sample:
        """See Dataset; a clip without frames cannot be used, either."""
        if self.paths[index].is_dir():
            raise SampleError(self.ids[index], self.paths[index], "the folder holds no frames")
        clip = bisect_right(self._starts, index) - 1
        unit = self.units[clip]
        return replace(self._frames.load(index), frame=Frame(self._names[clip], index - unit.start, len(unit)))


class SameSizeFilter:
    """Refuses frames of another size than the first usable one of their clip; single images pass."""

    def __init__(self) -> None:
        self._clip: str | None = None
        self._size = 0, 0

    def __call__(self, entry: Sample | SampleError) -> Sample | SampleError:
        """Return the sample, or an error in its place; to be called in the order of the frames."""
        if isinstance(entry, SampleError) or entry.frame is None:
            return entry
        if entry.frame.clip != self._clip:
            self._clip, self._size = entry.frame.clip, entry.size
        if entry.size == self._size:
            return entry
        return SampleError(entry.image_id, entry.path, frame_size_message(entry.size, self._size))


def frame_size_message(size: tuple[int, int], first: tuple[int, int]) -> str:
    """Describe a frame with another (height, width) than the first one of its clip."""
    return size_mismatch_message("the frame", size, "its clip's first one", first)


class ClipFolder(Dataset):
    """The frames of clips in folders, including all folders below them, and in single files; without ground truth.

    A clip is a folder that contains images, or a video file. Its name is its path relative to the source, without
    suffix. If the source itself contains images, names begin with its own name, so a clip has the same name whether it
    or its parent folder is the source.

    Attributes:
        ids: of images, their names; of frames of video files, the clip's name, a slash and six digits from 0. Clips
            are in the order of the sources, within one source in natural order, as are frames.
        paths: image and video files, in the order of `ids`.
        clips: the positions of each clip, by its name. An empty folder, or a video that cannot be opened, has one.
        left_out: number of images and videos in each excluded folder below the sources.
        unread: photographs of formats that are not supported, and what is no file.
        animations: images of which only the first frame is read.
    """

    def __init__(self, sources: Sequence[Path], outputs: Iterable[Path] = ()) -> None:
        """Find the clips, and count the frames of video files.

        Args:
            outputs: folders to exclude below the sources.

        Raises:
            UserError: a source does not exist or contains no clip, or two clips or frames have the same name.
        """
        excluded = ExcludedFolders(outputs)
        found = _find_clips(sources, excluded)
        self.left_out = excluded.counts(_is_frame_or_video)
        unread = [Path(path) for source in sources for _, path in find_files(source, is_unread_name, excluded)]
        self.unread = [*unread, *excluded.special]
        paths = [place for _, place in found if is_video_name(place.name)]
        with ThreadPoolExecutor() as pool:
            self._videos = dict(zip(paths, pool.map(_open_video, paths)))
        frames = {clip: self._frames_of(clip, place, files) for (clip, place), files in found.items()}
        self.clips = frame_ranges({clip: len(files) for clip, files in frames.items()})
        every = list(chain.from_iterable(frames.values()))
        self.ids = [image_id for image_id, _ in every]
        self.paths = [path for _, path in every]
        perhaps = [path for path in self.paths if has_suffix(path.name, ANIMATION_SUFFIXES)]
        with ThreadPoolExecutor() as pool:
            self.animations = [path for path, moves in zip(perhaps, pool.map(is_animation, perhaps)) if moves]
        self._indices = [index for files in frames.values() for index in range(len(files))]

    def _frames_of(self, clip: str, place: Path, files: Mapping[str, list[Path]]) -> list[tuple[str, Path]]:
        """List ids and files of a clip's frames, at least one."""
        if files:
            return [(image_id, files[image_id][0]) for image_id in sorted(files, key=natural_key)]
        video = self._videos.get(place)
        return [(frame_id(clip, i), place) for i in range(video.count if isinstance(video, VideoFile) else 1)]

    def load(self, index: int) -> Sample:
        """See Dataset; the frames of a video file are read in order and by one thread."""
        image_id, path = self.ids[index], self.paths[index]
        with sample_errors(image_id, path):
            video = self._videos.get(path)
            if isinstance(video, str):
                raise ValueError(video)
            return Sample(image_id, path, video.frame(self._indices[index]) if video else read_image(path))


def _find_clips(sources: Sequence[Path], excluded: ExcludedFolders) -> ClipFiles:
    """Find the clips of all sources; UserError as `ClipFolder` says."""
    found: ClipFiles = {}
    for source in sources:
        for key, frames in sorted(_clips_in(source, excluded).items(), key=lambda clip: natural_key(clip[0][0])):
            known = found.setdefault(key, {})
            for image_id, paths in frames.items():
                known[image_id] = list(dict.fromkeys([*known.get(image_id, []), *paths]))
    places, files = defaultdict[str, list[Path]](list), defaultdict[str, list[Path]](list)
    for (name, place), frames in found.items():
        places[name].append(place)
        for image_id, paths in frames.items():
            files[image_id] += paths
    heading = "The name of a clip or frame is its path below the folder, without suffix, and must be unique:"
    refuse(heading, duplicate_ids(places) + duplicate_ids(files))
    return found


def _clips_in(source: Path, excluded: ExcludedFolders) -> ClipFiles:
    """Find the clips of one source."""
    files = [(below, Path(path)) for below, path in find_files(source, _is_frame_or_video, excluded)]
    # A source that contains images is a clip itself; then all names begin with its own.
    own = [path for below, path in files if "/" not in below and is_image_name(path.name)]
    prefix = PurePosixPath(os.path.basename(os.path.abspath(own[0].parent)) if own else "")
    clips: ClipFiles = {}
    for below, path in files:
        name = prefix / below
        if is_video_name(path.name):
            clips[str(name), path] = {}
        else:
            clips.setdefault((str(name.parent), path.parent), {}).setdefault(str(name), []).append(path)
    if not clips:
        frames, videos = (", ".join(sorted(suffixes)) for suffixes in (IMAGE_SUFFIXES, VIDEO_SUFFIXES))
        raise UserError(f"{source}: no clip here; frames end in {frames}; videos in {videos}")
    empty = empty_folders(source, excluded) if source.is_dir() else []
    return clips | {(str(prefix / folder.relative_to(source).as_posix()), folder): {} for folder in empty}


def _is_frame_or_video(name: str) -> bool:
    return is_image_name(name) or is_video_name(name)


def _open_video(path: Path) -> VideoFile | str:
    """Open a video, or return why it cannot be opened."""
    try:
        return VideoFile(path)
    except ValueError as error:
        return str(error)
