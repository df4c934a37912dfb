"""What the category ids of a file mean, whether its rows have boxes (`-p`) or masks (`-a`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from utils.classes import COCO_CLASSES, COCO_IDS, canonical, match_classes
from utils.errors import UserError

CategoryOffset: TypeAlias = Literal["0", "1", "coco91"]
"""The id of the first class, or `coco91`: COCO's own ids, with gaps."""

NO_CLASS, UNKNOWN_ID = -1, -2
"""In place of a class id: the run has no such class, or no name has the category id."""


class Categories:
    """The category ids of a file, which index a list of names, and the classes of the run that they mean.

    Args:
        ids: (R,) int64, of each row.
        names: class names of the run.
        own: the names that the ids index, where the file or the command line has them.
    """

    def __init__(self, ids: npt.NDArray[np.int64], names: Sequence[str], own: tuple[str, ...] | None = None) -> None:
        self.ids, self.names, self._own = ids, tuple(names), own

    def listed(self, offset: CategoryOffset) -> tuple[str, ...]:
        """Return the names that category ids index: those that were given, else COCO's or the run's."""
        return self._own or (COCO_CLASSES if offset == "coco91" else self.names)

    def are_cocos(self) -> bool:
        """Tell whether the names are COCO's, so that ids may be COCO's own even if they fit from 0 or 1, too."""
        return [*map(canonical, self.listed("0"))] == [*COCO_CLASSES]

    def of_run(self, offset: CategoryOffset) -> dict[int, int]:
        """Map positions in the list of names to class ids of the run."""
        if (listed := self.listed(offset)) == self.names:  # two may mean the same, but each is the run's own
            return {i: i for i in range(len(listed))}
        return match_classes(listed, self.names)

    def positions(self, offset: CategoryOffset) -> npt.NDArray[np.int64]:
        """Return the (R,) positions of the category ids in the list of names; its length for ids outside it."""
        count = len(self.listed(offset))
        if offset == "coco91":
            positions = np.where(np.isin(self.ids, COCO_IDS), np.searchsorted(COCO_IDS, self.ids), count)
        else:
            positions = self.ids - int(offset)
        return np.where((positions >= 0) & (positions < count), positions, count)

    def class_ids(self, offset: CategoryOffset) -> npt.NDArray[np.int64]:
        """Return the (R,) class ids of the run, UNKNOWN_ID or NO_CLASS."""
        class_of = np.full(len(self.listed(offset)) + 1, NO_CLASS)
        for position, class_id in self.of_run(offset).items():
            class_of[position] = class_id
        class_of[-1] = UNKNOWN_ID
        return class_of[self.positions(offset)]

    def misfits(self, offset: CategoryOffset) -> npt.NDArray[np.bool_]:
        """Return (R,) bool: which rows contradict an offset that the command line did not set."""
        class_ids = self.class_ids(offset)
        # COCO's 80 names are a guess unless somebody named them; then an id of a class that the run lacks refutes them.
        return class_ids < 0 if offset == "coco91" and self._own is None else class_ids == UNKNOWN_ID


RESULTS_ADVICE = "; where the ids are those of an instances file, name a folder that holds both files"


def decided_class_ids(
    path: Path, ids: Sequence[int], names: Sequence[str], offset: str | None
) -> npt.NDArray[np.int64]:
    """Return the class id of each category id; UserError if no beginning of the ids fits, or several do.

    None is expected before the others, as of prompt files, which few programs write: any model's results come here.
    """
    in_64_bits = np.array(ids, object).clip(-1, 2**31).astype(np.int64)  # those beyond fit no list of names either
    categories, offsets = Categories(in_64_bits, names), get_args(CategoryOffset)
    fitting = [each for each in offsets if offset in (None, each) and not categories.misfits(each).any()]
    if len(fitting) > 1 and not categories.are_cocos():
        fitting = [each for each in fitting if each != "coco91"]
    if not fitting:
        outside = f"category ids {min(ids)} to {max(ids)} do not fit the {len(names)} classes"
        said = f" with --category-offset {offset}" if offset else ""
        raise UserError(f"{path}: {outside}{said}{RESULTS_ADVICE}")
    if len(fitting) > 1 and ids:
        choices = " or ".join(fitting)
        raise UserError(f"{path}: category ids may begin at {choices}: give --category-offset {choices}")
    return categories.class_ids(fitting[0])
