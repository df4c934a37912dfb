"""Text on images, in any script that a font at hand can write."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.boxes import box_intersection, xywh_to_xyxy
from utils.errors import UserError
from utils.masks import Mask
from utils.visual.colors import GREY, WHITE, Color, text_color

# What Linux, macOS and Windows install for scripts that the default font lacks; Pillow finds them by file name.
SYSTEM_FONTS = (
    *("NotoSansCJK-Regular.ttc", "wqy-microhei.ttc", "DroidSansFallbackFull.ttf"),
    *("NotoSansThai-Regular.ttf", "NotoSansDevanagari-Regular.ttf"),
    *("Arial Unicode.ttf", "Hiragino Sans GB.ttc"),
    *("msyh.ttc", "malgun.ttf", "LeelawUI.ttf", "Nirmala.ttf"),
)


def check_font(path: Path) -> None:
    """Refuse a configured font that cannot be used.

    Raises:
        UserError: the file is missing or no font.
    """
    if not path.is_file():
        raise UserError(f"predictor.font: {path} does not exist")
    if _load(str(path), 12) is None:
        raise UserError(f"predictor.font: {path} is no font that Pillow can read")


def missing_glyphs(texts: Iterable[str], preferred: Path | None = None) -> str:
    """The characters, each once, that no font at hand can write together with the rest of their text."""
    return "".join(dict.fromkeys(char for text in texts for char in _gaps(text, font_for(text, 12, preferred))))


def tag(name: str, detail: str, size: int, ground: Color, width: int, preferred: Path | None = None) -> np.ndarray:
    """`name detail` on a coloured ground, for example `car 0.93`; the name is shortened where it does not fit.

    Args:
        size: of the font, in pixels.
        width: that the tag should not exceed, in pixels.
        preferred: the font file to use where it has the glyphs.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    name, margin = " ".join(name.split()), max(2, size // 5)
    font = font_for(name, size, preferred)
    text = _shortened(name, detail, font, width - 2 * margin)
    ascent, descent = font.getmetrics()
    picture = Image.new("RGB", (int(font.getlength(text)) + 1 + 2 * margin, ascent + descent), ground)
    ImageDraw.Draw(picture).text((margin, ascent), text, text_color(ground), font, anchor="ls")
    return np.asarray(picture)


@lru_cache(maxsize=4096)
def font_for(text: str, size: int, preferred: Path | None = None) -> ImageFont.FreeTypeFont:
    """The first font that has every glyph of the text, else the one that lacks fewest."""
    fonts = _fonts(size, preferred)
    best = next(fonts)
    for font in fonts:
        if not _gaps(text, best):
            break
        best = min(best, font, key=lambda candidate: len(_gaps(text, candidate)))
    return best


def _fonts(size: int, preferred: Path | None) -> Iterator[ImageFont.FreeTypeFont]:
    """The fonts to try: the preferred one, DejaVu Sans of matplotlib, the system's, Pillow's own (ASCII only)."""
    files = [str(preferred)] if preferred else []
    matplotlib = importlib.util.find_spec("matplotlib")  # found, not imported: it is slow to start
    if matplotlib is not None and matplotlib.origin:
        files.append(str(Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"))
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


def _gaps(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """The characters that the font draws as it draws U+FFFF, which no font has."""
    unknown = bytes(font.getmask("\uffff"))
    return [char for char in text if not char.isspace() and bytes(font.getmask(char)) == unknown]


def _shortened(name: str, detail: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """`name detail`, or as much of the name as fits with an ellipsis."""
    text = f"{name} {detail}".strip()
    while name and font.getlength(text) > width:
        name = name[:-1].rstrip()
        text = f"{name}… {detail}".strip()
    return text


TINT = 0.45
"""How much of its colour a masked pixel takes."""

SHADE = 0.5
"""How much light the fringe keeps that sets lines off from a light ground."""


@dataclass(frozen=True)
class Mark:
    """One object to draw.

    Attributes:
        name, detail: the text of its tag; the name is shortened where both do not fit.
        box: (x1, y1, x2, y2) in pixels, x2 and y2 exclusive; the tag keeps to it.
        boxed: whether the box itself is drawn.
    """

    mask: Mask
    color: Color
    name: str
    detail: str
    box: tuple[int, int, int, int]
    boxed: bool


@dataclass(frozen=True)
class Style:
    """How things are drawn.

    Attributes:
        text: size of the font in pixels.
        box, outline: how far these lines reach to either side of their middle, in pixels.
        font: font file to prefer.
    """

    text: int
    box: int
    outline: int
    font: Path | None

    @classmethod
    def for_image(cls, size: tuple[int, int], count: int, font: Path | None) -> Style:
        """What reads well on an image of this (height, width) seen whole; `count` tags leave most of it in sight."""
        scale = math.sqrt(size[0] * size[1])
        text = min(8 + scale / 80, 0.14 * scale / math.sqrt(count or 1))
        return cls(max(10, round(text)), round(scale / 1400), round(scale / 700), font)


def draw(image: np.ndarray, marks: Sequence[Mark], style: Style) -> np.ndarray:
    """The (H, W, 3) uint8 image with the marks, later ones on top.

    All lines lie above all tints and all tags above all lines, so that an object below another can still be seen.
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


def hatched(image: np.ndarray, area: np.ndarray, style: Style) -> np.ndarray:
    """The (H, W, 3) uint8 image with the (H, W) bool area under white and grey stripes."""
    canvas, stripe = image.copy(), max(3, style.text // 3)
    rows, columns = np.ogrid[: area.shape[0], : area.shape[1]]
    white = (rows + columns) // stripe % 2 == 0
    for part, color in ((area & white, WHITE), (area & ~white, GREY)):
        _tint(canvas, image, Mask.from_array(part), color)
    return canvas


def _tint(canvas: np.ndarray, image: np.ndarray, mask: Mask, color: Color) -> None:
    """Colour the mask's pixels of the image; what an earlier mask left on the canvas is replaced, not mixed."""
    if mask.crop.size:
        height, width = mask.crop.shape
        flat = np.repeat(np.full((1, width, 3), color, np.uint8), height, axis=0)
        tinted = cv2.addWeighted(image[mask.slices], 1 - TINT, flat, TINT, 0)
        cv2.copyTo(tinted, mask.crop.view(np.uint8), canvas[mask.slices])


def _contours(mask: Mask) -> Sequence[np.ndarray]:
    """The outlines of the mask's parts and holes in pixels of the image; the approximation smooths their stairs."""
    if not mask.crop.size:
        return ()
    crop, offset = mask.crop.view(np.uint8), (mask.left, mask.top)
    return cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_TC89_KCOS, offset=offset)[0]


def _draw_lines(
    canvas: np.ndarray, mark: Mark, outline: Sequence[np.ndarray], color: Color, style: Style, fringe: int = 0
) -> None:
    """Draw the box and the outline, `fringe` pixels wider to either side than the style says."""

    def thickness(reach: int) -> int:
        return max(1, 2 * (reach + fringe))  # cv2 draws 2 r as 2 r + 1 pixels

    if mark.boxed:
        x1, y1, x2, y2 = mark.box
        cv2.rectangle(canvas, (x1, y1), (x2 - 1, y2 - 1), color, thickness(style.box))
    cv2.drawContours(canvas, outline, -1, color, thickness(style.outline), cv2.LINE_8 if fringe else cv2.LINE_AA)


def _draw_tags(canvas: np.ndarray, marks: Sequence[Mark], style: Style) -> None:
    """Write each mark's name and detail at its box, covering no other tag if possible; the top mark chooses first."""
    height, width = canvas.shape[:2]
    pictures: list[np.ndarray] = []
    taken: np.ndarray = np.empty((0, 4), int)
    for mark in reversed(marks):
        picture = tag(mark.name, mark.detail, style.text, mark.color, width, style.font)[:height, :width]
        h, w = picture.shape[:2]
        places = _tag_places(mark.box, (h + 1, w + 1), (height, width))
        covered = box_intersection(places, taken).sum(axis=1)
        taken = np.vstack([taken, places[covered.argmin()]])
        pictures.append(picture)
    for picture, (x, y, _, _) in zip(reversed(pictures), taken[::-1].tolist()):
        canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture


def _tag_places(box: tuple[int, int, int, int], tag_size: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """(K, 4) int xyxy of where a tag may stand inside an image, the best first.

    On top of the box, in its upper corner, under it, in its lower corner, then further from its upper edge; each time
    at its left, then at its right edge.
    """
    (x1, y1, x2, y2), (h, w), (height, width) = box, tag_size, size
    tops = (y1 - h, y1, y2, y2 - h, y1 - 2 * h, y1 + h, y1 - 3 * h, y1 + 2 * h)
    corners = np.array([(left, top) for top in tops for left in (x1, x2 - w)])
    corners = corners.clip(0, (max(width - w, 0), max(height - h, 0)))
    return xywh_to_xyxy(np.hstack([corners, np.tile((w, h), (len(corners), 1))]))
