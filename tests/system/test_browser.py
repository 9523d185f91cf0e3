"""The built book as a browser shows it, with the network refused, and a chapter in JupyterLab.

`make pages` runs this after `make book`, on the pages in _build/html. The browser is the system's Chromium; Playwright downloads none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; `make install` brings it")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "_build" / "html"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FRONT = BUILT / "index.html"  # sends the reader on to book/index.html
PAGES = sorted(
    file.relative_to(BUILT).as_posix()
    for file in BUILT.rglob("*.html")
    if "_static" not in file.parts and file != FRONT
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH; on Debian: apt-get install chromium"),
]
built = pytest.mark.skipif(not PAGES, reason="no pages in _build/html; `make book` builds them")

RULES = [
    "button-name", "color-contrast", "document-title", "empty-heading", "heading-order", "html-has-lang", "image-alt", "label", "link-name",
    "page-has-heading-one", "role-img-alt", "svg-img-alt",
]  # fmt: skip
"""axe-core's rules on headings, texts for pictures and controls, and contrast."""

FAULTS = r"""() => {
  const faults = [];
  const wide = document.scrollingElement.scrollWidth - window.innerWidth;
  if (wide > 1) {
    const outermost = [...document.querySelectorAll("article *")].find(e => e.getBoundingClientRect().right > window.innerWidth + 1);
    faults.push(`scrolls ${wide} px sideways: ` + (outermost ? outermost.outerHTML.slice(0, 120) : ""));
  }
  for (const image of document.images)
    if (!image.complete || image.naturalWidth === 0) faults.push(`missing image: ${image.src.slice(0, 120)}`);
  for (const error of document.querySelectorAll("mjx-merror, [data-mjx-error]")) faults.push(`maths error: ${error.textContent}`);
  for (const link of document.querySelectorAll('article a.internal[href^="#"]'))
    if (link.hash && !document.getElementById(decodeURIComponent(link.hash.slice(1))))
      faults.push(`leads nowhere: ${link.outerHTML.slice(0, 120)}`);
  [...document.querySelectorAll('article figure[id^="figure-"] figcaption')].forEach((caption, i) => {
    if (!caption.textContent.match(`Figure \\w+\\.${i + 1}\\. `))
      faults.push(`figure ${i + 1} is called ${caption.textContent.slice(0, 60)}`);
  });
  const walker = document.createTreeWalker(document.querySelector("article, main") || document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode())
    if (/\\[(\[]/.test(walker.currentNode.data) && !walker.currentNode.parentElement.closest("pre, code, script, mjx-container"))
      faults.push(`raw maths: ${walker.currentNode.data.slice(0, 80)}`);
  return faults;
}"""


STILL = """addEventListener("DOMContentLoaded", () => {
  document.head.appendChild(document.createElement("style")).textContent = "* { transition: none !important }";
});"""
"""Else a colour is measured on its way from light to dark."""


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as started:
        yield started.chromium.launch(executable_path=CHROMIUM)


def open_page(browser: playwright.Browser, address: str, faults: list[str]) -> playwright.Page:
    """Open an address of the book; console errors, failed requests and requests to the network become faults."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True).new_page()
    page.add_init_script(STILL)
    page.on("console", lambda said: faults.append(f"console: {said.text}") if said.type == "error" else None)
    page.on("pageerror", lambda error: faults.append(f"script: {error}"))
    page.on("requestfailed", lambda asked: faults.append(f"request failed: {asked.url[:120]}"))
    page.on(
        "request",
        lambda asked: faults.append(f"leaves the page: {asked.url}") if asked.url.startswith("http") else None,
    )
    page.goto(address)
    page.evaluate("() => window.MathJax && MathJax.startup && MathJax.startup.promise")
    return page


def violations(page: playwright.Page, rules: list[str]) -> list[str]:
    """Return what axe-core finds, each with the element.

    Formulas are MathJax's own, and as black as the text. Code has the same colours on all pages and thousands of elements, so it is left
    out here: `test_code_is_readable` checks them once.
    """
    options = {"runOnly": {"type": "rule", "values": rules}, "preload": False, "resultTypes": ["violations"]}
    found = axe.Axe().run(page, {"exclude": [["mjx-container"], ["div.highlight"]]}, options).response["violations"]
    return [
        f"{rule['id']}: {node['html'][:160]} {(node['any'] or [{'message': ''}])[0]['message']}"
        for rule in found
        for node in rule["nodes"]
    ]


@built
@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_fault(browser: playwright.Browser, name: str) -> None:
    faults: list[str] = []
    page = open_page(browser, (BUILT / name).as_uri(), faults)
    faults += [f"light: {fault}" for fault in violations(page, RULES)]
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.theme === 'dark'")
    faults += [f"dark: {fault}" for fault in violations(page, ["color-contrast"])]
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("dark", "light"):
            page.emulate_media(color_scheme=scheme)
            faults += [f"{width} px, {scheme}: {fault}" for fault in page.evaluate(FAULTS)]
    faults += move_players(page)
    page.context.close()
    assert not faults, "\n".join(dict.fromkeys(faults))


@built
def test_the_front_page_leads_into_the_book(browser: playwright.Browser) -> None:
    page = browser.new_context(offline=True).new_page()
    page.goto(FRONT.as_uri())
    page.wait_for_url((BUILT / "book" / "index.html").as_uri())
    page.context.close()


@built
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_code_is_readable(browser: playwright.Browser, scheme: str) -> None:
    """Every colour that code has on a page, against its background, by WCAG's ratio of 4.5."""
    page = open_page(browser, (BUILT / "book" / "03_train.html").as_uri(), [])
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    colours = page.evaluate(r"""() => {
      const light = rgb => {
        const [r, g, b] = rgb.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const rgb = text => text.match(/[\d.]+/g).slice(0, 3).map(Number);
      const ground = light(rgb(getComputedStyle(document.querySelector("div.highlight pre")).backgroundColor));
      const found = {};
      for (const span of document.querySelectorAll("div.highlight pre span")) {
        const own = light(rgb(getComputedStyle(span).color));
        found[span.className] = (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05);
      }
      return found;
    }""")
    page.context.close()
    assert len(colours) > 5
    assert not {name: round(ratio, 2) for name, ratio in colours.items() if ratio < 4.5}


