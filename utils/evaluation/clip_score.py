"""What was measured over a clip, in one piece."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from utils.metrics import mean_of_known

MEASURES = ("J_and_F", "J", "F")


@dataclass(frozen=True)
class ClipObject:
    """A true object through a clip.

    Attributes:
        number: in SegmentationObject; None where a class stands for one object.
        class_id: that of most of its pixels.
        track: the track id of its track; None where no track is its, or where classes stand for tracks.
        frames: how many frames show it.
        j, f: means over all frames of the clip, from 0 to 1.
        id_switches: None where objects are not told apart.
    """

    number: int | None
    class_id: int
    track: int | None
    frames: int
    j: float
    f: float
    id_switches: int | None

    @property
    def measures(self) -> dict[str, float]:
        """J, F and their mean, by the names that files give them."""
        return dict(zip(MEASURES, ((self.j + self.f) / 2, self.j, self.f)))


@dataclass(frozen=True)
class ClipScore:
    """A clip.

    Attributes:
        name: of the clip.
        frames: those that count.
        told_apart: whether the dataset tells the objects of a class apart; if not, a class stands for one object.
        left_out: those in which objects are not told apart, although they are in others of the clip.
        objects: in the order of their numbers.
        tracks: found ones; classes where objects are not told apart.
        surplus: of these, those that are no object's.
        untracked: found objects without a track id, each of which counts as a track of its own.
    """

    name: str
    frames: int
    left_out: int
    told_apart: bool
    objects: tuple[ClipObject, ...]
    tracks: int
    surplus: int
    untracked: int

    @property
    def measures(self) -> dict[str, float]:
        """The means of the objects, by the names that files give them; NaN without any."""
        return mean_measures([each.measures for each in self.objects])

    @property
    def id_switches(self) -> int | None:
        """Of all objects; None where they are not told apart."""
        return sum(each.id_switches or 0 for each in self.objects) if self.told_apart else None


@dataclass(frozen=True)
class AllClips:
    """All clips of an evaluation, at least one.

    Attributes:
        clips: in the order of their names.
    """

    clips: tuple[ClipScore, ...]

    @property
    def measures(self) -> dict[str, float]:
        """The means of the clips, by the names that files give them; NaN where no clip has an object."""
        return mean_measures([each.measures for each in self.clips])

    @property
    def id_switches(self) -> int | None:
        """Of all clips whose objects are told apart; None where there is none."""
        known = [each.id_switches for each in self.clips if each.id_switches is not None]
        return sum(known) if known else None

    def total(self, count: str) -> int:
        """The sum of a count of the clips, by its attribute's name."""
        return sum(getattr(each, count) for each in self.clips)

    def worst_first(self) -> list[ClipScore]:
        """The clips, those of the lowest mean of J and F first; those without objects last."""
        return sorted(self.clips, key=lambda each: np.nan_to_num(each.measures["J_and_F"], nan=np.inf))


def mean_measures(measures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each measure, what is NaN left out."""
    return {name: float(mean_of_known(np.array([each[name] for each in measures]))) for name in MEASURES}
