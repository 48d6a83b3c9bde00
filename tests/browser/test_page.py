"""The page in a real browser: wide and narrow, light and dark, printed, and of hostile names.

It is run by Playwright in the Chromium of the system. A machine without one fails in CI, where
the page would otherwise go untested without a word, and skips elsewhere, saying so.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from nets import LOIHI2, tiny
from playwright.sync_api import sync_playwright

from snn2hw import target as targets
from snn2hw.ir.network import Network
from snn2hw.pipeline import builds, keeping, page
from snn2hw.pipeline.comparing import row as row_of
from snn2hw.pipeline.exporting import export
from snn2hw.pipeline.loading import Model
from snn2hw.pipeline.port import Samples

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
SIZES = [(1200, 900), (390, 844)]
HOSTILE = {
    "lif1": "<script>alert(1)</script>\"'><img src=http://x.invalid/a.png onerror=alert(2)>",
    "lif2": "\u202egnp.exe" + "=cmd|'/c calc'!A1 " + "w" * 5000,
}


@pytest.fixture(scope="module")
def browser():
    found = os.environ.get("SNN2HW_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        said = f"no Chromium here ({', '.join(NAMES)}, or $SNN2HW_CHROMIUM)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"The page cannot be tested: {said}.")
        pytest.skip(f"THE PAGE IS NOT TESTED HERE: {said}")
    with sync_playwright() as play:
        chromium = play.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def renamed(net: Network, names: dict[str, str]) -> Network:
    """Return the network with other names of nodes."""
    nodes = {names.get(k, k): n for k, n in net.nodes.items()}
    edges = tuple((names.get(a, a), names.get(b, b)) for a, b in net.edges)
    return replace(net, nodes=nodes, edges=edges)


CPU = {
    "who": "teacher", "runs_on": "this CPU", "accuracy": 1.0, "latency_us": 120.0, "samples": 16,
    "energy_uj": {"low": 10.0, "typical": 20.0, "high": 40.0}, "how": "measured",
}  # fmt: skip


def samples() -> Samples:
    x = np.random.default_rng(0).integers(0, 2, (16, 4, 4))
    return Samples({"input": x}, np.arange(16) % 2, "made up")


def written(folder: Path, net: Network, name: str) -> Path:
    """Build a network, run it on labelled samples and write its page."""
    made = export(Model(name, net, {}), LOIHI2, folder)
    measured = builds.measure(made, samples())
    keeping.keep_bill(made.path, measured.document(made.digest))
    refused = {"target": "other", "fits": False, "reasons": ["lif1: too large"]}
    evidence = page.of_build(
        made, measured, None, command="a test", root=folder,
        targets=[row_of(made, measured), refused], others=[CPU],
    )  # fmt: skip
    return page.write(folder / "page.html", evidence)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("plain"), tiny(), "tiny")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    return written(tmp_path_factory.mktemp("hostile"), renamed(tiny(), HOSTILE), "hostile")


@pytest.fixture(scope="module")
def several(tmp_path_factory) -> Path:
    """A page of two builds."""
    folder = tmp_path_factory.mktemp("several")
    subjects, rows = [], []
    for target in ("loihi2", "loihi1"):
        made = export(Model("tiny", tiny(), {}), targets.load(target), folder)
        measured = builds.measure(made, samples())
        subjects.append(page.subject(made, measured, None, page.FEW))
        rows.append(row_of(made, measured))
    evidence = page.of_targets("tiny", rows, subjects, command="a test", root=folder, others=[CPU])
    return page.write(folder / "page.html", evidence)


@pytest.fixture
def visit(browser):
    """Open a page as a file; nothing may be asked of a network or said on the console."""
    contexts, noise = [], []

    def open_page(path: Path, size=SIZES[0], scheme="light"):
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
        )
        contexts.append(context)
        shown = context.new_page()
        shown.on("console", lambda message: noise.append(message.text))
        shown.on("pageerror", lambda error: noise.append(str(error)))
        shown.on("dialog", lambda dialog: noise.append(dialog.message))
        shown.on(
            "request",
            lambda r: (
                None if r.url.startswith(("file:", "data:", "blob:")) else noise.append(r.url)
            ),
        )
        shown.goto(path.as_uri())
        return shown

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("which", ["plain", "hostile", "several"])
def test_nothing_is_cut_and_nothing_keeps_anybody_from_reading(visit, request, which, size, scheme):
    shown = visit(request.getfixturevalue(which), size, scheme)
    width = shown.evaluate("document.documentElement.scrollWidth")
    assert width <= size[0]
    beyond = shown.evaluate(
        """() => [...document.querySelectorAll("main *, header *")].filter(e => {
             const box = e.getBoundingClientRect();
             return box.width && box.right > innerWidth + 1 && !e.closest(".scroll, .small");
           }).map(e => e.outerHTML.slice(0, 80))"""
    )
    assert beyond == []
    cut = shown.evaluate(
        """() => [...document.querySelectorAll("svg text")].filter(t => {
             const [own, box] = [t, t.ownerSVGElement].map(e => e.getBoundingClientRect());
             return own.width && (own.left < box.left - 1 || own.right > box.right + 1);
           }).map(t => t.textContent)"""
    )
    assert cut == []
    if size[0] < 640:  # nothing has to be scrolled sideways
        shown.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        wide = shown.evaluate(
            """() => [...document.querySelectorAll(".scroll")]
                 .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.ariaLabel)"""
        )
        assert wide == []
    found = Axe().run(shown).response["violations"]
    assert [(v["id"], v["nodes"][0]["html"]) for v in found] == []
    twice = shown.evaluate(
        """() => { const ids = [...document.querySelectorAll("[id]")].map(e => e.id);
                   return ids.filter((id, i) => ids.indexOf(id) !== i); }"""
    )
    assert twice == []
    back = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    dark = sum(map(int, back.removeprefix("rgb(").removesuffix(")").split(","))) < 3 * 128
    assert dark == (scheme == "dark")


def test_what_must_be_there_is_there_without_the_script(browser, plain):
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(plain.as_uri())
    text = shown.inner_text("body")
    for part in (
        "An inference of tiny-loihi2 costs about",
        "against 20,000\xa0nJ for the teacher on this CPU", "Not proved",
        "From the teacher to the chip", "Where the energy goes",
        "does not fit: 1 reason", "Accuracy against cost", "Raster", "Prices", "synop",
        "PilotNet", "a test", "program.h5",
    ):  # fmt: skip
        assert part in text, part
    assert shown.locator(".sample:visible").count() == 4  # all samples, as nobody can choose one
    context.close()


def test_a_sample_is_chosen(visit, plain):
    shown = visit(plain)
    shown.emulate_media(reduced_motion="reduce")
    visible = shown.locator(".sample:visible")
    assert visible.count() == 1
    before = visible.locator("h3").inner_text()
    shown.get_by_label("Sample", exact=True).select_option(index=2)
    assert visible.count() == 1
    assert visible.locator("h3").inner_text() != before


def test_tables_sort_by_keyboard_by_the_numbers_behind_what_is_shown(visit, plain):
    shown = visit(plain)
    table = shown.locator("table[data-name=layers-by-event]")
    head = table.get_by_role("button", name="spikes")

    def values():
        cells = table.locator("tbody tr td:nth-child(4)").all()
        return [float(c.get_attribute("data-value")) for c in cells]

    head.focus()
    shown.keyboard.press("Enter")
    assert values() == sorted(values())
    assert table.locator("th[aria-sort]").get_attribute("aria-sort") == "ascending"
    shown.keyboard.press("Enter")
    assert values() == sorted(values(), reverse=True)
    assert values()[0] > values()[-1]


def test_every_table_is_saved_as_csv_which_no_spreadsheet_runs(visit, hostile):
    shown = visit(hostile)
    shown.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    buttons = shown.locator("table[data-name] button.csv")
    assert buttons.count() == shown.locator("table").count() > 8
    table = shown.locator("table[data-name=layers-by-event]")
    with shown.expect_download() as download:
        table.locator("button.csv").click()
    assert download.value.suggested_filename == "layers-by-event.csv"
    text = Path(download.value.path()).read_text(encoding="utf-8")
    head, *rows = text.splitlines()
    assert head.startswith('"layer","neurons"')
    assert len(rows) == 2
    for row in rows:
        for cell in row.split('","'):
            assert not cell.lstrip('"').startswith(("=", "+", "@"))


def test_names_stay_names(visit, hostile):
    shown = visit(hostile)
    assert shown.locator("main img").count() == 0
    assert shown.locator("script").count() == 1
    assert "<script>alert(1)</script>" in shown.inner_text("#b0-energy")
    source = hostile.read_text(encoding="utf-8")
    assert "\u202e" not in source
    assert "\\u202egnp" in shown.inner_text("#b0-energy")
    assert len(source.encode()) < 500_000


def test_what_is_not_known_comes_last_and_a_csv_has_numbers_in_full(visit, plain):
    shown = visit(plain)
    table = shown.locator("table[data-name=targets]")
    head = table.get_by_role("button", name="total nJ")
    for _ in range(2):
        head.click()
        known = [c.get_attribute("data-value") for c in table.locator("td:nth-child(9)").all()]
        assert [x is None for x in known] == [False, True, True]
    (full,) = (x for x in known if x)
    assert "." in full  # which is not shown
    with shown.expect_download() as download:
        table.locator("button.csv").click()
    assert f'"{full}"' in Path(download.value.path()).read_text(encoding="utf-8")


def test_it_prints(visit, plain):
    """Every table is whole on paper: nothing stands beyond the edge of an A4 sheet."""
    shown = visit(plain, (718, 1000))  # A4 less its margins
    shown.emulate_media(media="print")
    assert shown.evaluate("document.documentElement.scrollWidth") <= 718
    assert not shown.locator("nav").is_visible()
    # What is folded is there, by the style alone.
    folded = shown.evaluate(
        """() => [...document.querySelectorAll("details:not([open])")].map(
             d => d.lastElementChild.checkVisibility({ contentVisibilityAuto: true }))"""
    )
    assert len(folded) >= 2
    assert all(folded)
    assert shown.pdf(format="A4").startswith(b"%PDF")
