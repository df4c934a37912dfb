"""Drawing on images: tinted masks, outlines, boxes, and tags in any script that an available font supports."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from utils.boxes import box_area, box_intersection, xywh_to_xyxy
from utils.config import PredictorConfig
from utils.errors import UserError
from utils.masks import Mask
from utils.visual.colors import GREY, WHITE, Color, text_color

SHADE = 0.5
"""Brightness of the dark fringe around lines, which makes them visible on a light background."""

MOST_HIDDEN = 0.15
"""Share of a picture that its tags may hide; the largest objects get theirs first."""

MOST_OF_OBJECT = 0.5
"""Share of any object's box that a tag may hide."""

WIDEST_TAG = 16
"""Width of a tag over the size of its text, about 27 letters; longer names are shortened."""

TEXT_SIZES = (1, 0.75, 0.55)
"""Shares of the style's text size to try, until a tag finds a free place."""

SMALLEST_TEXT = 9
"""Pixels; smaller text cannot be read."""


@dataclass(frozen=True)
class Mark:
    """One object to draw.

    Attributes:
        name, detail: text of its tag, which is left out where both are empty; the name is shortened where they are
            too long.
        box: (x1, y1, x2, y2) in pixels, x2 and y2 exclusive; the tag is placed at it.
        boxed: whether to draw the box itself.
    """

    mask: Mask
    color: Color
    name: str
    detail: str
    box: tuple[int, int, int, int]
    boxed: bool


@dataclass(frozen=True)
class Style:
    """How marks look.

    Attributes:
        text: font size in pixels.
        box, outline: half the width of these lines in pixels.
        opacity: of masks, from 0 to 1.
        masks, outlines: whether to draw them.
        font: preferred font file.
    """

    text: int
    box: int
    outline: int
    opacity: float
    masks: bool
    outlines: bool
    font: Path | None

    @classmethod
    def for_image(cls, size: tuple[int, int], count: int, config: PredictorConfig) -> Style:
        """Choose a legible style for an image of this (height, width) of which `count` tags cover little."""
        scale, width = math.sqrt(size[0] * size[1]), config.line_width
        text = min(8 + scale / 80, 0.14 * scale / math.sqrt(count or 1))
        box, outline = (round(scale / 1400), round(scale / 700)) if width is None else (width // 2, width // 2)
        masks, outlines = "masks" in config.show, "outlines" in config.show
        return cls(max(10, round(text)), box, outline, config.opacity, masks, outlines, config.font)


def draw_marks(image: npt.NDArray[np.uint8], marks: Sequence[Mark], style: Style) -> npt.NDArray[np.uint8]:
    """Draw marks on a copy of a (H, W, 3) image, later ones on top.

    All lines are above all tints, and all tags above all lines, so that an object below another remains visible.
    """
    canvas, fringe = image.copy(), np.zeros(image.shape[:2], np.uint8)
    if style.masks:
        for mark in marks:
            _tint(canvas, image, mark.mask, mark.color, style.opacity)
    outlines = [_contours(mark.mask) if style.outlines else () for mark in marks]
    for mark, outline in zip(marks, outlines):
        _draw_lines(fringe, mark, outline, WHITE, style, fringe=1)
    cv2.copyTo(cv2.convertScaleAbs(canvas, alpha=SHADE), fringe, canvas)
    for mark, outline in zip(marks, outlines):
        _draw_lines(canvas, mark, outline, mark.color, style)
    _draw_tags(canvas, marks, style)
    return canvas


HATCHED = 0.45
"""Opacity of stripes."""


def hatch(image: npt.NDArray[np.uint8], area: npt.NDArray[np.bool_], style: Style) -> npt.NDArray[np.uint8]:
    """Cover a (H, W) area of a copy of a (H, W, 3) image with white and grey stripes."""
    canvas, stripe = image.copy(), max(3, style.text // 3)
    rows, columns = np.ogrid[: area.shape[0], : area.shape[1]]
    white = (rows + columns) // stripe % 2 == 0
    for part, color in ((area & white, WHITE), (area & ~white, GREY)):
        _tint(canvas, image, Mask.from_array(part), color, HATCHED)
    return canvas


def _tint(canvas: np.ndarray, image: np.ndarray, mask: Mask, color: Color, opacity: float) -> None:
    """Tint the mask's pixels of the image, replacing the tint of an earlier mask on the canvas instead of mixing."""
    if mask.crop.size:
        height, width = mask.crop.shape
        flat = np.repeat(np.full((1, width, 3), color, np.uint8), height, axis=0)
        tinted = cv2.addWeighted(image[mask.slices], 1 - opacity, flat, opacity, 0)
        cv2.copyTo(tinted, mask.crop.view(np.uint8), canvas[mask.slices])


def _contours(mask: Mask) -> Sequence[np.ndarray]:
    """Find the outlines of the mask's parts and holes in pixels of the image, smoothed by approximation."""
    if not mask.crop.size:
        return ()
    crop, offset = mask.crop.view(np.uint8), (mask.left, mask.top)
    return cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_KCOS, offset=offset)[0]


def _draw_lines(
    canvas: np.ndarray, mark: Mark, outline: Sequence[np.ndarray], color: Color, style: Style, fringe: int = 0
) -> None:
    """Draw the box and the outline, `fringe` pixels wider on each side than the style says."""

    def thickness(half: int) -> int:
        return max(1, 2 * (half + fringe))  # cv2 draws a thickness of 2 r as 2 r + 1 pixels

    if mark.boxed:
        x1, y1, x2, y2 = mark.box
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), color, thickness(style.box))
    cv2.drawContours(canvas, outline, -1, color, thickness(style.outline), cv2.LINE_8 if fringe else cv2.LINE_AA)


