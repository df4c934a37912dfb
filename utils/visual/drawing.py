"""Drawing on images: tinted masks, outlines, boxes, and tags in any script that an available font supports."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from utils.boxes import box_intersection, xywh_to_xyxy
from utils.errors import UserError
from utils.masks import Mask
from utils.visual.colors import GREY, WHITE, Color, text_color

TINT = 0.45
"""Share of the mask's color in a masked pixel."""

SHADE = 0.5
"""Brightness of the dark fringe around lines, which makes them visible on a light background."""


@dataclass(frozen=True)
class Mark:
    """One object to draw.

    Attributes:
        name, detail: text of its tag; the name is shortened where both do not fit.
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
    """Sizes of text and lines.

    Attributes:
        text: font size in pixels.
        box, outline: half the width of these lines in pixels.
        font: preferred font file.
    """

    text: int
    box: int
    outline: int
    font: Path | None

    @classmethod
    def for_image(cls, size: tuple[int, int], count: int, font: Path | None) -> Style:
        """Choose a legible style for an image of this (height, width) of which `count` tags cover little."""
        scale = math.sqrt(size[0] * size[1])
        text = min(8 + scale / 80, 0.14 * scale / math.sqrt(count or 1))
        return cls(max(10, round(text)), round(scale / 1400), round(scale / 700), font)


def draw_marks(image: npt.NDArray[np.uint8], marks: Sequence[Mark], style: Style) -> npt.NDArray[np.uint8]:
    """Draw marks on a copy of a (H, W, 3) image, later ones on top.

    All lines are above all tints, and all tags above all lines, so that an object below another remains visible.
    """
    canvas, fringe = image.copy(), np.zeros(image.shape[:2], np.uint8)
    for mark in marks:
        _tint(canvas, image, mark.mask, mark.color)
    outlines = [_contours(mark.mask) for mark in marks]
    for mark, outline in zip(marks, outlines):
        _draw_lines(fringe, mark, outline, WHITE, style, fringe=1)
    cv2.copyTo(cv2.convertScaleAbs(canvas, alpha=SHADE), fringe, canvas)
    for mark, outline in zip(marks, outlines):
        _draw_lines(canvas, mark, outline, mark.color, style)
    _draw_tags(canvas, marks, style)
    return canvas


def hatch(image: npt.NDArray[np.uint8], area: npt.NDArray[np.bool_], style: Style) -> npt.NDArray[np.uint8]:
    """Cover a (H, W) area of a copy of a (H, W, 3) image with white and grey stripes."""
    canvas, stripe = image.copy(), max(3, style.text // 3)
    rows, columns = np.ogrid[: area.shape[0], : area.shape[1]]
    white = (rows + columns) // stripe % 2 == 0
    for part, color in ((area & white, WHITE), (area & ~white, GREY)):
        _tint(canvas, image, Mask.from_array(part), color)
    return canvas


def _tint(canvas: np.ndarray, image: np.ndarray, mask: Mask, color: Color) -> None:
    """Tint the mask's pixels of the image, replacing the tint of an earlier mask on the canvas instead of mixing."""
    if mask.crop.size:
        height, width = mask.crop.shape
        flat = np.repeat(np.full((1, width, 3), color, np.uint8), height, axis=0)
        tinted = cv2.addWeighted(image[mask.slices], 1 - TINT, flat, TINT, 0)
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
    """Draw each mark's tag at its box where it overlaps the others least; the topmost mark is placed first."""
    height, width = canvas.shape[:2]
    tags: list[np.ndarray] = []
    taken: np.ndarray = np.empty((0, 4), int)
    for mark in reversed(marks):
        tag = draw_tag(mark.name, mark.detail, style.text, mark.color, width, style.font)[:height, :width]
        h, w = tag.shape[:2]
        places = _tag_places(mark.box, (h + 1, w + 1), (height, width))
        covered = box_intersection(places, taken).sum(axis=1)
        taken = np.vstack([taken, places[covered.argmin()]])
        tags.append(tag)
    for tag, (x, y, _, _) in zip(reversed(tags), taken[::-1].tolist()):
        canvas[y : y + tag.shape[0], x : x + tag.shape[1]] = tag


def _tag_places(box: tuple[int, int, int, int], tag_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """Compute possible boxes (K, 4) int xyxy of a tag inside an image, the best first.

    Above the box, in its upper corner, below it, in its lower corner, then further from its upper edge; each at the
    left, then at the right edge of the box.
    """
    (x1, y1, x2, y2), (h, w), (height, width) = box, tag_size, size
    tops = (y1 - h, y1, y2, y2 - h, y1 - 2 * h, y1 + h, y1 - 3 * h, y1 + 2 * h)
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
    """Return the characters, each once, that no available font has together with the rest of their text."""
    return "".join(dict.fromkeys(char for text in texts for char in _missing_in(text, font_for(text, 12, preferred))))


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
    name, margin = " ".join(name.split()), max(2, size // 5)
    font = font_for(name, size, preferred)
    text = _shortened(name, detail, font, width - 2 * margin)
    ascent, descent = font.getmetrics()
    image = Image.new("RGB", (int(font.getlength(text)) + 1 + 2 * margin, ascent + descent), background)
    ImageDraw.Draw(image).text((margin, ascent), text, text_color(background), font, anchor="ls")
    return np.asarray(image)


@lru_cache(maxsize=4096)
def font_for(text: str, size: int, preferred: Path | None = None) -> ImageFont.FreeTypeFont:
    """Choose the first font that has every glyph of the text, else the one that lacks fewest."""
    fonts = _fonts(size, preferred)
    best = next(fonts)
    for font in fonts:
        if not _missing_in(text, best):
            break
        best = min(best, font, key=lambda candidate: len(_missing_in(text, candidate)))
    return best


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


def _missing_in(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """List the characters that a font draws like U+FFFF, which no font has."""
    unknown = bytes(font.getmask("\uffff"))
    return [char for char in text if not char.isspace() and bytes(font.getmask(char)) == unknown]


def _shortened(name: str, detail: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Join `name detail`, with as much of the name as fits and an ellipsis."""
    text = f"{name} {detail}".strip()
    while name and font.getlength(text) > width:
        name = name[:-1].rstrip()
        text = f"{name}… {detail}".strip()
    return text
