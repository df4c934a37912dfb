from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from PIL import Image, ImageFont

from tests.helpers.images import contains
from utils.config import PredictorConfig, load_config
from utils.config.values import Shown
from utils.distributed import Session
from utils.engine import RunSummary
from utils.errors import UserError
from utils.io.writers import Writers
from utils.masks import Mask
from utils.structures import Detections, Instances, Sample
from utils.visual import drawing
from utils.visual.colors import class_color, text_color, track_color
from utils.visual.drawing import MOST_HIDDEN, draw_tag, missing_glyphs, text_runs
from utils.visual.overlay import OverlaySink, render

NAMES = ("car", "airplane", "elephant")
TEXT = 11
"""Font size in an image of 320 x 240."""


def photo(height: int = 240, width: int = 320, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def sample_of(image: np.ndarray, target: np.ndarray | None = None, image_id: str = "a") -> Sample:
    return Sample(image_id, Path("a.jpg"), image, target)


def instances_of(size: tuple[int, int], *objects: tuple[tuple[int, int, int, int], int, float]) -> Instances:
    """Objects that fill their boxes, each (box, class id, score); the mask score is the score."""
    masks = []
    for (x1, y1, x2, y2), _, _ in objects:
        full = np.zeros(size, bool)
        full[y1:y2, x1:x2] = True
        masks.append(Mask.from_array(full))
    boxes, class_ids, scores = ([row[i] for row in objects] for i in range(3))
    detections = Detections.from_arrays(boxes, scores, class_ids)
    return Instances(size, detections, masks, detections.scores)


def boxes_only(size: tuple[int, int], *objects: tuple[tuple[int, int, int, int], int, float]) -> Instances:
    """The same without masks."""
    filled = instances_of(size, *objects)
    return Instances(size, filled.detections, [Mask.from_array(np.zeros(size, bool))] * len(filled), filled.mask_scores)


def test_nothing_found_leaves_the_photo_alone() -> None:
    image = photo()
    assert np.array_equal(render(sample_of(image), instances_of((240, 320)), NAMES), image)


def test_the_sample_is_not_drawn_on() -> None:
    image = photo()
    before = image.copy()
    render(sample_of(image), instances_of((240, 320), ((20, 40, 200, 200), 0, 0.9)), NAMES)
    assert np.array_equal(image, before)


def test_a_mask_is_tinted_with_its_class_color_and_the_rest_of_the_photo_stays() -> None:
    image = photo()
    overlay = render(sample_of(image), instances_of((240, 320), ((60, 80, 260, 200), 1, 0.9)), NAMES)
    inside, expected = (
        overlay[90:190, 70:250].astype(int),
        0.55 * image[90:190, 70:250] + 0.45 * np.array(class_color(1)),
    )
    assert np.abs(inside - expected).max() <= 1
    untouched = np.ones((240, 320), bool)
    untouched[50:205, 55:265] = False
    assert np.array_equal(overlay[untouched], image[untouched])


def test_a_class_has_the_same_color_in_every_image() -> None:
    black = np.zeros((240, 320, 3), np.uint8)
    first = render(sample_of(black), instances_of((240, 320), ((20, 40, 200, 200), 2, 0.9)), NAMES)
    second = render(
        sample_of(black), instances_of((240, 320), ((200, 120, 300, 220), 0, 0.4), ((20, 80, 150, 200), 2, 0.3)), NAMES
    )
    assert np.array_equal(first[150, 80], second[150, 80])
    assert not np.array_equal(second[150, 80], second[170, 250])


def test_an_overlapped_pixel_shows_the_class_that_the_label_map_gives_it() -> None:
    size = (240, 320)
    instances = instances_of(
        size, ((20, 20, 220, 220), 0, 0.5), ((60, 60, 180, 180), 1, 0.9), ((90, 90, 300, 150), 2, 0.7)
    )
    overlay = render(sample_of(np.zeros((*size, 3), np.uint8)), instances, NAMES)
    semantic = instances.to_semantic()
    for y, x in ((200, 100), (120, 120), (120, 250), (75, 75)):
        expected = 0.45 * np.array(class_color(semantic[y, x] - 1))
        assert np.abs(overlay[y, x] - expected).max() <= 1


def test_colors_are_vivid_and_their_text_is_legible() -> None:
    """Lightness by cv2's CIE L*a*b*, differences by CIE94; contrast as WCAG 2 defines it, where text needs 4.5."""
    colors = np.array([class_color(i) for i in range(254)], np.uint8)
    assert len(np.unique(colors, axis=0)) == 254
    lab = cv2.cvtColor(colors[None].astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    assert lab[:, 0].min() > 42
    assert lab[:, 0].max() < 92
    first, second = (np.swapaxes(np.broadcast_to(lab[:20], (20, 20, 3)), 0, axis) for axis in (0, 1))
    lightness, a, b = np.moveaxis(first - second, 2, 0)
    chromas = [np.hypot(each[..., 1], each[..., 2]) for each in (first, second)]
    chroma, mean = chromas[0] - chromas[1], np.sqrt(chromas[0] * chromas[1])
    hue = np.maximum(a**2 + b**2 - chroma**2, 0)
    differences = np.sqrt(lightness**2 + (chroma / (1 + 0.045 * mean)) ** 2 + hue / (1 + 0.015 * mean) ** 2)
    assert (differences + 1000 * np.eye(20)).min() > 12
    for color in colors.tolist():
        values = [v / 255 for v in color]
        red, green, blue = (v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in values)
        ground = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        text = 1.0 if text_color(tuple(color)) == (255, 255, 255) else 0.0052
        assert (max(ground, text) + 0.05) / (min(ground, text) + 0.05) > 4.5


@pytest.mark.parametrize("size", [(150, 200), (480, 640), (3000, 4000)])
@pytest.mark.parametrize("ground", [0, 255])
def test_a_box_is_visible_on_black_and_on_white(size: tuple[int, int], ground: int) -> None:
    height, width = size
    box = (width // 4, height // 4, 3 * width // 4, 3 * height // 4)
    overlay = render(sample_of(np.full((*size, 3), ground, np.uint8)), boxes_only(size, (box, 0, 0.9)), NAMES)
    color = np.array(class_color(0))
    edge = overlay[height // 2, : width // 2]
    assert (edge == color).all(axis=1).any()
    if ground == 255:
        assert edge.astype(int).sum(axis=1).min() < 400, "the dark fringe is missing"


@pytest.mark.parametrize(
    "box", [(0, 0, 30, 30), (290, 0, 320, 30), (0, 210, 30, 240), (290, 210, 320, 240), (0, 0, 320, 240)]
)
def test_a_tag_stays_whole_inside_the_image(box: tuple[int, int, int, int]) -> None:
    overlay = render(sample_of(photo()), boxes_only((240, 320), (box, 2, 0.87)), NAMES)
    assert contains(overlay, draw_tag("elephant", "0.87", TEXT, class_color(2), 320))


def test_tags_of_objects_at_one_place_do_not_hide_each_other() -> None:
    box = (100, 100, 220, 200)
    objects = [(box, i % 3, 0.99 - 0.01 * i) for i in range(8)]
    overlay = render(sample_of(photo()), boxes_only((240, 320), *objects), NAMES)
    for _, class_id, score in objects:
        assert contains(overlay, draw_tag(NAMES[class_id], f"{score:.2f}", TEXT, class_color(class_id), 320))


def test_text_and_lines_grow_with_the_image() -> None:
    heights = []
    for scale, margin in ((1, 2), (4, 3), (16, 4)):
        size = (150 * scale, 200 * scale)
        box = (50 * scale, 50 * scale, 150 * scale, 100 * scale)
        overlay = render(sample_of(np.zeros((*size, 3), np.uint8)), boxes_only(size, (box, 0, 0.5)), NAMES)
        column = (overlay[: 50 * scale - 5, 50 * scale + margin] == class_color(0)).all(axis=1)
        heights.append(int(column.sum()))
    assert 8 <= heights[0] < heights[1] < heights[2] < 100


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (20, 12), (30, 2000)])
@pytest.mark.parametrize("side_by_side", [False, True])
def test_an_image_smaller_than_its_tag_can_be_drawn(size: tuple[int, int], side_by_side: bool) -> None:
    height, width = size
    sample = sample_of(photo(height, width), np.full(size, 1, np.uint8))
    instances = instances_of(size, ((0, 0, width, height), 0, 0.5))
    overlay = render(
        sample, instances, ("a name that is very long indeed",), PredictorConfig(side_by_side=side_by_side)
    )
    if side_by_side:
        assert overlay.shape[0] > height
        assert overlay.shape[1] > 2 * width
    else:
        assert overlay.shape == (height, width, 3)


def test_a_long_name_is_shortened_and_keeps_its_score() -> None:
    ground = (250, 200, 50)
    short, full = (draw_tag("a very long class name", "0.75", 14, ground, width) for width in (120, 1000))
    assert short.shape[1] <= 120 < full.shape[1]
    assert np.array_equal(short[:, -30:], full[:, -30:])


@pytest.mark.parametrize(
    "name", ["Größe", "Машина", "πλοίο", "سيارة", "汽车", "くるま", "🐢", "เต่า", "two\nlines\t", "\u200d"]
)
def test_a_name_in_any_script_is_drawn(name: str) -> None:
    overlay = render(sample_of(photo()), instances_of((240, 320), ((60, 60, 200, 200), 0, 0.5)), (name,))
    assert contains(overlay, draw_tag(name, "0.50", TEXT, class_color(0), 320))


def test_missing_glyphs_are_those_that_no_font_has() -> None:
    for name in ("Größe", "Машина", "πλοίο", "سيارة", "汽车", "くるま", "🐢turtle", "กขค", "name"):
        runs = [(text, TTFont(font.path, fontNumber=0).getBestCmap()) for text, font in text_runs(name, 12)]
        assert "".join(text for text, _ in runs) == name
        lacking = (char for text, known in runs for char in text if ord(char) not in known)
        assert missing_glyphs([name]) == "".join(dict.fromkeys(lacking))


def test_names_without_glyphs_cause_one_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Writers(1) as writers:
        OverlaySink(PredictorConfig(tmp_path), ("car", "\U000f0000", "x\U000f0000"), writers)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: no font for \U000f0000 in") and "predictor.font" in line


def test_a_configured_font_is_used_and_a_bad_one_is_refused(tmp_path: Path) -> None:
    default = Path(str(text_runs("car", 12)[0][1].path))
    bold = default.with_name("DejaVuSans-Bold.ttf")
    sample, instances = sample_of(photo()), instances_of((240, 320), ((60, 60, 200, 200), 0, 0.5))
    assert not np.array_equal(
        render(sample, instances, NAMES, PredictorConfig(font=bold)), render(sample, instances, NAMES)
    )
    (tmp_path / "no.ttf").write_text("not a font")
    for path, reason in ((tmp_path / "none.ttf", "does not exist"), (tmp_path / "no.ttf", "is no font")):
        with pytest.raises(UserError, match=f"predictor.font: .*{path.name} {reason}"), Writers(1) as writers:
            OverlaySink(PredictorConfig(tmp_path, font=path), NAMES, writers)


def font_of(text: str, path: Path) -> Path:
    """A font of these characters alone: Chinese ones often lack Latin letters and digits."""
    font, subsetter = TTFont(text_runs("car", 12)[0][1].path), Subsetter(Options(drop_tables=["FFTM"]))
    subsetter.populate(text=text)
    subsetter.subset(font)
    font.save(path)
    return path


@pytest.mark.parametrize("others", [True, False])
def test_scores_can_be_read_beside_a_name_whose_font_has_no_digits(
    tmp_path: Path, others: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a font that has all of the tag, or with one font for the name and another for the digits."""
    letters, digits = font_of("Машина", tmp_path / "letters.ttf"), font_of("0123456789.", tmp_path / "digits.ttf")
    if not others:
        fonts = [ImageFont.truetype(str(file), 14) for file in (letters, digits)]
        monkeypatch.setattr(drawing, "_fonts", lambda size, preferred: iter(fonts))
        drawing.text_runs.cache_clear()
        assert drawing.text_runs("Машина 7.", 14, letters) == (("Машина ", fonts[0]), ("7.", fonts[1]))
    seven, eight = (draw_tag("Машина", f"{i} 0.93", 14, (250, 200, 50), 300, letters) for i in (7, 8))
    drawing.text_runs.cache_clear()
    assert not np.array_equal(seven, eight), "both are boxes, as fonts draw what they lack"


def tag_pixels(overlay: np.ndarray, plain: np.ndarray) -> np.ndarray:
    """(H, W) bool: where the pictures differ."""
    return (overlay != plain).any(axis=2)


WITHOUT_TAGS = PredictorConfig(show=("boxes", "masks", "outlines"))


@pytest.mark.parametrize("width", [48, 200, 640, 1600])
@pytest.mark.parametrize("count", [1, 40, 200])
def test_tags_hide_little_of_a_picture(width: int, count: int) -> None:
    size, rng = (width * 3 // 4, width), np.random.default_rng(count)
    corners = rng.integers(0, (width * 3 // 4, width // 2), (count, 2))
    objects = [((x, y, x + width // 5, y + width // 5), i % 3, 0.5) for i, (x, y) in enumerate(corners.tolist())]
    sample, instances = sample_of(np.zeros((*size, 3), np.uint8)), boxes_only(size, *objects)
    names = ("car", "dining table", "a name of the kind that ontologies have")
    hidden = tag_pixels(render(sample, instances, names), render(sample, instances, names, WITHOUT_TAGS))
    assert hidden.mean() <= MOST_HIDDEN
    assert hidden.any() == (width > 48)


def test_where_tags_find_no_room_large_objects_keep_theirs() -> None:
    size = (150, 200)
    small = [((5 + 24 * (i % 8), 40 + 24 * (i // 8), 15 + 24 * (i % 8), 50 + 24 * (i // 8)), 0, 0.5) for i in range(32)]
    overlay = render(sample_of(photo(*size)), boxes_only(size, *small, ((10, 30, 190, 140), 2, 0.25)), NAMES)
    assert contains(overlay, draw_tag("elephant", "0.25", 10, class_color(2), 200))
    assert overlay.shape == (*size, 3)


def test_a_tag_does_not_cover_small_objects() -> None:
    small, large = (100, 60, 130, 74), (100, 76, 300, 220)
    sample, instances = (
        sample_of(np.zeros((240, 320, 3), np.uint8)),
        boxes_only((240, 320), (small, 0, 0.5), (large, 1, 0.9)),
    )
    hidden = tag_pixels(render(sample, instances, NAMES), render(sample, instances, NAMES, WITHOUT_TAGS))
    assert hidden[60:74, 100:130].mean() < 0.5


def test_among_objects_smaller_than_a_tag_there_are_no_tags() -> None:
    grid = [((x, y, x + 20, y + 10), 0, 0.5) for x in range(0, 320, 20) for y in range(0, 240, 10)]
    sample, instances = sample_of(np.zeros((240, 320, 3), np.uint8)), boxes_only((240, 320), *grid)
    assert np.array_equal(render(sample, instances, NAMES), render(sample, instances, NAMES, WITHOUT_TAGS))


def test_tags_of_one_color_have_a_border_where_they_touch() -> None:
    box = (100, 100, 220, 200)
    ground = np.full((240, 320, 3), class_color(0), np.uint8)
    instances = boxes_only((240, 320), (box, 0, 0.51), (box, 0, 0.52))
    overlay = render(sample_of(ground), instances, NAMES)
    edge = np.array(text_color(class_color(0)), np.uint8)
    for score in ("0.51", "0.52"):
        tag = draw_tag("car", score, TEXT, class_color(0), 320)
        framed = np.tile(edge, (tag.shape[0] + 2, tag.shape[1] + 2, 1))
        framed[1:-1, 1:-1] = tag
        assert contains(overlay, framed)


@pytest.mark.parametrize("part", get_args(Shown))
def test_only_what_is_asked_for_is_drawn(part: str) -> None:
    """Of a mask in the middle of its box: text is above the box, and each part changes pixels of its own."""
    size, box = (240, 320), (60, 60, 260, 220)
    full = np.zeros(size, bool)
    full[100:180, 100:220] = True
    found = Instances(size, boxes_only(size, (box, 0, 0.5)).detections, [Mask.from_array(full)], np.ones(1, np.float32))
    found = replace(found, track_ids=np.array([7]))
    sample = sample_of(np.full((*size, 3), 128, np.uint8))
    changed = tag_pixels(render(sample, found, NAMES, PredictorConfig(show=(part,))), sample.image)
    seen = {
        "masks": changed[120:160, 120:200].all(),
        "outlines": changed[98:103, 140:180].any(),
        "boxes": changed[120, 58:63].any() and changed[200, 258:263].any(),
        "tag": changed[45:58, 63:80].any(),
    }
    expected = {"masks": {"masks", "outlines"}}.get(part, {part if part in seen else "tag"})
    assert {name for name, there in seen.items() if there} == expected
    if "tag" in expected:
        text = {"names": ("car", ""), "scores": ("", "0.50"), "ids": ("", "7")}[part]
        overlay = render(sample, found, NAMES, PredictorConfig(show=(part,)))
        assert contains(overlay, draw_tag(*text, TEXT, track_color(7), 320))


def test_color_opacity_and_line_width_are_chosen() -> None:
    size = (240, 320)
    sample = sample_of(np.zeros((*size, 3), np.uint8))
    instances = instances_of(size, ((20, 40, 140, 200), 0, 0.5), ((160, 40, 300, 200), 0, 0.9))
    by_class, by_object = (
        render(sample, instances, NAMES, PredictorConfig(color=color)) for color in ("class", "object")
    )
    assert np.array_equal(by_class[120, 80], by_class[120, 230])
    assert not np.array_equal(by_object[120, 80], by_object[120, 230])
    clip = replace(instances, track_ids=np.array([1, 2]))
    assert np.array_equal(
        render(sample, clip, NAMES, PredictorConfig(color="class"))[120, [80, 230]], by_class[120, [80, 230]]
    )
    solid = render(sample, instances, NAMES, PredictorConfig(opacity=1.0))
    assert solid[120, 80].tolist() == list(class_color(0))
    boxes = PredictorConfig(show=("boxes",), line_width=9)
    line = (render(sample, instances, NAMES, boxes)[120, :80] == class_color(0)).all(axis=1)
    assert line.sum() == 9


def test_what_to_show_is_also_read_from_text_and_misspellings_are_named(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    for text, expected in (('"masks, names"', ("masks", "names")), ('["ids"]', ("ids",))):
        file.write_text(f'{{"predictor": {{"show": {text}}}}}')
        assert load_config(file).predictor.show == expected
    file.write_text('{"predictor": {"show": "mask"}}')
    with pytest.raises(UserError, match=r'predictor\.show: must be .*, not "mask"; did you mean masks\?'):
        load_config(file)


def test_target_and_prediction_are_side_by_side_in_the_same_colors() -> None:
    target = np.zeros((240, 320), np.uint8)
    target[100:200, 60:260] = 2
    target[20:60, 60:260] = 255
    image = np.zeros((240, 320, 3), np.uint8)
    overlay = render(
        sample_of(image, target),
        instances_of((240, 320), ((60, 100, 260, 200), 1, 0.9)),
        NAMES,
        PredictorConfig(side_by_side=True),
    )
    top, left = overlay.shape[0] - 240, overlay.shape[1] - 320
    prediction, beside = overlay[top:, :320], overlay[top:, left:]
    assert np.array_equal(
        prediction, render(sample_of(image), instances_of((240, 320), ((60, 100, 260, 200), 1, 0.9)), NAMES)
    )
    assert np.array_equal(prediction[150, 160], beside[150, 160])
    assert len(np.unique(beside[25:55, 65:255].reshape(-1, 3), axis=0)) == 2, "void is striped in two greys"
    assert not beside[220:, :].any()
    assert overlay[:top, :320].max() > 200, "the prediction has a caption"
    assert overlay[:top, left:].max() > 200, "the target has a caption"


@pytest.mark.parametrize("format", ["jpg", "png"])
def test_the_sink_writes_an_image_for_each_sample(tmp_path: Path, format: str) -> None:
    sample = sample_of(cv2.GaussianBlur(photo(), (0, 0), 9), image_id="clip/000001")
    instances = instances_of((240, 320), ((60, 60, 200, 200), 0, 0.5))
    with Writers(1) as writers:
        sink = OverlaySink(PredictorConfig(tmp_path, format=format, side_by_side=True), NAMES, writers)
        sink.write(sample, instances)
        lines = sink.finish(RunSummary(), Session()).lines
        written = np.asarray(Image.open(tmp_path / "clip" / f"000001.{format}"))
    expected = render(sample, instances, NAMES)
    difference = np.abs(written.astype(int) - expected)
    assert difference.max() == 0 if format == "png" else difference.mean() < 2
    assert lines == [f"overlays: 1 image in {tmp_path}", "overlays: 1 image has no target to show beside"]


def test_an_image_too_long_for_its_format_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    with Writers(1) as writers:
        sink = OverlaySink(PredictorConfig(tmp_path), NAMES, writers)
        for image_id, width in (("long", 66000), ("a", 40)):
            sink.write(sample_of(photo(8, width), image_id=image_id), instances_of((8, width)))
        report = sink.finish(RunSummary(), Session())
    reason = "no overlay: an image of 66000 x 8 pixels cannot be a .jpg file; predictor.format=png can hold it"
    assert report.lines == [f"overlays: 1 image in {tmp_path}"]
    assert [(each.image_id, each.reason) for each in report.unwritten] == [("long", reason)]
    assert [file.name for file in tmp_path.iterdir()] == [".records", "a.jpg"]
