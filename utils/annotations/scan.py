"""Find which images of a run are finished: in all outputs at once, since all depend on the same photos."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from utils.annotations.fingerprint import RunFingerprint
from utils.annotations.manifest import Manifest
from utils.distributed import Session
from utils.engine import RunImages
from utils.errors import refuse
from utils.io.terminal import warn
from utils.structures import FilePaths

CHUNK = 1000
"""Images that a thread looks at before it takes others."""

SLOW = 10
"""A disk is slow if its answers take so many times as long as the processor takes to ask."""


def scan(
    manifests: Sequence[Manifest],
    fingerprint: RunFingerprint,
    images: RunImages,
    session: Session,
    part: Sequence[int] | None = None,
    shard: str = "",
) -> None:
    """Find the status of each image's files in every output; each process looks at a share of the images.

    Args:
        part: the positions of the images to look at; None: all.
        shard: a text for the names of this process's files, in which the shards of a run differ.

    Raises:
        UserError: a link leads out of the folder where files are to be written.
    """
    mine = session.own_share(range(len(images.ids)) if part is None else part)
    ids, files = images.ids, images.paths.files if isinstance(images.paths, FilePaths) else [*map(str, images.paths)]
    of_folder = {ids[i].rpartition("/")[0]: i for i in reversed(mine)}
    firsts = [(ids[i], files[i]) for i in of_folder.values()]  # the first image of each folder
    for manifest in manifests:
        links = dict.fromkeys(link for image_id, file in firsts for link in manifest.links(image_id, Path(file)))
        lines = [f"{folder}: {aim}" for folder, aim in links]
        refuse(f"{manifest.name}: no file is written through a link; remove it:", session.gather(lines))
        manifest.open_index(ids, files, f"{session.rank}{shard}")
    begun = [manifest for manifest in manifests if not manifest.is_blank(firsts)]

    def note_keys(positions: Sequence[int]) -> None:
        asked = [(ids[i], files[i], fingerprint.times(ids[i], files[i])) for i in positions]
        for manifest in begun:
            manifest.keys[positions] = [manifest.key(*image) for image in asked]

    with ThreadPoolExecutor() as pool:
        _for_each(_chunks(mine if begun else ()), note_keys, pool)
        for manifest in begun:
            list(pool.map(manifest.read, _chunks(manifest.look_up(mine))))  # a list waits, and raises what they raise
    for manifest in manifests:
        if session.world_size > 1:
            for positions, keys, statuses in session.gather([(mine, manifest.keys[mine], manifest.statuses[mine])]):
                manifest.keys[positions], manifest.statuses[positions] = keys, statuses
        advice = "the file is kept: correct it there, or remove it to have it written anew"
        warn(f"{problem}; {advice}" for problem in session.gather([*manifest.broken.values()]))


def _chunks(positions: Sequence[int]) -> list[Sequence[int]]:
    return [positions[start : start + CHUNK] for start in range(0, len(positions), CHUNK)]


def _for_each(chunks: Sequence[Sequence[int]], work: Callable[[Sequence[int]], None], pool: ThreadPoolExecutor) -> None:
    """Do work that mostly asks the disk: in threads if that is slow, such as one of a network, which answers many at a
    time. Where it answers at once, threads would spend a quarter of the processor's time on each other.
    """
    began, began_busy = time.perf_counter(), time.thread_time()
    for chunk in chunks[-1:]:  # the checks of a run have read the first ones just now
        work(chunk)
    is_slow = time.perf_counter() - began > SLOW * (time.thread_time() - began_busy)
    for _ in (pool.map if is_slow else map)(work, chunks[:-1]):
        pass
