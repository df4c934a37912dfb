"""What was measured over a clip, in one piece."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from utils.metrics import mean_of_known


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
    def j_and_f(self) -> float:
        """The mean of J and F."""
        return (self.j + self.f) / 2


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
    def j(self) -> float:
        """Mean J of the objects; NaN without any."""
        return float(mean_of_known(np.array([each.j for each in self.objects])))

    @property
    def f(self) -> float:
        """Mean F of the objects; NaN without any."""
        return float(mean_of_known(np.array([each.f for each in self.objects])))

    @property
    def j_and_f(self) -> float:
        """The mean of J and F; NaN without objects."""
        return (self.j + self.f) / 2

    @property
    def id_switches(self) -> int | None:
        """Of all objects; None where they are not told apart."""
        return sum(each.id_switches or 0 for each in self.objects) if self.told_apart else None
