"""The report in a real browser, as wide as a desk's and a telephone's: it loads nothing, fits and reacts."""

import os
import shutil

import pytest

from glimpse_env.reports import run_report, table_report
from tests.reports.test_report import HISTORY, data_in, looks_of, row_of

playwright = pytest.importorskip(
    "playwright.sync_api", reason='playwright is not installed: pip install "glimpse-env[test]"'
)
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser is installed ({', '.join(NAMES)}): bash .ci/browser installs one"
)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox"] if os.getuid() == 0 else []
        chromium = started.chromium.launch(executable_path=BROWSER, args=options)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def files(make, tmp_path_factory):
    """Write the reports of an agent that stops, of one that does not, and of a table."""
    folder, env = tmp_path_factory.mktemp("reports"), make(4, order="once")
    looks = looks_of(env)
    for name, dynamic in (("stops", True), ("fixed", False)):
        saved = {"dynamic": dynamic, "progress": {"history": HISTORY}}
        run_report.write_report(folder / f"{name}.html", row_of(looks, dynamic), saved, env, looks)
    published = {"accuracy": 0.98, "mean_glimpses": 3.0}
    rows = [
        {"row": f"line {n}", "seed": n, "accuracy": 0.9 + 0.01 * n, "mean_glimpses": 2.0, "paper": published}
        for n in range(5)
    ]
    table_report.write_table(folder / "table.html", "A table", rows)
    return folder


@pytest.fixture(params=[1280, 390])
def opened(request, browser, files):
    """Open a report; at the end, there must have been no message, no error and no request to the network."""
    events: list[str] = []
    viewport = {"width": request.param, "height": 860}
    context = browser.new_context(viewport=viewport, has_touch=True, offline=True)

    def check_request(request):
        if not request.url.startswith(("data:", "file:")):
            events.append(request.url)

    def call(name="stops", **options):
        shown = context.new_page()
        shown.emulate_media(**options)
        shown.on("console", lambda message: events.append(message.text))
        shown.on("pageerror", lambda error: events.append(str(error)))
        shown.on("request", check_request)
        shown.goto((files / f"{name}.html").as_uri())
        return shown

    yield call
    context.close()
    assert events == []


def step_of(shown):
    return shown.text_content("#where")


def boxes(shown):
    code = "boxes => boxes.map(box => [box.dataset.step, box.getAttribute('x'), box.getAttribute('y')])"
    return shown.eval_on_selector_all("#stage .box", code)


def bars(shown):
    return shown.eval_on_selector_all("#bars i", "bars => bars.map(bar => bar.style.width)")


def crop(shown):
    shown.wait_for_selector("#crops canvas")
    return shown.eval_on_selector("#crops canvas", "canvas => canvas.toDataURL()")


def of_steps(shown, files, steps):
    """Click the thumbnail of the first image with so many glimpses."""
    number = [len(image["path"]) for image in data_in(files / "stops.html")["images"]].index(steps)
    shown.locator(".thumb").nth(number).click()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_the_page(opened, scheme):
    for name in ("stops", "fixed", "table"):
        shown = opened(name, color_scheme=scheme)
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth")
        paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (min(map(int, paper[4:-1].split(","))) > 200) == (scheme == "light")


def test_keys_step_through_the_glimpses_and_images(opened, files):
    shown = opened()
    of_steps(shown, files, 3)
    assert step_of(shown) == "glimpse 1 of 3"
    assert len(boxes(shown)) == 1
    before, seen = bars(shown), crop(shown)
    shown.keyboard.press("ArrowRight")
    assert step_of(shown) == "glimpse 2 of 3"
    assert [step for step, *_ in boxes(shown)] == ["1", "2"]
    assert bars(shown) != before
    for _ in range(50):  # a picture is decoded in its own time, which is longer where other tests run beside
        if crop(shown) != seen:
            break
        shown.wait_for_timeout(100)
    assert crop(shown) != seen
    shown.keyboard.press("End")
    shown.keyboard.press("ArrowRight")  # there is no fourth
    assert step_of(shown) == "glimpse 3 of 3"
    assert "it stops" in shown.text_content("#stop")
    assert "After 3 of 4 glimpses it predicts" in shown.text_content("#verdict")
    is_current = "thumb => thumb.getAttribute('aria-current') === 'true'"
    current = f"() => [...document.querySelectorAll('.thumb')].findIndex({is_current})"
    position = shown.evaluate(current)
    shown.keyboard.press("ArrowDown")
    assert shown.evaluate(current) == position + 1
    assert step_of(shown).startswith("glimpse 1 of")
    shown.keyboard.press("ArrowUp")
    assert shown.evaluate(current) == position
    focus = shown.evaluate("document.activeElement.getAttribute('aria-current')")
    assert focus == "true"  # the focus goes with it


