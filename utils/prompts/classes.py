"""Which class of the run each row of a prompt file is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from utils.classes import canonical, match_classes
from utils.errors import UserError
from utils.prompts.rows import CategoryOffset, Given, Rows
from utils.readers.coco import COCO_CLASSES, COCO_IDS

UNLISTED, LACKING = -2, -1
"""In place of a class id: the category id is none of the list's, or the run lacks the class."""


class Categories:
    """The category ids of a file, which index a list of names, and the classes of the run that they mean.

    Args:
        rows: the file.
        given: names that the command line gives in place of the run's, if any.
        names: class names of the run.
    """

    def __init__(self, rows: Rows, given: Given, names: Sequence[str]) -> None:
        self._rows, self._names = rows, tuple(names)
        self._own = rows.class_names or given.class_names

    def listed(self, offset: CategoryOffset) -> tuple[str, ...]:
        """The names that the category ids index: the file's own, else those given, else COCO's or the run's."""
        return self._own or (COCO_CLASSES if offset == "coco91" else self._names)

    def are_cocos(self) -> bool:
        """Whether the names are COCO's 80 in their order, which Ultralytics numbers in two ways."""
        return [*map(canonical, self.listed("0"))] == [*COCO_CLASSES]

    def class_ids(self, offset: CategoryOffset) -> np.ndarray:
        """(R,) int64 class ids of the run, UNLISTED or LACKING."""
        listed, positions = self.listed(offset), self._positions(offset)
        table = np.full(len(listed) + 1, LACKING)
        same = listed == self._names
        for source, target in enumerate(range(len(listed))) if same else match_classes(listed, self._names).items():
            table[source] = target
        table[-1] = UNLISTED
        return table[positions]

    def misfits(self, offset: CategoryOffset) -> np.ndarray:
        """(R,) bool, whether a row speaks against an offset that nobody gave."""
        class_ids = self.class_ids(offset)
        # Somebody who says nothing of COCO means no class by it that the run lacks.
        return class_ids < 0 if offset == "coco91" and self._own is None else class_ids == UNLISTED

    def range_of(self, offset: CategoryOffset) -> str:
        """The category ids that there are, for messages."""
        count = len(self.listed(offset))
        if offset == "coco91":
            return "COCO's category ids"
        return f"the {count} classes, which have the ids {offset} to {count - 1 + int(offset)}"

    def check(self, offset: CategoryOffset) -> np.ndarray:
        """The class ids, as above, but none UNLISTED.

        Raises:
            UserError: a category id is none of the list's, or the list and the run share no class.
        """
        class_ids = self.class_ids(offset)
        if (class_ids == UNLISTED).any():
            first = self.first(class_ids == UNLISTED, offset)
            raise UserError(f"{self._rows.path}: {first}; what settles it: --category-offset, --prompt-names")
        if len(class_ids) and not match_classes(self.listed(offset), self._names):
            there, here = ", ".join(self.listed(offset)), ", ".join(self._names)
            raise UserError(f"{self._rows.path}: it shares no class with the run: it has {there}; the run has {here}")
        return class_ids

    def first(self, wrong: np.ndarray, offset: CategoryOffset) -> str:
        """Names the first of the rows that are wrong, and how many there are."""
        row = int(np.argmax(wrong))
        return (
            f"{self._rows.spot_of(row)}.category_id: {self._rows.category_ids[row]} is outside "
            f"{self.range_of(offset)} ({wrong.sum()} of {len(wrong)} rows)"
        )

    def counts(self, wanted: np.ndarray, offset: CategoryOffset) -> str:
        """The classes of some of the rows, a (R,) bool, with their counts, most frequent first."""
        listed = self.listed(offset)
        counts = Counter(listed[i] for i in self._positions(offset)[wanted].tolist())
        return ", ".join(f"{name} {count}" for name, count in counts.most_common())

    def _positions(self, offset: CategoryOffset) -> np.ndarray:
        """(R,) int64 positions of the category ids in the list of names; that behind its end for other ids."""
        ids, count = self._rows.category_ids, len(self.listed(offset))
        if offset == "coco91":
            known = np.isin(ids, COCO_IDS)
            positions = np.where(known, np.searchsorted(COCO_IDS, ids), count)
        else:
            positions = ids - int(offset)
        return np.where((positions >= 0) & (positions < count), positions, count)
