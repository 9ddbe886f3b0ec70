"""Pictures of other servers in a message: nothing is asked for before the press, and after it only by us, only for this message."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from flask import Flask
from werkzeug.serving import make_server

from app.core.db import JOBS_ROLE, WEB_ROLE, transaction, use_database_role
from app.core.extensions import db
from app.core.tokens import sealed_tokens
from app.models import User
from app.services import auth
from app.services.conversations import put_blob
from launch.test import browser
from tests.factories import make_client, make_conversation, make_lead, make_mailbox, make_message, make_user
from tests.web.page_client import PageClient, as_web, web_app

CHROMIUM = browser()
#: One red dot, whole, so that a browser draws it.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


class Far:
    """A server somewhere that would like to know who reads."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        far = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                far.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                kind, body = ("image/svg+xml", b"<svg onload='alert(1)'/>") if "svg" in self.path else ("text/html", PNG)
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Set-Cookie", "who=you")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def paths(self) -> list[str]:
        return [path for path, _ in self.asked]


@pytest.fixture
def far() -> Iterator[Far]:
    found = Far()
    yield found
    found.server.shutdown()
    found.server.server_close()


class Reader:
    def __init__(self, app: Flask, slug: str, html: str) -> None:
        self.app = app
        self.client = make_client(slug=slug)
        mail = f"From: Eve <eve@evil.test>\r\nContent-Type: text/html; charset=utf-8\r\n\r\n{html}".encode()
        conversation = make_conversation(self.client, make_mailbox(self.client), make_lead(self.client))
        self.message = make_message(conversation, "x", has_html=True, raw_sha256=put_blob(self.client.id, mail))
        self.id = self.message.id
        self.user = make_user(self.client, "viewer")
        self.page = PageClient(app).log_in(self.user)
        self.thread = f"/c/{slug}/inbox/{conversation.id}"
        self.frame = f"/c/{slug}/inbox/messages/{self.id}/frame"

    def get(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        answer = as_web(lambda: self.page.client.get(path))
        return answer.status_code, answer.get_data(), dict(answer.headers)

    def pressed(self) -> str:
        """The document after the press on Show images."""
        shown = self.get(self.frame)[1].decode()
        found = re.search(r'<p class="off">.*?href="([^"]+)"', shown)
        assert found, shown
        return self.get(found[1].replace("&amp;", "&"))[1].decode()

    def addresses(self) -> list[str]:
        return re.findall(r'<img[^>]*src="([^"]+)"', self.pressed())


def mail(port: int) -> str:
    far = f"http://127.0.0.1:{port}"
    return (
        f"<p>Hello</p><img src='{far}/a.png?x=1&amp;y=2' alt='A'><img src='{far}/b.svg' alt='B'><img src='{far}/a.png?x=1&amp;y=2'>"
        f"<img src='{far}/pixel.gif' width=1 height=1><img src='{far}/hidden.gif' style='display:none'><img src='{far}/zero' width='0' height='0'>"
        f"<img src='{far}/tall' style='width:1px;height:1px'><table background='{far}/bg'><td style='background:url({far}/css)'>x</table>"
        f"<img srcset='{far}/set 2x' src='http://10.0.0.5/inside.png'><a href='{far}/link' data-own>press</a>"
    )


def test_nothing_is_asked_for_before_the_press_and_no_counting_image_ever(app: Flask, far: Far) -> None:
    reader = Reader(app, "acme", mail(far.port))
    status, body, headers = reader.get(reader.frame)
    assert status == 200 and b"4 pictures on other servers are not shown" in body and b"Show images" in body
    assert f":{far.port}/a.png".encode() not in body and headers["X-Remote-Images"] == "4" and not far.asked
    assert b"data-own" not in body.split(b"</p>", 1)[1], "only our own line may open something without asking"
    addresses = reader.addresses()
    assert len(addresses) == 4 and all(one.startswith(f"/c/acme/inbox/messages/{reader.id}/remote/") for one in addresses)
    assert addresses[0] == addresses[2], "the same picture twice is one address"
    answers = [reader.get(one) for one in addresses]
    assert [status for status, _, _ in answers] == [200, 404, 200, 404], "no svg, and nothing of an inner network"
    assert sorted(set(far.paths)) == ["/a.png?x=1&y=2", "/b.svg"]


def test_a_picture_comes_without_anything_that_says_who_reads(app: Flask, far: Far) -> None:
    reader = Reader(app, "acme", mail(far.port))
    status, body, headers = reader.get(reader.addresses()[0])
    assert (status, body, headers["Content-Type"]) == (200, PNG, "image/png"), "named by its bytes, not by its server"
    assert headers["X-Content-Type-Options"] == "nosniff" and headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert headers["Cache-Control"].startswith("private") and "who=you" not in str(headers)
    assert not {"cookie", "referer", "authorization", "x-forwarded-for", "origin"} & set(far.asked[0][1])
    assert set(far.asked[0][1]) == {"host", "accept", "accept-encoding", "user-agent", "connection"}


def test_addresses_are_of_one_message_and_one_client(app: Flask, far: Far) -> None:
    ours, theirs = Reader(app, "acme", mail(far.port)), Reader(app, "other", mail(far.port))
    address = ours.addresses()[0]
    token = address.rsplit("/", 1)[1]
    asked = len(far.asked)
    assert theirs.get(address)[0] == 404
    assert theirs.get(f"/c/other/inbox/messages/{theirs.id}/remote/{token}")[0] == 404
    another = make_message(make_conversation(ours.client, make_mailbox(ours.client), make_lead(ours.client)), "y")
    assert ours.get(f"/c/acme/inbox/messages/{another.id}/remote/{token}")[0] == 404
    for wrong in (token[:-2], token + "A", "x", "é", token[::-1]):
        assert ours.get(f"/c/acme/inbox/messages/{ours.id}/remote/{wrong}")[0] == 404
    forged = sealed_tokens().seal("leave", {"c": ours.client.id, "m": ours.id, "u": "http://127.0.0.1/x"})
    assert ours.get(f"/c/acme/inbox/messages/{ours.id}/remote/{forged}")[0] == 404
    for press in ("1", "on", sealed_tokens().seal("show pictures", {"c": ours.client.id, "m": another.id})):
        assert b"/remote/" not in ours.get(f"{ours.frame}?images={press}")[1], "a link in a mail cannot press for the reader"
    assert PageClient(app).get(address).status in {302, 401} and len(far.asked) == asked


def test_a_hundred_pictures_at_most_and_no_address_longer_than_a_request_takes(app: Flask) -> None:
    many = "".join(f"<img src='https://far.test/{number}.png'>" for number in range(130))
    long = f"<img src='https://far.test/{'x' * 3_100}'><img src='https://far.test/{'é' * 1_400}'>"
    addresses = Reader(app, "acme", long + many).addresses()
    assert len(addresses) == 100 and max(map(len, addresses)) < 7_000


def test_a_mail_without_pictures_offers_nothing(app: Flask) -> None:
    reader = Reader(app, "acme", "<p>Hello</p><img src='http://far.test/p' width=1 height=1>")
    assert b"Show images" not in reader.get(reader.frame)[1]


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_reader_presses_once_and_sees_them_where_the_mail_stands(app: Flask, far: Far) -> None:
    from playwright.sync_api import expect, sync_playwright

    reader = Reader(app, "acme", mail(far.port))
    user_id = reader.user.id
    server = make_server("127.0.0.1", 0, web_app(app), threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    house = f"http://127.0.0.1:{server.server_port}"
    use_database_role(WEB_ROLE)
    db.session.remove()
    db.engine.dispose()
    with transaction():
        link = auth.make_one_time_link(db.session.get_one(User, user_id), "login")
    db.session.remove()
    asked: list[str] = []
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            page = browser.new_page()
            page.on("request", lambda request: asked.append(request.url))
            page.goto(house + link)
            page.click("main button[type=submit]")
            page.goto(house + reader.thread)
            frame = page.frame_locator("iframe[data-frame]")
            expect(frame.locator("p.off")).to_contain_text("4 pictures")
            assert not far.asked
            frame.get_by_role("link", name="Show images").click()
            expect(frame.locator("img").first).to_have_js_property("naturalWidth", 1)
            expect(frame.locator("p.off")).to_have_count(0)
            expect(page.locator("dialog[open]")).to_have_count(0)
            frame.get_by_role("link", name="press").click()
            expect(page.locator("dialog[open]")).to_contain_text(f"127.0.0.1:{far.port}/link")
            browser.close()
    finally:
        use_database_role(JOBS_ROLE)
        server.shutdown()
    assert set(far.paths) == {"/a.png?x=1&y=2", "/b.svg"} and not [url for url in asked if not url.startswith((house, "data:"))]
