"""The report in a browser, from disk: charts drawn, tables sorted, hostile names asleep, light, dark and on a phone.

Skipped where there is no Chromium with its driver; `make browser` installs both.
"""

import shutil

import pytest
from report_fixture import ATTACK, PLAIN, STATIC

from eigenhouse.analyses.report import pages

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no Chromium with chromedriver: `make browser` installs them"
)

HOSTILE = f"{ATTACK}@1#x"
PLACES = {
    "first": "index.html",
    "dictionary": "dictionary.html",
    **{
        kind: f"models/{pages.slug(name)}.html"
        for kind, name in {"plain": PLAIN, "static": STATIC, "hostile": HOSTILE}.items()
    },
}
FLAGS = (
    "headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking",
    "disable-component-update", "disable-sync",
)  # fmt: skip
DESK, PHONE = (1400, 900), (390, 844)

DRAW_ALL = "const done = arguments[0]; drawAll().then(() => requestAnimationFrame(() => done(charts.size)));"
EMPTY = """
return [...document.querySelectorAll("figure")].filter(figure => {
  const marks = figure.querySelectorAll(".role-mark > path, .role-mark > text, .role-mark > line, .role-mark > image");
  const canvas = figure.querySelector("canvas");
  return !(marks.length || canvas?.width) || figure.querySelector(".broken");
}).map(figure => figure.parentElement.id);
"""
# WCAG's contrast of each text with the nearest opaque background; 4.5 is what small text needs
PALE_TEXTS = """
const rgba = color => color.match(/[\\d.]+/g).map(Number);
const linear = v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r / 255) + 0.7152 * linear(g / 255) + 0.0722 * linear(b / 255);
const behind = element => {
  for (; element; element = element.parentElement) {
    const color = rgba(getComputedStyle(element).backgroundColor);
    if (color.length < 4 || color[3] > 0.99) return color;
  }
  return [255, 255, 255];
};
const words = [...document.querySelectorAll("body *")].filter(element =>
  [...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()) &&
  !["SCRIPT", "STYLE", "NOSCRIPT"].includes(element.tagName) && element.checkVisibility?.({opacityProperty: true}));
return words.map(element => {
  const style = getComputedStyle(element);
  const isSvg = element instanceof SVGElement;
  const [a, b] = [light(rgba(isSvg ? style.fill : style.color)), light(behind(element))];
  return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), element.textContent.trim().slice(0, 40), element.tagName];
}).filter(([contrast]) => contrast < 4.5);
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(60)
    driver.set_network_conditions(offline=True, latency=0, throughput=0)  # what asks the network fails, and says so
    yield driver
    driver.quit()


@pytest.fixture
def visit(chromium, reported):
    """Opens a page from disk: by its kind, in a theme, at a size."""

    def visit(kind, theme="light", size=DESK):
        features = [{"name": "prefers-color-scheme", "value": theme}]
        chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False}
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        chromium.get((reported[0] / PLACES[kind]).as_uri())
        return chromium

    return visit


def logged(driver):
    """Errors; Vega's warnings of a chart's wording are none."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("kind", PLACES)
