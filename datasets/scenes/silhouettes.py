"""The labelled kinds of object, in the order of their class ids."""

from __future__ import annotations

from datasets.scenes.animals import elephant, turtle
from datasets.scenes.rendering import Builder
from datasets.scenes.vehicles import airplane, car, watercraft

SILHOUETTES: dict[str, Builder] = {
    "car": car,
    "airplane": airplane,
    "elephant": elephant,
    "turtle": turtle,
    "watercraft": watercraft,
}
