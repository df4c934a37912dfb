"""Merge, rename and drop classes, as `dataset.class_map` asks for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from utils.classes import BACKGROUND, MAX_CLASSES, ClassIndex, canonical, label_of, match_classes, nearest
from utils.errors import UserError
from utils.structures import Instances


@dataclass(frozen=True)
class ClassMap:
    """Lead from the classes that masks, models and files have to those of the run.

    Attributes:
        source: class names that are mapped: those of the dataset or the detector, by class id, then others that only a
            detector or a file has.
        names: class names of the run, by class id.
        ids: (len(source),) int64, the class id in the run; -1 for classes that are dropped.
        num_listed: how many of `source` the dataset or the detector lists; only these have labels in masks.
    """

    source: tuple[str, ...]
    names: tuple[str, ...]
    ids: npt.NDArray[np.int64]
    num_listed: int

    @classmethod
    def from_targets(cls, names: Sequence[str], targets: Mapping[str, str | None]) -> ClassMap:
        """Make the map for class names and `dataset.class_map`.

        Args:
            names: of the dataset, or of the detector where the dataset names none.
            targets: name -> name in the run, or None to drop it. Names that are no keys stay. A key may be none of
                `names` if its target is a class of the run.

        Raises:
            UserError: two keys mean the same class, a target is blank or no class of the run, or no class is left.
        """
        if not targets:
            return cls(tuple(names), tuple(names), np.arange(len(names)), len(names))
        key_of: dict[int, str] = {}
        found = match_classes([*targets], names)
        for position, key in enumerate(targets):
            if (class_id := found.get(position)) is not None and key_of.setdefault(class_id, key) != key:
                raise UserError(f'class_map: "{key_of[class_id]}" and "{key}" are the same class')
        ours = [targets[key_of[i]] if i in key_of else name for i, name in enumerate(names)]
        spelled: dict[str, str] = {}
        for name in ours:
            if name is not None:
                spelled.setdefault(canonical(name), name)
        if not spelled:
            raise UserError("class_map: drops every class")
        others = [key for key in targets if key not in key_of.values()]
        index = ClassIndex(tuple(spelled.values()))
        _check_targets(targets, names, others, index)
        sources = [*ours, *(targets[key] for key in others)]
        ids = [-1 if target is None else index.class_id(target, "class_map") for target in sources]
        return cls((*names, *others), tuple(index.names), np.array(ids, np.int64), len(names))

    @property
    def changes_nothing(self) -> bool:
        """Return whether it is the map of a run without `dataset.class_map`."""
        return self.source == self.names

    @property
    def index(self) -> ClassIndex:
        """Return the lookup of names in files, as ids of `source`; files may name the classes of the run, too."""
        return ClassIndex(self.source, {name: int(np.argmax(self.ids == i)) for i, name in enumerate(self.names)})

    @property
    def labels(self) -> npt.NDArray[np.uint8]:
        """Return the label in the run of each label in masks, (256,); dropped classes become background."""
        labels, ids = np.arange(256, dtype=np.uint8), self.ids[: min(self.num_listed, MAX_CLASSES)]
        labels[label_of(0) : label_of(len(ids))] = np.where(ids < 0, BACKGROUND, label_of(ids))
        return labels

    def unknown_keys(self, names: Sequence[str], whose: str) -> list[str]:
        """Say which keys neither the dataset nor `names` has, and what each may have been meant for.

        Args:
            names: classes that a detector or a file knows.
            whose: whose classes these are.
        """
        others = self.source[self.num_listed :]
        unknown = [key for i, key in enumerate(others) if i not in match_classes(others, names)]
        known = [*self.source[: self.num_listed], *names]
        facts = (
            (f'dataset.class_map: "{key}" is no class of the dataset or {whose}', nearest(key, known))
            for key in unknown
        )
        return [f"{fact}; did you mean {close}?" if close else fact for fact, close in facts]

    def check_known(self, names: Sequence[str]) -> None:
        """Refuse keys that neither the dataset nor the detector knows.

        Args:
            names: of the detector.

        Raises:
            UserError: there is such a key; the message suggests the nearest name.
        """
        for problem in self.unknown_keys(names, "the detector"):
            raise UserError(problem)

    def of_run(self, instances: Instances) -> Instances:
        """Give instances the class ids of the run, and leave out those of dropped classes."""
        class_ids = self.ids[instances.detections.class_ids]
        mapped = replace(instances, detections=replace(instances.detections, class_ids=class_ids))
        return mapped[class_ids >= 0]

    def translate(self, names: Sequence[str]) -> list[str]:
        """Return what names become in the run; those that are dropped or unknown are left out."""
        ids = (self.ids[i] for i in match_classes(names, self.source).values())
        return [self.names[i] for i in ids if i >= 0]


def _check_targets(
    targets: Mapping[str, str | None], names: Sequence[str], others: Sequence[str], index: ClassIndex
) -> None:
    """Raise UserError where a class would have no name, or neither a key of `others` nor its target is a class."""
    for key, target in targets.items():
        if target is not None and not target.strip():
            raise UserError(f'class_map: "{key}": its new name is blank; null drops the class')
        if key in others and target is not None and not match_classes([target], index.names):
            close = nearest(key, names)
            advice = f"did you mean {close}?" if close else "then its new name has to be a class of the run"
            raise UserError(f'class_map: "{key}" is none of the {len(names)} classes, nor is "{target}"; {advice}')