@pytest.mark.parametrize(("theme", "size"), [("light", DESK), ("dark", PHONE)])
def test_a_page_is_whole_and_readable(visit, kind, theme, size):
    """Every chart drawn without an error, a contrast of 4.5 at least, in charts too, and no scrolling sideways."""
    driver = visit(kind, theme, size)
    n_charts = driver.execute_async_script(DRAW_ALL)
    assert n_charts == driver.execute_script("return document.querySelectorAll('figure').length")
    assert (n_charts > 0) == (kind != "dictionary")
    assert driver.execute_script(EMPTY) == []
    driver.execute_script("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    assert driver.execute_script(PALE_TEXTS) == []
    paper = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (int(paper.removeprefix("rgb(").split(",")[0]) < 60) == (theme == "dark")
    widths = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    scrolled, seen = driver.execute_script(widths)
    assert scrolled <= seen <= size[0]
    assert logged(driver) == []


@pytest.mark.parametrize("kind", ["hostile", "first"])
def test_a_name_is_only_a_name(visit, kind):
    """What its script, its image or its link would set is not set, in tooltips and legends either."""
    from selenium.webdriver import ActionChains

    driver = visit(kind)
    driver.execute_async_script(DRAW_ALL)
    for mark in driver.find_elements("css selector", "figure .mark-symbol.role-mark > path")[:3]:
        driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", mark)
        ActionChains(driver).move_to_element(mark).perform()
    assert driver.execute_script("return typeof hit") == "undefined"
    assert driver.execute_script("return document.querySelectorAll('.chart img, #vg-tooltip-element img').length") == 0
    assert HOSTILE in driver.execute_script("return document.body.textContent")


def test_charts_wait_until_they_come_near(visit):
    """The first ones are drawn at once, the last when it is scrolled to."""
    from selenium.webdriver.support.ui import WebDriverWait

    driver = visit("first")
    wait = WebDriverWait(driver, 20)
    n_drawn = "return document.querySelectorAll('figure[data-drawn]').length"
    wait.until(lambda driver: driver.execute_script(n_drawn) > 0)
    driver.execute_script("const all = document.querySelectorAll('figure'); window.last = all[all.length - 1]")
    assert "data-drawn" not in driver.execute_script("return last.getAttributeNames()")
    driver.execute_script("last.scrollIntoView({behavior: 'instant'})")
    wait.until(lambda driver: driver.execute_script("return 'drawn' in last.dataset"))


def test_paper_gets_every_chart_in_light(visit):
    driver = visit("static", "dark")
    driver.execute_script("addEventListener('afterprint', () => { window.printed = charts.size; })")
    driver.execute_cdp_cmd("Page.printToPDF", {})
    assert driver.execute_script("return window.printed") == driver.execute_script(
        "return document.querySelectorAll('figure').length"
    )
    assert logged(driver) == []


def test_a_change_of_theme_draws_again(visit):
    from selenium.webdriver.support.ui import WebDriverWait

    driver = visit("static", "light")
    driver.execute_async_script(DRAW_ALL)
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    WebDriverWait(driver, 20).until(lambda driver: driver.execute_script(PALE_TEXTS) == [])


def test_models_are_sorted_by_any_column(visit):
    """By keyboard: rising, then falling; null last both times."""
    driver = visit("first")
    [table] = driver.find_elements("css selector", "table.sortable")
    headers = table.find_elements("css selector", "thead th")
    assert len(headers) > 5
    for place, header in enumerate(headers):
        is_number = "number" in (header.get_attribute("class") or "")
        for order in ("ascending", "descending"):
            header.find_element("tag name", "button").send_keys("\n")
            assert header.get_attribute("aria-sort") == order
            cells = [
                row.find_elements("xpath", "./*")[place].text for row in table.find_elements("xpath", "./tbody/tr")
            ]
            values = [float(cell) if is_number else cell.lower() for cell in cells if cell != "–"]
            assert cells[len(values) :] == ["–"] * (len(cells) - len(values))
            if is_number:
                assert values == sorted(values, reverse=order == "descending")
    assert len(table.find_elements("css selector", "[aria-sort]")) == 1


def test_sql_is_copied(visit):
    driver = visit("plain")
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
    driver.execute_script("document.querySelectorAll('details').forEach(details => { details.open = true; })")
    code = driver.find_element("css selector", ".code")
    button = code.find_element("tag name", "button")
    driver.execute_script("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button)
    button.click()
    copied = driver.execute_async_script(
        "const done = arguments[0]; setTimeout(() => navigator.clipboard.readText().then(done, done), 300)"
    )
    assert copied == code.find_element("tag name", "code").get_attribute("textContent")
    assert "select" in copied and button.text == "Copied"


def test_the_dictionary_is_searched(visit):
    driver = visit("dictionary")
    find = driver.find_element("id", "find")
    find.send_keys("sink_weight")
    shown = [section for section in driver.find_elements("css selector", ".relation") if section.is_displayed()]
    names = {section.find_element("tag name", "h3").text for section in shown}
    assert {"attention_stats", "head_attention"} <= names and "singular_values" not in names
    assert driver.find_element("id", "found").text.startswith(f"{len(names)} of ")
