# ruff: noqa: E501 - what is evaluated in the browser
"""Hostile mails in a real browser: nothing runs, nothing is loaded, nothing moves outside their box.

Three times: as the product shows them, behind both walls; through the cleaning alone, in a page that would run anything; and in the
frame alone, as they came. Every host that the mails name leads to a trap that counts connections, so that also what is no request
(a connection opened in advance) would be noticed. Many mails stand in one page at a time.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text
from werkzeug.serving import make_server

from app.blueprints.mail_frame import POLICY, SANDBOX
from app.core.db import JOBS_ROLE, WEB_ROLE, transaction, use_database_role
from app.core.extensions import db
from app.core.safe_html import sanitise
from app.models import Conversation, Message, User
from app.services import auth
from app.services.conversations import put_blob
from launch.test import browser
from tests.factories import MONDAY_TEN, make_client, make_conversation, make_lead, make_mailbox, make_user
from tests.fixtures.hostile_html import HOSTILE, HOSTILE_BYTES
from tests.web.page_client import web_app

CHROMIUM = browser()
pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]
AT_ONCE = 60
#: Nothing the browser does for itself may be taken for a mail's doing.
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-client-side-phishing-detection", "--disable-default-apps", "--no-pings", "--disable-features=OptimizationHints,Translate,MediaRouter",
]  # fmt: skip
#: Every carrier with every core is shown once, cleaned, below. The other two tests see each carrier with three of the cores, in turn.
CARRIED = [mail for mail in HOSTILE if mail[0].startswith("carrier_")]
SOME = [mail for mail in HOSTILE if mail not in CARRIED] + [mail for number, mail in enumerate(CARRIED) if (number + number // 12) % 4 == 0]
LAYOUT = [html for name, html in HOSTILE if name.startswith("layout_")]
BENIGN = "<p>Hello, let us talk on Monday.</p>"


class Trap:
    """Where the names in the mails lead: remembers who comes, and what they say first (nothing, where a connection is only opened)."""

    def __init__(self) -> None:
        self.caught: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=200)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                threading.Thread(target=self._hear, args=(peer,), daemon=True).start()

    def _hear(self, peer: socket.socket) -> None:
        said = b""
        with peer, contextlib.suppress(OSError):
            peer.settimeout(0.5)
            said = peer.recv(2_000)
        self.caught.append(repr(said[:80]))

    def close(self) -> None:
        self._socket.close()


@dataclass
class Watched:
    """A page, and what it did that a mail could have caused."""

    page: Any
    trap: Trap
    asked: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)  # what reached the network, beyond what was tried and blocked
    noticed: list[str] = field(default_factory=list)

    def start_anew(self) -> None:
        self.asked.clear()
        self.left.clear()
        self.noticed.clear()
        self.trap.caught.clear()


@pytest.fixture
def watched() -> Iterator[Watched]:
    from playwright.sync_api import sync_playwright

    trap = Trap()
    rules = f"--host-resolver-rules=MAP *.test 127.0.0.1:{trap.port}, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        def launched() -> Any:
            return playwright.chromium.launch(executable_path=CHROMIUM, args=[*ARGUMENTS, rules])

        with contextlib.closing(launched()) as other:  # one of its own: what it goes on to try must not be counted later
            _the_trap_works(other.new_page(), trap)
        browser = launched()
        found = Watched(browser.new_context(viewport={"width": 1280, "height": 900}).new_page(), trap)
        found.page.on("request", lambda request: found.asked.append(request.url))
        found.page.on("dialog", lambda dialog: (found.noticed.append(f"a dialog: {dialog.message}"), dialog.dismiss()))
        found.page.on("popup", lambda page: found.noticed.append(f"a window: {page.url}"))
        found.page.on("download", lambda file: found.noticed.append(f"a file: {file.url}"))
        yield found
        browser.close()
    trap.close()


def _the_trap_works(page: Any, trap: Trap) -> None:
    """A page without any wall is caught at once: what follows would be noticed."""
    page.set_content("<link rel=preconnect href=http://evil.test><img src=http://evil.test/x>")
    for _ in range(200):
        if any("GET /x" in said for said in trap.caught):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"the trap caught nothing: {trap.caught}")


@pytest.fixture
def served(app: Flask) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, web_app(app), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(5)


SHOW = """async ({ frames, sandbox }) => {
    const box = document.createElement("div");
    box.id = "hostile-box";
    Object.assign(box.style, { position: "fixed", inset: "0", overflow: "hidden", zIndex: "-1" });
    document.body.append(box);
    const outside = () => JSON.stringify([
        location.href, document.title, history.length, scrollX, scrollY, document.activeElement.tagName + document.activeElement.id, window.length >= 0,
        getComputedStyle(document.body).backgroundColor, document.documentElement.scrollWidth,
        ...[...document.querySelectorAll("body, body *")].filter((node) => !node.closest("#hostile-box")).map((node) => {
            const at = node.getBoundingClientRect();
            return [node.tagName, node.className.toString(), at.x, at.y, at.width, at.height];
        }),
    ]);
    const before = outside();
    const opened = frames.map((one) => {
        const frame = document.createElement("iframe");
        Object.assign(frame.style, { width: "600px", height: "400px" });
        if (sandbox !== null) frame.setAttribute("sandbox", sandbox);
        if (one.src) frame.src = one.src; else frame.srcdoc = one.html;
        const loaded = new Promise((resolve) => { frame.addEventListener("load", () => resolve(true), { once: true }); setTimeout(() => resolve(false), 60000); });
        box.append(frame);
        return { frame, loaded, name: one.name, clean: one.clean };
    });
    const arrived = await Promise.all(opened.map((one) => one.loaded));
    const wrong = opened.filter((one, at) => !arrived[at]).map((one) => `${one.name}: it was not shown`);
    const each = (look) => opened.forEach((one) => { try { look(one, one.frame.contentWindow, one.frame.contentDocument); } catch (error) { wrong.push(`${one.name}: ${error}`); } });
    each((one, window, inner) => inner.querySelectorAll("summary, details, b, p, div, img, td, button").forEach((node) => { if (node.click && !node.closest("a")) node.click(); }));
    await new Promise((resolve) => setTimeout(resolve, 60));
    each((one, window, inner) => {
        if (window.__ran !== undefined) wrong.push(`${one.name}: it ran`);
        if (one.clean) {
            const left = inner.querySelector("body script, iframe, object, embed, meta[http-equiv], base, link, form, input, button, textarea, svg, math, [id], [name], [onload], [onerror]");
            if (left) wrong.push(`${one.name}: <${left.tagName}> is left`);
            for (const node of inner.querySelectorAll("body *")) for (const { name } of node.attributes) {
                if (/^(on|hx-|data-hx|x-|@)/i.test(name)) wrong.push(`${one.name}: ${name} is left`);
            }
        }
    });
    if (window.__ran !== undefined) { wrong.push("something ran in the page itself"); delete window.__ran; }
    const [was, is] = [JSON.parse(before), JSON.parse(outside())];
    box.remove();
    const moved = is.map((one, at) => [was[at], one]).filter(([old, one]) => JSON.stringify(old) !== JSON.stringify(one)).slice(0, 3);
    return { wrong, moved: was.length === is.length ? moved : [[was.length, is.length], ...moved], shown: opened.length };
}"""


def shown_at_once(watched: Watched, frames: list[dict[str, Any]], sandbox: str | None) -> list[str]:
    """Put the mails into the page in batches; what one of them did."""
    wrong, shown, before = [], 0, watched.page.evaluate(STANDS)
    for start in range(0, len(frames), AT_ONCE):
        batch = frames[start : start + AT_ONCE]
        for _attempt in range(4):  # the page may move by itself (a counter, the clock of a row); what a mail does, it does each time
            seen = watched.page.evaluate(SHOW, {"frames": batch, "sandbox": sandbox})
            if not seen["moved"]:
                break
            watched.page.wait_for_timeout(500)
        wrong += seen["wrong"] + [f"with {batch[0]['name']} to {batch[-1]['name']} around them {old} became {new}" for old, new in seen["moved"]]
        shown += seen["shown"]
    assert shown == len(frames) >= 300
    watched.page.wait_for_timeout(700)
    wrong += [] if watched.page.evaluate(STANDS) == before else [f"the page itself is another: {watched.page.evaluate(STANDS)} instead of {before}"]
    return wrong + watched.noticed


#: What no mail may change for good either.
STANDS = "() => JSON.stringify([location.href, document.title, history.length, document.cookie, Object.keys(sessionStorage).length, Object.keys(localStorage).length])"


def kept(conversation: Conversation, mails: list[tuple[str, bytes]]) -> list[int]:
    """Received messages with these bodies, written at once: (character set, body). Their ids."""
    client_id, rows = conversation.client_id, []
    db.session.execute(text("SET LOCAL ROLE emberpost_owner"))
    for number, (charset, body) in enumerate(mails):
        raw = f"From: Eve <eve@evil.test>\r\nX-Number: {number}\r\nContent-Type: text/html; charset={charset}\r\n\r\n".encode() + body
        digest = put_blob(client_id, raw)
        rows.append(Message(
            client_id=client_id, conversation_id=conversation.id, sender_id=conversation.sender_id, direction="in", has_html=True, raw_sha256=digest,
            external_id=f"<{conversation.id}-{number}@evil.test>", text="x", snippet="x", subject="x", from_name="Eve", from_address="eve@evil.test",
            from_key="eve@evil.test", received_at=MONDAY_TEN,
        ))  # fmt: skip
    db.session.add_all(rows)
    db.session.commit()
    return [row.id for row in rows]


def many_mails() -> tuple[User, dict[int, str], list[int]]:
    """(who reads, message → the mail's name, the conversations of a harmless one and of those that would move the page)."""
    client = make_client(slug="acme")
    user, mailbox = make_user(client), make_mailbox(client)
    conversation, calm, wild = (make_conversation(client, mailbox, make_lead(client)) for _ in range(3))
    all_of = [(name, "utf-8", html.encode("utf-8", "replace")) for name, html in SOME] + list(HOSTILE_BYTES)
    ids = kept(conversation, [(charset, body) for _, charset, body in all_of])
    kept(calm, [("utf-8", BENIGN.encode())] * len(LAYOUT))
    kept(wild, [("utf-8", html.encode("utf-8", "replace")) for html in LAYOUT])
    return user, dict(zip(ids, [name for name, _, _ in all_of], strict=True)), [calm.id, wild.id]


@contextlib.contextmanager
def as_the_web(user: User) -> Iterator[str]:
    """The address of a login that works once; meanwhile connections are the web role's."""
    db.session.remove()
    use_database_role(WEB_ROLE)
    db.engine.dispose()
    try:
        with transaction():
            link = auth.make_one_time_link(db.session.get_one(User, user.id), "login")
        db.session.remove()
        yield link
    finally:
        use_database_role(JOBS_ROLE)


def test_no_hostile_mail_runs_loads_or_leaves_its_box(app: Flask, served: str, watched: Watched) -> None:
    user, names, (calm, wild) = many_mails()
    page = watched.page
    with as_the_web(user) as link:
        page.goto(served + link)
        page.click("main button[type=submit]")
        page.goto(f"{served}/c/acme/inbox/", wait_until="load")
        watched.start_anew()
        frames = [{"name": name, "src": f"/c/acme/inbox/messages/{number}/frame", "clean": True} for number, name in names.items()]
        wrong = shown_at_once(watched, frames, SANDBOX) + [f"a connection: {said}" for said in watched.trap.caught]
        wrong += [f"asked for {url}" for url in watched.asked if not url.startswith((served, "data:"))]
        own = ("/frame", "/picture", "part=list", "part=thread")
        wrong += [f"asked for {url}" for url in watched.asked if "/inbox/" in url and not url.endswith(own)]
        assert not wrong, "\n".join(wrong[:20])
        assert outside_of_the_thread(page, f"{served}/c/acme/inbox/{wild}") == outside_of_the_thread(page, f"{served}/c/acme/inbox/{calm}")


OUTSIDE = """() => {
    const box = (node) => { const at = node.getBoundingClientRect(); return [node.tagName, at.x, at.y, at.width, at.height].map((one) => typeof one === "number" ? Math.round(one) : one); };
    const fixed = [...document.querySelectorAll("body, header, nav, main, aside, .sidebar, #inbox-list, #inbox-thread, #thread-head, #thread-scroll, #composer")].map(box);
    const beyond = [...document.querySelectorAll(".message iframe")].filter((frame) => {
        const inner = frame.getBoundingClientRect(), around = frame.closest(".message").getBoundingClientRect();
        return inner.left < around.left - 1 || inner.right > around.right + 1 || inner.top < around.top - 1 || inner.bottom > around.bottom + 1;
    }).length;
    return JSON.stringify([fixed, beyond, document.documentElement.scrollWidth - innerWidth, document.documentElement.scrollHeight - innerHeight]);
}"""


def outside_of_the_thread(page: Any, address: str) -> str:
    """Where everything around the messages stands in the product's own thread, with every message opened."""
    page.goto(address, wait_until="load")
    page.evaluate("() => document.querySelectorAll('.message-fold').forEach((one) => { one.open = true; })")
    page.evaluate("() => document.querySelectorAll('.message iframe').forEach((one) => { one.loading = 'eager'; })")
    page.wait_for_function("() => [...document.querySelectorAll('.message iframe')].every((one) => one.contentDocument && one.contentDocument.URL.endsWith('/frame') && one.contentDocument.readyState === 'complete')")
    page.wait_for_timeout(300)
    page.evaluate("() => { document.getElementById('thread-scroll').scrollTop = 0; }")
    return str(page.evaluate(OUTSIDE))


def plain_page(watched: Watched, mails: dict[str, tuple[str, str]]) -> None:
    """A page of ours without any policy; ``mails``: path → (policy, document)."""
    def answer(route: Any) -> None:
        path = "/" + route.request.url.partition("://")[2].partition("/")[2]
        if route.request.url.startswith("http://walls.example/") and path in {"/", *mails}:
            policy, body = mails.get(path, ("", "<!doctype html><title>walls</title><p>around</p>"))
            route.fulfill(status=200, content_type="text/html; charset=utf-8", headers={"Content-Security-Policy": policy} if policy else {}, body=body)
        elif route.request.url.startswith("http://walls.example/"):
            route.abort()
        else:
            watched.left.append(route.request.url)
            route.continue_()

    watched.page.route("**/*", answer)
    watched.page.goto("http://walls.example/")
    watched.start_anew()


def test_the_cleaning_alone_leaves_nothing_that_runs_or_loads(watched: Watched) -> None:
    plain_page(watched, {})
    frames = [{"name": name, "html": f"<!doctype html><body>{sanitise(html).html}</body>", "clean": True} for name, html in HOSTILE]
    wrong = shown_at_once(watched, frames, None) + [f"a connection: {said}" for said in watched.trap.caught]
    assert not wrong and not watched.left, "\n".join([*wrong[:20], *watched.left[:5]])
    assert not [url for url in watched.asked if not url.startswith(("data:", "about:"))], watched.asked[:5]


def test_the_frame_alone_lets_nothing_run_and_nothing_be_fetched(watched: Watched) -> None:
    """As they came, uncleaned. That a browser opens a connection and says nothing no policy rules out: there the cleaning is the only wall."""
    policy = POLICY.format(own="'self'")
    mails = {f"/mail/{number}": (policy, f"<!doctype html><body>{html}") for number, (_, html) in enumerate(SOME)}
    plain_page(watched, mails)
    frames = [{"name": name, "src": f"/mail/{number}"} for number, (name, _) in enumerate(SOME)]
    wrong = shown_at_once(watched, frames, SANDBOX) + [f"something was sent: {said}" for said in watched.trap.caught if said != "b''"]
    assert not wrong and not watched.left, "\n".join([*wrong[:20], *watched.left[:5]])
