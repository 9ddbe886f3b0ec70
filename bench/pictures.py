"""The pictures of the README, taken from a running rehearsal: ``python -m bench.pictures <address> <data folder>``.

Start ``bin/run`` first and give its address and its ``--data`` folder (``var`` unless you chose another). Needs Chromium.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).resolve().parents[1] / "docs" / "pictures"
WIDTH, HEIGHT = 1440, 900
LARGEST_BYTES = 300_000
ENOUGH_CONVERSATIONS = 8
PATIENCE_SECONDS = 600


def log_in(page: Page, address: str, data: Path) -> None:
    """Sign in as the demo's admin with the password that bin/run wrote."""
    known = dict(line.split(": ", 1) for line in (data / "login.txt").read_text().splitlines() if ": " in line)
    page.goto(f"{address}/login")
    page.fill("input[name=email]", known["e-mail"])
    page.fill("input[name=password]", known["password"])
    page.press("input[name=password]", "Enter")
    page.wait_for_url(f"{address}/c/**")


def take(page: Page, name: str) -> None:
    path = PICTURES / f"{name}.png"
    page.screenshot(path=path)
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        sys.exit(f"{path.name} has {size} bytes, more than {LARGEST_BYTES}")
    print(f"{path.name}: {size} bytes")


def take_inbox(page: Page, client: str) -> None:
    """Wait until enough people have answered, then open a conversation."""
    until = time.monotonic() + PATIENCE_SECONDS
    rows = page.locator("a.conversation-link")
    page.goto(f"{client}/inbox/")
    while rows.count() < ENOUGH_CONVERSATIONS and time.monotonic() < until:
        page.wait_for_timeout(2000)
        page.reload()
    talks = rows.filter(has_text="Interesting")  # one of the people who answer at length
    (talks.first if talks.count() else rows.first).click()
    page.wait_for_timeout(2500)
    take(page, "inbox")


def take_campaign(page: Page, client: str) -> None:
    page.goto(f"{client}/campaigns/?status=running")
    page.locator("table a[href*='/campaigns/']").first.click()
    page.wait_for_timeout(1500)
    take(page, "campaign")


def main(address: str, data: Path) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        log_in(page, address.rstrip("/"), data)
        client = "/".join(page.url.split("/")[:5])
        take_inbox(page, client)
        take_campaign(page, client)
        browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(sys.argv[1], Path(sys.argv[2]))
