"""One rehearsal and one Chromium for all browser journeys: each journey has a window of its own, already signed in.

``house`` is a whole ``bin/run``; ``tab`` a page whose console, scripts and server answers are watched: an error in any of them
fails the journey that caused it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect, sync_playwright

from launch.test import browser as find_browser
from tests.browser.person import Person, Watch
from tests.story.house import House, running_house

expect.set_options(timeout=30_000)

FOLDER = Path(__file__).parent
CHROMIUM = find_browser()
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The story comes first: it wants the rehearsal's first morning, before the other journeys touch it."""
    ours = [item for item in items if FOLDER in item.path.parents]
    for item in ours:
        for mark in (pytest.mark.browser, pytest.mark.slow, pytest.mark.serial):
            item.add_marker(mark)
    told = iter(sorted(ours, key=lambda item: item.path.name != "test_story.py"))
    items[:] = [next(told) if FOLDER in item.path.parents else item for item in items]


@pytest.fixture(scope="package")  # a running Playwright is a running event loop: tests elsewhere want a thread without one
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        words = "no Chromium on this machine: the browser journeys cannot be told (Debian: apt install chromium fonts-liberation)"
        if os.environ.get("CI", "").lower() in {"1", "true", "yes"}:
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="package")
def house(browser: Browser) -> Iterator[House]:
    """The rehearsal, whole: its people have begun to read and to answer."""
    with running_house() as running:
        yield running


@pytest.fixture(scope="package")
def session_state(browser: Browser, house: House) -> StorageState:
    """The cookies of somebody who logged in with the password of the first start."""
    context = browser.new_context(base_url=house.url)
    Person(context.new_page(), house).log_in()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def context(browser: Browser, house: House, session_state: StorageState) -> Iterator[BrowserContext]:
    opened = browser.new_context(
        base_url=house.url, storage_state=session_state, viewport={"width": 1440, "height": 900}
    )
    opened.set_default_timeout(30_000)
    yield opened
    opened.close()


@pytest.fixture
def tab(context: BrowserContext) -> Iterator[Page]:
    page = context.new_page()
    watch = Watch(page)
    yield page
    watch.assert_quiet()


@pytest.fixture
def person(tab: Page, house: House) -> Person:
    return Person(tab, house)
