"""Where label maps may mean something else than their values: colors of a palette, or 255 as their background."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from utils.classes import BACKGROUND, VOID, palette
from utils.io.map_files import palette_of, read_index_map
from utils.label_maps import value_counts

MOSTLY = 0.5
"""Where void is a larger share of label maps, it may be meant as their background."""

_VOC_LABELS = {tuple(color): label for label, color in enumerate(palette(256).tolist())}


def void_doubts(place: Path, shares: Sequence[float], fix: str) -> list[str]:
    """Say that void fills label maps mostly.

    Args:
        place: their folder.
        shares: of void in each of them.
        fix: what to do if it is their background.
    """
    void = sum(shares) / max(1, len(shares))
    fact = f"{place}: 255 fills {100 * void:.0f} % of the maps; 0 is the background, 1 the first class, 255 no class"
    return [f"{fact}; where 0 is the first class and 255 the background, {fix}"] if void > MOSTLY else []


def shifted_labels(values: Collection[int]) -> str:
    """Return the `dataset.label_map`, as JSON, of masks of these values, 255 their background, 0 their first class."""
    labels = {value: value + 1 for value in sorted(values) if value != VOID}
    return json.dumps(labels | {VOID: BACKGROUND})


def moved_labels(path: Path) -> dict[int, int]:
    """Return the labels that a map's palette shows for its values, if all colors are VOC's, but at other indices."""
    found = palette_of(path)
    if found is None or np.array_equal(found, palette(len(found))):
        return {}
    values = np.flatnonzero(value_counts(read_index_map(path))).tolist()
    if max(values, default=0) >= len(found):
        return {}
    colors = {value: tuple(found[value].tolist()) for value in values}
    shown = {value: _VOC_LABELS[color] for value, color in colors.items() if color in _VOC_LABELS}
    is_relabelling = len({*shown.values()}) == len(values)  # what was left black stands for no label
    return shown if is_relabelling and any(value != label for value, label in shown.items()) else {}


def palette_doubts(moved: Mapping[Path, Mapping[int, int]], *, mappable: bool) -> Iterator[str]:
    """Say that palettes show other labels than the maps have.

    Args:
        moved: what they show, by values.
        mappable: whether `dataset.label_map` applies to these maps.
    """
    if not moved:
        return
    first, labels = next(iter(moved.items()))
    value, label = next((value, label) for value, label in labels.items() if value != label)
    joined = {value: label for shown in moved.values() for value, label in shown.items()}
    if mappable and all(joined[value] == label for shown in moved.values() for value, label in shown.items()):
        fix = f"set dataset.label_map to {json.dumps(dict(sorted(joined.items())))}"
    else:  # perhaps each map has a palette of its own, as Pillow's `quantize` makes
        fix = (
            "save each with VOC's palette (utils.classes.VOC_PALETTE) by Pillow: p = Image.new('P', (1, 1)); "
            "p.putpalette(VOC_PALETTE); mask.convert('RGB').quantize(palette=p, dither=0).save(file)"
        )
    more = f" and {len(moved) - 1} more" if len(moved) > 1 else ""
    yield (
        f"{first}{more}: the palette holds VOC's colors at "
        f"other indices, and indices count: value {value} has the color of label {label}. If colors are meant, {fix}"
    )
