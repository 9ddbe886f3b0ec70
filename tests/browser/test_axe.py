"""axe finds nothing on any page, light and dark, wide and on a phone: no rule is disabled, no element left out. Between the two, where the
inbox has two panes, nothing is wider than the window either.

The pages are those of the address map, found there without being listed here. Where an address has an id, LISTS says which
list of the API knows one; an address with any other kind of id is looked at as soon as a page links to it.
On the same visit: nothing, no opened menu either, is wider than the window.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, StorageState

from app import create_app
from tests.browser.person import CLIENT, password_of
from tests.conftest import ROOT, settings_for
from tests.story.house import House

AXE = ROOT / "app/static/vendor/axe.min.js"
NOT_PAGES = (
    "static", "api.", "original.", "health.healthz", "health.readyz", "health.openapi", "stream.", "mail_frame.", "campaigns.step_html",
    "pages.live_card", "mailboxes.servers",
)  # fmt: skip
UNKNOWN = "unknown"  # the page of a link that is no longer valid
LISTS = {
    "campaign_id": "campaigns", "lead_id": "leads", "mailbox_id": "mailboxes", "import_id": "imports",
    "conversation_id": "inbox/conversations", "delivery_id": "deliveries",
}  # fmt: skip
#: Two windows. The wide one is drawn narrower on the same visit, where it has two panes: the same page for axe, but for its widths.
SIZES = (((1024, 768), (1440, 900)), ((390, 844),))
# Left out are what nobody reads (where an element stands, in CSS) and the fetching of films and sounds to know their length: no page has any.
# Both themes on one visit. The dark one changes nothing but colours, so only axe's rules on colours are asked a second time.
BEGIN = """() => {
    const quiet = () => !document.querySelector(".htmx-request") && !document.getAnimations().length;
    const words = (name, found) => found.violations.map((one) => `(${name}) ${one.impact} ${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 140)).join("  |  ")}`);
    const look = async () => {
        for (let looks = 0; looks < 60 && !quiet(); looks += 1) await new Promise((go) => setTimeout(go, 25));
        const plain = { resultTypes: ["violations"], selectors: false, preload: false };
        const light = words("light", await axe.run(plain));
        document.documentElement.dataset.bsTheme = "dark";
        const dark = words("dark", await axe.run({ ...plain, runOnly: ["color-contrast", "link-in-text-block"] }));
        document.documentElement.dataset.bsTheme = "light";
        return [...light, ...dark];
    };
    window.told = look();
}"""
WIDER = """() => {
    const beyond = (node) => node.getBoundingClientRect().right > innerWidth + 1 || node.getBoundingClientRect().left < -1;
    const held = (node) => { for (let at = node; at && at !== document.body; at = at.parentElement) { const style = getComputedStyle(at); if (/auto|scroll|hidden|clip/.test(style.overflowX) || style.clipPath !== "none") return true; } return false; };
    const seen = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true, contentVisibilityAuto: true });
    const name = (node) => `${node.tagName} ${node.className}`;
    const found = [...document.querySelectorAll("body *")].filter((node) => beyond(node) && seen(node) && !held(node) && !node.closest(".skip")).slice(0, 3).map(name);
    for (const menu of document.querySelectorAll("details[data-menu]")) {
        if (!seen(menu) || menu.closest(".table-scroll")) continue;
        menu.open = true;
        const list = menu.querySelector(".menu-list");
        if (list && beyond(list)) found.push("menu " + name(menu) + " " + name(list));
        menu.open = false;
    }
    return found;
}"""

LINKS = "() => [...document.querySelectorAll('a[href]:not([download])')].filter((a) => a.origin === location.origin).map((a) => a.pathname)"


@pytest.fixture(scope="module")
def ids(house: House) -> dict[str, list[int]]:
    """The newest of each kind; of the campaigns also the oldest, as a draft and a running one are two pages."""
    body = {"email": "admin@emberdemo.test", "password": password_of(house)}
    token = requests.post(f"{house.url}/api/auth/login", json=body, timeout=10).json()["access_token"]
    found = _an_endpoint(house, {"Authorization": f"Bearer {token}"})
    for name, path in LISTS.items():
        answer = requests.get(f"{house.url}/api/{path}?limit=100", headers={"Authorization": f"Bearer {token}"}, timeout=10)
        numbers = sorted(row["id"] for row in answer.json()["items"])
        assert numbers, f"the rehearsal has no {name}"
        found[name] = numbers[:2] if name == "campaign_id" else numbers[-1:]
    return found


def _an_endpoint(house: House, allowed: dict[str, str]) -> dict[str, list[int]]:
    """A rehearsal tells nobody by itself: an endpoint, and a delivery that reached nobody."""
    hooks = f"{house.url}/api/webhook-endpoints"
    made = requests.post(hooks, json={"url": "https://hooks.emberdemo.test/in"}, headers=allowed, timeout=10).json()["endpoint"]["id"]
    tried = requests.post(f"{hooks}/{made}/test", headers=allowed, timeout=30).json()["id"]
    return {"endpoint_id": [made], "call_id": [tried]}


@pytest.fixture(scope="module")
def rules() -> list[str]:
    """Every address that answers GET with a page of its own, with its blanks."""
    app = create_app(settings_for("postgresql://127.0.0.1/none", "redis://127.0.0.1"))
    return sorted(
        rule.rule.replace("/c/<slug>", CLIENT).replace("<token>", UNKNOWN)
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.endpoint.startswith(NOT_PAGES) and not rule.rule.endswith(".csv")
    )


def filled(rule: str, ids: dict[str, list[int]]) -> Iterator[str]:
    kind = re.search(r"<int:(\w+)>", rule)
    for number in ids.get(kind.group(1), []) if kind else [0]:
        path = re.sub(r"<int:\w+>", str(number), rule)
        assert "<" not in path, f"{rule}: this test does not know how to fill it"
        yield path


def linked(rules: list[str], ids: dict[str, list[int]], links: set[str]) -> Iterator[str]:
    """For each address with an id that no list knows: the first link that leads to one."""
    for rule in rules:
        kind = re.search(r"<int:(\w+)>", rule)
        if kind and kind.group(1) not in ids:
            wanted = re.compile(re.sub(r"<int:\w+>", r"\\d+", rule) + "$")
            yield from [link for link in sorted(links) if wanted.match(link)][:1]


class Reader:
    """One window. It begins to look at a page and is asked later, so that two windows can look at the same time."""

    def __init__(self, page: Page, sizes: tuple[tuple[int, int], ...]) -> None:
        self.page, self.sizes, self.path = page, sizes, ""
        self.found: list[str] = []
        self.seen: set[str] = set()
        self.links: set[str] = set()

    def open(self, path: str) -> None:
        self.finish()
        answer = self.page.goto(path, wait_until="load")
        assert answer is not None and (answer.status == 200 or UNKNOWN in path), f"{path}: {answer and answer.status}"
        if self.page.url in self.seen:
            return
        self.seen.add(self.page.url)
        if path == "/docs":
            self.page.locator(".opblock").first.wait_for()
        self.path = path
        self.links.update(self.page.evaluate(LINKS))
        for width, height in self.sizes:
            if len(self.sizes) > 1:
                self.page.set_viewport_size({"width": width, "height": height})
            self._note(self.page.evaluate(WIDER), width)
        self.page.evaluate(BEGIN)

    def finish(self) -> None:
        if self.path:
            self._note(self.page.evaluate("() => window.told"), self.sizes[-1][0])
        self.path = ""

    def _note(self, told: Any, width: int) -> None:
        self.found += [f"{self.path} at {width} px: {one}" for one in told]


def look(readers: list[Reader], paths: list[str]) -> None:
    for path in paths:
        for reader in readers:
            reader.open(path)
    for reader in readers:
        reader.finish()


def test_axe_finds_nothing_and_nothing_is_wider_than_the_window(
    browser: Browser, house: House, session_state: StorageState, rules: list[str], ids: dict[str, list[int]]
) -> None:
    assert AXE.exists(), "axe-core was not fetched"
    found: list[str] = []
    for state in (session_state, None):
        readers = []
        for sizes in SIZES:
            width, height = sizes[-1]
            context = browser.new_context(
                base_url=house.url, storage_state=state, bypass_csp=True, viewport={"width": width, "height": height},
                color_scheme="light", reduced_motion="reduce",
            )  # fmt: skip
            context.add_init_script(path=AXE)
            readers.append(Reader(context.new_page(), sizes))
        if state is None:
            look(readers, ["/login"])
        else:
            look(readers, [path for rule in rules for path in filled(rule, ids)])
            look(readers, list(linked(rules, ids, readers[0].links)))
            assert len(readers[0].seen) > 40, sorted(readers[0].seen)
        for reader in readers:
            found += reader.found
            reader.page.context.close()
    assert not found, "\n".join(found)