def _draw_tags(canvas: np.ndarray, marks: Sequence[Mark], style: Style) -> None:
    """Draw the tags that find a place at their box, in a frame that sets neighbors of one color apart.

    Tags hide neither each other nor much of an object or of the picture. Largest objects are placed first; where there
    is no room, a tag gets smaller, and at last it is left out.
    """
    height, width = canvas.shape[:2]
    boxes = np.array([mark.box for mark in marks], np.int64).reshape(-1, 4)
    sizes = dict.fromkeys(max(SMALLEST_TEXT, round(share * style.text)) for share in TEXT_SIZES)
    left, taken = MOST_HIDDEN * height * width, np.empty((0, 4), np.int64)
    for i in np.argsort(-box_area(boxes)[::-1], kind="stable"):
        mark = marks[len(marks) - 1 - i]  # of two that are equally large, the topmost comes first
        for size in sizes if mark.name or mark.detail else ():
            tag = draw_tag(mark.name, mark.detail, size, mark.color, min(WIDEST_TAG * size, width), style.font)
            frame = max(1, size // 16)
            h, w = tag.shape[0] + 2 * frame, tag.shape[1] + 2 * frame
            if h > height or w > width or h * w > left:
                continue
            places = _tag_places(mark.box, (h, w), (height, width))
            hidden = box_intersection(places, boxes) / np.maximum(box_area(boxes), 1)
            free = (box_intersection(places, taken).sum(axis=1) == 0) & (hidden.max(axis=1) <= MOST_OF_OBJECT)
            if free.any():
                place = places[np.where(free, hidden.sum(axis=1), np.inf).argmin()]
                x1, y1, x2, y2 = place.tolist()
                canvas[y1:y2, x1:x2] = text_color(mark.color)
                canvas[y1 + frame : y2 - frame, x1 + frame : x2 - frame] = tag
                left, taken = left - h * w, np.vstack([taken, place])
                break


def _tag_places(box: tuple[int, int, int, int], tag_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Compute possible boxes (K, 4) int xyxy of a tag inside an image, the best first.

    Above the box, in its upper corner, below it, in its lower corner, then further from these edges; each at the left,
    then at the right edge of the box.
    """
    (x1, y1, x2, y2), (h, w), (height, width) = box, tag_size, size
    tops = (y1 - h, y1, y2, y2 - h, y1 - 2 * h, y1 + h, y2 + h, y1 + 2 * h)
    corners = np.array([(left, top) for top in tops for left in (x1, x2 - w)])
    corners = corners.clip(0, (max(width - w, 0), max(height - h, 0)))
    return xywh_to_xyxy(np.hstack([corners, np.tile((w, h), (len(corners), 1))]))


# Fonts of Linux, macOS and Windows for scripts that the default font lacks; Pillow finds them by file name.
SYSTEM_FONTS = (
    *("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf"),
    *("NotoSansThai-Regular.ttf", "NotoSansDevanagari-Regular.ttf"),
    *("Arial Unicode.ttf", "Hiragino Sans GB.ttc"),
    *("msyh.ttc", "malgun.ttf", "LeelawUI.ttf", "Nirmala.ttf"),
)


def check_font(path: Path) -> None:
    """Check a configured font; UserError if the file is missing or no font."""
    if not path.is_file():
        raise UserError(f"predictor.font: {path} does not exist")
    if _load(str(path), 12) is None:
        raise UserError(f"predictor.font: {path} is no font that Pillow can read")


def missing_glyphs(texts: Iterable[str], preferred: Path | None = None) -> str:
    """Return the characters, each once, that no available font has."""
    runs = (run for text in texts for run in text_runs(text, 12, preferred))
    return "".join(dict.fromkeys(char for text, font in runs for char in _missing_in(text, font)))


def draw_tag(
    name: str, detail: str, size: int, background: Color, width: int, preferred: Path | None = None
) -> npt.NDArray[np.uint8]:
    """Draw `name detail` on a colored background, for example `car 0.93`; shorten the name where it does not fit.

    Args:
        size: font size in pixels.
        width: maximum width of the tag in pixels, unless the detail alone is wider.
        preferred: font file to use where it has the glyphs.

    Returns:
        (h, w, 3) RGB.
    """
    margin = max(2, size // 5)
    runs = text_runs(_shortened(" ".join(name.split()), detail, size, preferred, width - 2 * margin), size, preferred)
    metrics = [font.getmetrics() for _, font in runs]
    ascent, descent = (max(each) for each in zip(*metrics))
    length = sum(font.getlength(text) for text, font in runs)
    image = Image.new("RGB", (int(length) + 1 + 2 * margin, ascent + descent), background)
    draw, x = ImageDraw.Draw(image), float(margin)
    for text, font in runs:
        draw.text((x, ascent), text, text_color(background), font, anchor="ls")
        x += font.getlength(text)
    return np.asarray(image)


TextRuns = tuple[tuple[str, ImageFont.FreeTypeFont], ...]
"""The parts of a text, each with its font."""


@lru_cache(maxsize=4096)
def text_runs(text: str, size: int, preferred: Path | None = None) -> TextRuns:
    """Divide a text among fonts: the first that has all of it, else for each character the first that has it."""
    for font in _fonts(size, preferred):
        if not _missing_in(text, font):
            return ((text, font),)
    fonts = [*_fonts(size, preferred)]
    chosen = [next((font for font in fonts if not _missing_in(char, font)), fonts[0]) for char in text]
    grouped = groupby(zip(chosen, text), key=itemgetter(0))
    return tuple(("".join(char for _, char in group), font) for font, group in grouped)


def _fonts(size: int, preferred: Path | None) -> Iterator[ImageFont.FreeTypeFont]:
    """Yield the fonts to try: the preferred one, matplotlib's DejaVu Sans, the system's, Pillow's own (ASCII only)."""
    files = [str(preferred)] if preferred else []
    matplotlib = importlib.util.find_spec("matplotlib")  # found, not imported: it is slow to start
    if matplotlib is not None and matplotlib.origin:
        files.append(str(Path(matplotlib.origin).with_name("mpl-data") / "fonts" / "ttf" / "DejaVuSans.ttf"))
    yield from (font for file in (*files, *SYSTEM_FONTS) if (font := _load(file, size)) is not None)
    own = ImageFont.load_default(size)
    assert isinstance(own, ImageFont.FreeTypeFont)
    yield own


@lru_cache(maxsize=256)
def _load(file: str, size: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(file, size)
    except OSError:
        return None


@lru_cache(maxsize=65536)
def _draws(font: ImageFont.FreeTypeFont, char: str) -> bool:
    """Tell whether a font draws a character otherwise than U+FFFF, which no font has."""
    return char.isspace() or bytes(font.getmask(char)) != bytes(font.getmask("\uffff"))


def _missing_in(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    return [char for char in text if not _draws(font, char)]


def _shortened(name: str, detail: str, size: int, preferred: Path | None, width: int) -> str:
    """Join `name detail`, with as much of the name as fits and an ellipsis."""
    text = f"{name} {detail}".strip()
    while name and sum(font.getlength(run) for run, font in text_runs(text, size, preferred)) > width:
        name = name[: min(len(name) - 1, width)].rstrip()  # a letter takes a pixel at least
        text = f"{name}… {detail}".strip()
    return text