def test_boxes_bars_and_crop_are_those_of_the_data(opened, files):
    shown = opened()
    data = data_in(files / "stops.html")
    of_steps(shown, files, 2)
    shown.keyboard.press("ArrowRight")
    image = next(image for image in data["images"] if len(image["path"]) == 2)
    pairs = zip(image["path"][1], data["size"], strict=True)
    x, y = ((location + 1) / 2 * side - data["windows"][0] / 2 for location, side in pairs)
    assert [float(value) for value in boxes(shown)[1][1:]] == pytest.approx([x, y])
    shares = [100 * share for share in image["probabilities"][1]]
    assert [float(width[:-1]) for width in bars(shown)] == pytest.approx(shares, abs=0.01)
    assert shown.text_content("#what") == data["names"][str(image["label"])]
    assert shown.locator("#bars .true .name").text_content() == f"✓ {data['names'][str(image['label'])]}"
    assert shown.eval_on_selector("#crops canvas", "canvas => [canvas.width, canvas.height]") == [4, 4]


def test_mouse_and_touch_step_too(opened, files):
    shown = opened(reduced_motion="reduce")
    of_steps(shown, files, 4)
    shown.click("#on")
    assert step_of(shown) == "glimpse 2 of 4"
    shown.click("#back")
    assert shown.is_disabled("#back")
    shown.click("#chips button >> nth=2")
    assert step_of(shown) == "glimpse 3 of 4"
    shown.locator("#stage").scroll_into_view_if_needed()
    shown.tap("#stage")
    assert step_of(shown) == "glimpse 4 of 4"
    box = shown.locator("#stage").bounding_box()
    shown.mouse.move(box["x"] + 60, box["y"] + 60)
    shown.mouse.down()
    shown.mouse.move(box["x"] + 160, box["y"] + 60)
    shown.mouse.up()
    assert step_of(shown) == "glimpse 3 of 4"
    shown.click("#later")
    assert step_of(shown).startswith("glimpse 1 of")
    shown.click("#play")
    assert shown.text_content("#play") == "Pause"
    playwright.expect(shown.locator("#where")).to_contain_text("glimpse 2")
    shown.click("#play")
    assert shown.locator("#stage .veil").count() == 1
    shown.uncheck("#dim")
    assert shown.locator("#stage .veil").count() == 0


def test_filters_change_what_is_shown_and_say_how_much(opened, files):
    shown = opened()
    images = data_in(files / "stops.html")["images"]
    incorrect = sum(not image["correct"] for image in images)
    button = lambda name: shown.locator(f"[data-value={name}]")  # noqa: E731
    assert button("incorrect").text_content() == f"Incorrect{incorrect}"
    button("incorrect").click()
    assert shown.locator(".thumb").count() == shown.locator(".thumb.off").count() == incorrect
    assert shown.text_content("#count") == f"{incorrect} of {len(images)} shown"
    late = sum(not image["correct"] and len(image["path"]) > 2 for image in images)
    assert button("late").text_content() == f"Late{late}"
    button("late").click()
    assert shown.locator(".thumb").count() == late
    assert "more glimpses than the mean of 2.43" in shown.text_content("#count")
    assert button("late").get_attribute("aria-pressed") == "true"


def test_a_filter_that_leaves_nothing_says_so(opened):
    shown = opened("fixed")
    assert "always takes 4 glimpses" in shown.text_content("#stop")
    shown.click("[data-value=late]")
    assert "No image of the gallery is late." in shown.text_content("#thumbs")
    assert shown.is_hidden("#viewer")
    shown.keyboard.press("ArrowRight")
    shown.click("text=Show all")
    assert shown.is_visible("#viewer")
    assert shown.locator(".thumb").count() == 23


def test_every_control_is_reached_by_tab_and_named(opened):
    shown = opened()
    shown.focus("[data-value=all] >> nth=0")
    names, focused = [], "document.activeElement"
    for _ in range(20):
        name = f"{focused}.getAttribute('aria-label') || {focused}.textContent || {focused}.id"
        names.append(shown.evaluate(name))
        shown.keyboard.press("Tab")
    assert any(name.startswith("One image, glimpse by glimpse") for name in names)
    assert {"Next glimpse", "Previous image", "Next image", "Play"} <= set(names)
    assert shown.locator(".thumb[tabindex='0']").count() == 1  # arrows reach the others
