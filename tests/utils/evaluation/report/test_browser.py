"""The page in a real browser, at the width of a desk and of a phone, in light and in dark."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers.report import images, write_report

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")]

HOSTILE = ("'quoted' & <b>bold</b>", '</script><script>document.title = "pwned"</script>', "名前" + "long" * 40)
SHOWN = 20


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        chromium = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(tmp_path_factory.mktemp("report"), images(30, names=HOSTILE), HOSTILE, shown=SHOWN)


class Visit:
    """An open page that notes what goes wrong."""

    def __init__(self, browser: playwright.Browser, path: Path, width: int = 1280, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda request: self._note(request.url, path))
        self.page.goto(path.as_uri())

    def _note(self, url: str, path: Path) -> None:
        if url != path.as_uri() and not url.startswith("data:"):
            self.wrong.append(url)

    def cards(self) -> list[str]:
        """The ids of the cards that are shown, in their order."""
        return self.page.locator(".card:not([hidden]) .open bdi").all_text_contents()

    def title(self) -> str:
        """That of the large view."""
        return self.page.locator("#large-title").inner_text()


@pytest.fixture
def visit(browser: playwright.Browser, report: Path) -> Iterator[Visit]:
    visit = Visit(browser, report)
    yield visit
    visit.page.close()
    assert visit.wrong == []


def test_all_that_the_text_promises_is_there(visit: Visit) -> None:
    page = visit.page
    assert page.title() == "made up: evaluation"
    assert len(visit.cards()) == SHOWN
    assert page.locator("#count").inner_text() == f"{SHOWN} images"
    assert page.locator("#classes table >> nth=0 >> tbody tr").count() == len(HOSTILE) + 1
    assert page.locator("svg[role=img][aria-label]").count() == page.locator("svg:not(.boxes)").count() == 5
    assert page.locator("[role=img]:not([aria-label])").count() == 0
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


@pytest.mark.parametrize("choice", range(len(HOSTILE)))
def test_a_class_shows_its_images_its_worst_first(visit: Visit, choice: int) -> None:
    visit.page.select_option("#class", index=choice + 1)
    option = visit.page.locator("#class option").nth(choice + 1).inner_text()
    shown = visit.cards()
    assert option == f"{HOSTILE[choice]} ({len(shown)})"
    assert 0 < len(shown) < SHOWN
    assert visit.page.locator("#count").inner_text().startswith(f"{len(shown)} of {SHOWN} images")
    texts = visit.page.locator(".card:not([hidden]) .labels li").filter(has_text=HOSTILE[choice]).locator("b")
    ious = [float(text) for text in texts.all_text_contents()]
    assert len(ious) == len(shown)
    assert ious == sorted(ious)
    visit.page.select_option("#class", index=0)
    assert len(visit.cards()) == SHOWN


def test_the_large_view_by_mouse(visit: Visit) -> None:
    first, second = visit.cards()[:2]
    visit.page.locator(".card >> nth=0 >> .picture").nth(3).click()
    assert visit.title() == first
    assert visit.page.locator("#large .picture").count() == 4
    assert visit.page.locator("#previous").is_disabled()
    visit.page.click("#next")
    assert visit.title() == second
    assert "2 of 20" in visit.page.locator("#place").inner_text()
    visit.page.click("#close")
    assert not visit.page.locator("#large").is_visible()


def test_the_large_view_by_keyboard_gives_the_focus_back(visit: Visit) -> None:
    cards, page = visit.cards(), visit.page
    page.locator(".open").first.focus()
    page.keyboard.press("Enter")
    assert visit.title() == cards[0]
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert visit.title() == cards[1]
    for _ in range(SHOWN):
        page.keyboard.press("ArrowRight")
    assert visit.title() == cards[-1]
    assert page.evaluate("document.activeElement.id") == "close", "Next, which had the focus, has become disabled"
    page.keyboard.press("ArrowLeft")
    assert visit.title() == cards[-2]
    page.keyboard.press("Escape")
    assert not page.locator("#large").is_visible()
    page.wait_for_function("name => document.activeElement.innerText.endsWith(name)", arg=cards[-2])  # fails after 30 s


def test_the_large_view_steps_through_the_filtered_images(visit: Visit) -> None:
    visit.page.select_option("#class", index=2)
    shown = visit.cards()
    visit.page.locator(".card:not([hidden]) .open").last.click()
    assert visit.title() == shown[-1]
    assert visit.page.locator("#next").is_disabled()
    visit.page.keyboard.press("ArrowLeft")
    assert visit.title() == shown[-2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 1280, 1400])
def test_it_fits_and_can_be_read(browser: playwright.Browser, report: Path, width: int, scheme: str) -> None:
    visit = Visit(browser, report, width, scheme)
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    contrasts = visit.page.evaluate(CONTRASTS)
    assert len(contrasts) > 100
    assert min(contrasts) >= 4.5, "WCAG 2, level AA"
    visit.page.locator(".open").first.click()
    assert visit.page.evaluate("document.querySelector('dialog').scrollWidth") <= width
    visit.page.close()
    assert visit.wrong == []


# Of each text in the page, charts included, with the ground of the body; texts on coloured cells have less of a ground
# of their own than the page has, and are looked at by eye.
CONTRASTS = """() => {
  const linear = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
  const luminance = (colour) => {
    const [red, green, blue] = colour.match(/[\\d.]+/g).map((value) => linear(value / 255));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  const texts = "h1, h2, h3, p, a, th, td, dt, dd, small, li, summary, figcaption, svg:not(.boxes) text";
  return [...document.querySelectorAll(texts)].map((element) => {
    const style = getComputedStyle(element);
    const ink = luminance(element.closest("svg") ? style.fill : style.color);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
  });
}"""


def box_of(page: playwright.Page, selector: str) -> dict[str, float]:
    box = page.locator(selector).first.bounding_box()
    assert box is not None, selector
    return box


def test_at_a_desk_charts_stand_beside_tables(browser: playwright.Browser, report: Path) -> None:
    page = Visit(browser, report, 1400).page
    for left, right in (("#classes table", "#chart-bars"), (".heat", "#confusions table.sortable")):
        one, other = box_of(page, left), box_of(page, right)
        assert one["x"] + one["width"] <= other["x"]
        assert one["y"] < other["y"] + other["height"] and other["y"] < one["y"] + one["height"]
    tops = {box_of(page, f"#chart-{name}")["y"] for name in ("size", "score", "precision", "f1")}
    assert len(tops) == 1, "one row"
    assert box_of(page, "#worst")["y"] < 2800, "with a name of 160 letters"
    page.close()


@pytest.mark.parametrize("width", [390, 1400])
def test_no_cell_of_the_figures_is_grey(browser: playwright.Browser, report: Path, width: int) -> None:
    """Where the last row is not full, the rest of it has the colour of the page."""
    page = Visit(browser, report, width).page
    box = box_of(page, ".figures")
    picture = np.asarray(Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB"))
    top, left = round(box["y"]), round(box["x"])
    area = picture[top : top + round(box["height"]), left : left + round(box["width"])]
    assert (area == 255).all(axis=2).mean() > 0.8
    assert (area[-12:-4, -12:-4] == 255).all()
    page.close()


def test_a_click_on_the_head_of_a_column_sorts_its_table(visit: Visit) -> None:
    def column(index: int) -> list[str]:
        cells = visit.page.locator(f"#classes table >> nth=0 >> tbody tr > :nth-child({index + 1})")
        return [text.strip() for text in cells.all_inner_texts()]

    foot = visit.page.locator("#classes tfoot").first.inner_text()
    head = visit.page.locator("#classes table >> nth=0 >> thead th")
    before = column(1)
    for index, reverse in ((1, True), (1, False), (4, True)):
        head.nth(index).locator("button").click()
        numbers = [float(text) for text in column(index)]
        assert numbers == sorted(numbers, reverse=reverse)
        assert head.nth(index).get_attribute("aria-sort") == ("descending" if reverse else "ascending")
    assert sorted(column(1)) == sorted(before)
    head.nth(0).locator("button").click()
    assert column(0) == sorted(column(0), key=str.lower) or len(set(column(0))) == len(before)
    assert visit.page.locator("#classes [aria-sort]").count() == 1
    assert visit.page.locator("#classes tfoot").first.inner_text() == foot, "the mean stays below"


def test_cells_of_the_confusion_matrix_have_numbers_and_say_what_they_are(visit: Visit) -> None:
    cells = visit.page.locator(".heat td[title]")
    assert cells.count() > len(HOSTILE)
    first = cells.first
    assert first.get_attribute("title").startswith("background found: ")
    assert float(first.inner_text()) > 50


def test_predictions_show_boxes_and_scores(visit: Visit) -> None:
    card = visit.page.locator(".card:has(.boxes)").first
    rect, picture = card.locator(".boxes rect").first, card.locator(".picture:has(.boxes)")
    assert re.search(r" 0\.\d\d$", rect.locator("title").text_content())
    assert re.fullmatch(r"0\.\d\d|1\.00", card.locator(".boxes text").first.text_content())
    inner, outer = rect.bounding_box(), picture.bounding_box()
    assert outer["x"] - 2 <= inner["x"] and inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 2
    assert inner["width"] == pytest.approx(outer["width"] / 4, rel=0.1), "true boxes are a quarter wide"


def test_without_scripts_all_is_there_but_the_filter(browser: playwright.Browser, report: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report.as_uri())
    assert page.locator(".card").count() == SHOWN
    assert not page.locator("#class").is_visible()
    context.close()


def test_a_thousand_images_are_small_and_open(browser: playwright.Browser, tmp_path: Path) -> None:
    path = write_report(tmp_path, images(1000, size=(240, 320)), shown=1000)
    assert path.stat().st_size < 15e6
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})  # time computed, not waited for other programs
    page.goto(path.as_uri())
    assert page.locator(".card").count() == 1000
    page.evaluate("new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted)))")
    measured = {entry["name"]: entry["value"] for entry in session.send("Performance.getMetrics")["metrics"]}
    page.close()
    print(f"{path.stat().st_size / 1e6:.1f} MB, opened in {measured['TaskDuration']:.2f} s")
    assert measured["TaskDuration"] < 20, "one or two seconds, unless the time grows faster than the images"
