"""The page of a report in Chromium without a screen: what a person clicks there, and pictures for a person to look at.

report_browser.py MAMBAC CHROMIUM FOLDER. tools/check-report installs what this needs and runs it.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import time

from playwright.sync_api import sync_playwright

MAMBAC, CHROMIUM, FOLDER = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]).resolve()
MODEL = ["mambabyte:353m", "--graph", "train"]
LIT_CODE = ".pane[data-form=asm] .made.lit"


def expect(holds, what, found=""):
    print(f"{'good' if holds else 'BAD '}  {what}{': ' if found != '' else ''}{found}", flush=True)
    if not holds:
        sys.exit(1)


def mambac(*arguments):
    """Runs the driver; the seconds that it took."""
    start = time.monotonic()
    ran = subprocess.run([MAMBAC, *arguments], cwd=FOLDER, capture_output=True, text=True)
    if ran.returncode != 0:
        expect(False, "mambac " + " ".join(arguments), ran.stderr)
    return time.monotonic() - start


class Page:
    def __init__(self, browser, file):
        self.page = browser.new_page(viewport={"width": 1500, "height": 900}, color_scheme="light")
        self.page.set_default_timeout(5000)  # milliseconds
        self.problems, self.asked = [], []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("request", lambda request: self.asked.append(request.url))
        start = time.monotonic()
        self.page.goto((FOLDER / file).as_uri())
        self.page.locator("tbody tr").first.wait_for()
        self.page.keyboard.press("2")
        self.page.locator(".kernel").first.wait_for()
        self.seconds = time.monotonic() - start

    def __call__(self, selector):
        return self.page.locator(selector)

    def press(self, key):
        self.page.keyboard.press(key)

    def picture(self, name):
        self.page.screenshot(path=FOLDER / f"{name}.png")

    def only_itself(self):
        expect(self.problems == [], "no error in the console", self.problems or "")
        expect(len(self.asked) == 1, "nothing is fetched but the file", len(self.asked))


def from_a_line_to_machine_code_and_back(page):
    page.press("4")
    line = page("#source .made").filter(has_text="scan<L>").first
    key = line.get_attribute("data-line")
    line.click()
    expect(page("#view h2").first.text_content() != "", "a line leads to a kernel", page("#view h2").first.text_content())
    expect(page(".pane h3").filter(has_text=re.compile("^ops")).count() == 1, "its ops are listed")
    lit = page(LIT_CODE)
    expect(lit.count() > 0, "lines of machine code light up", lit.count())
    page.picture("line")
    other = page(f".pane[data-form=asm] .made:not(.lit):not(.shared):not([data-line='{key}'])").first
    wanted = other.get_attribute("data-line")
    other.click()
    found = page("#source .lit").first.get_attribute("data-line")
    expect(found == wanted, "a line of machine code leads back to the model", found)
    page.picture("code")


def a_layer_unfolds(page):
    page.press("2")
    folded = page(".kernel").count()
    page.picture("graph")
    page(".fold").first.click()
    unfolded = page(".kernel").count()
    expect(unfolded > folded, "a layer unfolds", f"{folded} boxes, then {unfolded}")
    page.picture("unfolded")


def the_table_sorts(page):
    page.press("4")
    kernels = page.page.evaluate("tableRows().map((row) => row.bytes)")
    page("[data-rows]").click()
    page("[data-sort=bytes]").click()
    numbers = [int(row.get_attribute("data-kernel")) for row in page("tbody tr").all()]
    bytes_shown = [kernels[number] for number in numbers]
    expect(bytes_shown == sorted(kernels, reverse=True), "the table is sorted by bytes", f"{len(numbers)} kernels")
    page("[data-sort=bytes]").click()
    first = int(page("tbody tr").first.get_attribute("data-kernel"))
    expect(kernels[first] == min(kernels), "and the other way round")
    page.picture("table")


def a_pass_shows_its_diff(page):
    page.press("3")
    stage = page("details[data-stage]").nth(1)
    summary = stage.locator("summary")
    summary.click()
    less, more = map(int, re.search(r"−(\d+) \+(\d+) lines", summary.text_content()).groups())
    stage.locator(".side").first.wait_for()
    while stage.locator("[data-more]").count() > 0:
        stage.locator("[data-more]").click()
    shown = (stage.locator(".side .less").count(), stage.locator(".side .more").count())
    expect(shown == (less, more), "a pass shows all lines that it changed", shown)
    page.picture("diff")


def keys_and_colours(page):
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.page.evaluate(background)
    page.press("d")
    dark = page.page.evaluate(background)
    expect(light != dark, "d changes light and dark", f"{light}, {dark}")
    page.press("5")
    expect(page("rect[data-value]").count() > 0, "memory over time is drawn", page("rect[data-value]").count())
    page.picture("memory-dark")
    page.press("1")
    page.press("j")
    before = page("#source .lit").first.get_attribute("data-line")
    page.press("j")
    after = page("#source .lit").first.get_attribute("data-line")
    expect(before != after, "j goes to the next line", f"{before}, {after}")


def a_trace_is_a_timeline(browser):
    shutil.rmtree(FOLDER / "run", ignore_errors=True)
    (FOLDER / "text").write_text("the state of a scan is a sum of decays. " * 400)
    mambac("train", "mambabyte:tiny", "--data", "text", "--batch", "2", "--context", "64", "--steps", "3", "--out", "run",
           "--trace", "trace.json")
    mambac("report", "mambabyte:tiny", "--graph", "train", "--set", "B=2", "--set", "L=64", "--trace", "trace.json",
           "--out", "traced.html")
    page = Page(browser, "traced.html")
    page.press("6")
    expect(page("#view svg rect").count() > 10, "a trace is a timeline", f"{page('#view svg rect').count()} boxes")
    page.picture("timeline")
    page.only_itself()


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    seconds = mambac("dump", *MODEL, "--stage", "all", "--out", "dumps")
    expect(seconds < 10, "dump --stage all of 353m takes less than 10 s", f"{seconds:.1f} s")
    seconds = mambac("report", *MODEL, "--out", "report.html")
    size = (FOLDER / "report.html").stat().st_size
    expect(seconds < 20 and size < 6e6, "its report less than 20 s and 6 MB", f"{seconds:.1f} s, {size / 1e6:.2f} MB")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = Page(browser, "report.html")
        expect(page.seconds < 2, "it is loaded, and has followed a key, within 2 s", f"{page.seconds:.2f} s")
        from_a_line_to_machine_code_and_back(page)
        a_layer_unfolds(page)
        the_table_sorts(page)
        a_pass_shows_its_diff(page)
        keys_and_colours(page)
        page.only_itself()
        a_trace_is_a_timeline(browser)
        browser.close()
    print(f"pictures to look at: {FOLDER}/*.png")


main()