def move_players(page: playwright.Page) -> list[str]:
    """Step each player by its button and by the keyboard; return those that show the same picture or caption as before."""
    faults = []
    for number, player in enumerate(page.locator(".hitagu-player").all(), start=1):
        picture, slider, caption = player.locator("img"), player.locator("input"), player.locator("figcaption")
        back, _, on = player.locator("button").all()
        before = picture.get_attribute("src"), caption.inner_text()
        at_end = slider.input_value() == slider.get_attribute("max")
        (back if at_end else on).click()
        moved = picture.get_attribute("src"), caption.inner_text()
        slider.press("ArrowRight" if at_end else "ArrowLeft")
        if moved == before or (picture.get_attribute("src"), caption.inner_text()) != before:
            faults.append(f"player {number} does not follow its controls: {before[1]}")
    return faults


@built
def test_the_search_finds_a_module(browser: playwright.Browser) -> None:
    faults: list[str] = []
    page = open_page(browser, (BUILT / "search.html").as_uri() + "?q=3STU", faults)
    page.wait_for_selector("#search-results li a")
    assert any("3STU" in found for found in page.locator("#search-results li a").all_inner_texts())
    assert not faults


@pytest.fixture
def jupyter_lab(tmp_path: Path) -> Iterator[str]:
    """The address of a JupyterLab on a copy of the book, so that what it saves does not change the chapters."""
    for name in ("hitagu_lib", "params", "outputs"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "book", tmp_path / "book", ignore=shutil.ignore_patterns("*.py", ".ipynb_checkpoints"))
    settings = tmp_path / "settings" / "@jupyterlab" / "notebook-extension"
    settings.mkdir(parents=True)
    # Else cells that are out of sight are not in the page.
    (settings / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    env = os.environ | {
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "spaces"),
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--expose-app-in-browser",
        "--ServerApp.port=0",
        "--IdentityProvider.token=",
    ]
    command += ["--ServerApp.allow_root=True", f"--ServerApp.root_dir={tmp_path}"]
    log = tmp_path / "lab.log"
    with log.open("w") as said:
        server = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=said, stderr=said)
    try:
        yield wait_for_address(server, log)
    finally:
        server.terminate()
        server.wait(30)


def wait_for_address(server: subprocess.Popen[bytes], log: Path) -> str:
    for _ in range(240):
        if found := re.search(r"http://(localhost|127\.0\.0\.1):(\d+)/", log.read_text()):
            address = f"http://127.0.0.1:{found[2]}/"
            try:
                urllib.request.urlopen(f"{address}api", timeout=5)
                return address
            except OSError:
                pass
        if server.poll() is not None:
            break
        time.sleep(0.5)
    raise AssertionError(f"JupyterLab did not start: {log.read_text()[-2000:]}")


def test_an_explorer_s_slider_redraws_in_jupyterlab(browser: playwright.Browser, jupyter_lab: str) -> None:
    """Opens chapter 2d, runs all cells, moves the first slider; the figure that it belongs to becomes another one."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(f"{jupyter_lab}lab/tree/book/02d_attention.ipynb")
    page.wait_for_function("window.jupyterapp && document.querySelector('.jp-Notebook .jp-Cell')")
    page.evaluate("() => jupyterapp.restored")
    # Before it has a kernel, "run all cells" asks for one.
    page.wait_for_function("jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'")
    page.evaluate("() => { jupyterapp.commands.execute('notebook:run-all-cells'); }")
    handle = page.locator(".jp-OutputArea .noUi-handle").first
    handle.wait_for(timeout=300_000)
    explorer = page.locator(".jp-OutputArea-output", has=page.locator(".noUi-handle")).first
    picture = explorer.locator("img").first
    picture.wait_for()
    before = picture.get_attribute("src")
    handle.focus()
    handle.press("ArrowRight")
    page.wait_for_function(
        "([image, before]) => !image.isConnected || image.src !== before", arg=[picture.element_handle(), before]
    )
    after = explorer.locator("img").first
    after.wait_for()
    assert after.get_attribute("src") != before
    assert not page.locator(".jp-RenderedText[data-mime-type='application/vnd.jupyter.stderr'] .ansi-red-fg").count(), (
        "a cell failed"
    )


@built
def test_make_pdf_prints_every_chapter() -> None:
    subprocess.run(["make", "pdf"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    pdf = (ROOT / "_build" / "hitagu-net.pdf").read_bytes()
    assert len(re.findall(rb"/Type ?/Page\b", pdf)) > 200
