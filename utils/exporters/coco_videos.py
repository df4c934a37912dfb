"""What COCO files of clips hold beyond COCO, as TAO has it: https://github.com/TAO-Dataset/tao."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from utils.structures import Sample


def frame_record(sample: Sample) -> dict[str, Any]:
    """What `Videos` must know of a frame, in JSON's types; empty for an image by itself."""
    frame = sample.frame
    return {} if frame is None else {"frame": {"clip": frame.clip, "index": frame.index}}


class Videos:
    """Gives clips and tracks their ids in the file, which count from 1 in the order in which they appear.

    The id of a track counts from 1 in its clip until then; here each has one of its own.
    """

    def __init__(self) -> None:
        self._videos: dict[str, int] = {}
        self._tracks: dict[tuple[int, int], dict[str, int]] = {}

    def of_image(self, record: Mapping[str, Any]) -> dict[str, int]:
        """What the image of a record has beyond COCO; nothing where it is in no clip."""
        if "frame" not in record:
            return {}
        video_id = self._videos.setdefault(record["frame"]["clip"], len(self._videos) + 1)
        return {"video_id": video_id, "frame_index": record["frame"]["index"]}

    def of_annotation(self, image: Mapping[str, int], annotation: Mapping[str, Any]) -> dict[str, int]:
        """The ids that an annotation of a clip has; the class of a track is that of its last annotation.

        Args:
            image: what its image has.
            annotation: in COCO's form, with the `track_id` that it has in its clip, if it has one.
        """
        if not image:
            return {}
        video_id = {"video_id": image["video_id"]}
        if "track_id" not in annotation:
            return video_id
        known = self._tracks.setdefault((image["video_id"], annotation["track_id"]), {"id": len(self._tracks) + 1})
        known |= {"category_id": annotation["category_id"], **video_id}
        return {"track_id": known["id"], **video_id}

    def lists(self) -> dict[str, list[dict[str, Any]]]:
        """The lists of videos and tracks; none without clips."""
        if not self._videos:
            return {}
        videos = [{"id": video_id, "name": clip} for clip, video_id in self._videos.items()]
        return {"videos": videos, "tracks": list(self._tracks.values())}
