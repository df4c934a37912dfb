"""Text on images, in any script that a font at hand can write."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from utils.colours import Colour, text_colour
from utils.errors import UserError

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


def tag(name: str, detail: str, size: int, ground: Colour, width: int, preferred: Path | None = None) -> np.ndarray:
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
    ImageDraw.Draw(picture).text((margin, ascent), text, text_colour(ground), font, anchor="ls")
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
