"""Somebody at the keyboard: reaches what he means with Tab, presses keys, never touches a pointer. And who watches the page meanwhile."""

from __future__ import annotations

import base64
import json
import re
import urllib.request
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any, cast
from urllib.parse import quote

from playwright.sync_api import ConsoleMessage, Locator, Page, Response

from launch.world import ask
from tests.story.house import House

CLIENT = "/c/ember-demo"
FURTHEST = 160


def password_of(house: House) -> str:
    """What the first start chose for the demo's admin."""
    return (house.data / "login.txt").read_text().partition("password: ")[2].strip()


class Watch:
    """Hears what a page must not say: script errors, refused resources, answers that broke."""

    def __init__(self, page: Page) -> None:
        self.heard: list[str] = []
        page.on("pageerror", lambda error: self.heard.append(f"script: {error}"))
        page.on("console", self._console)
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type == "error" and "status of 4" not in message.text:
            self.heard.append(f"console: {message.text}")

    def _response(self, answer: Response) -> None:
        if answer.status >= 500 and not answer.url.endswith("/stream"):
            self.heard.append(f"{answer.status} {answer.url}")

    def assert_quiet(self) -> None:
        assert not self.heard, self.heard


class Person:
    """Drives one page with keys only."""

    def __init__(self, page: Page, house: House) -> None:
        self.page, self.house = page, house

    @property
    def password(self) -> str:
        return password_of(self.house)

    def log_in(self) -> None:
        self.page.goto("/login")
        self.page.wait_for_function("() => document.activeElement.name === 'email'")  # the form takes the focus by itself
        self.page.keyboard.type("admin@emberdemo.test")
        self.press("Tab")
        self.page.keyboard.type(self.password)
        self.press("Enter")
        self.page.wait_for_url(re.compile("/inbox/"))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def reach(self, target: Locator) -> None:
        """Tab until ``target`` has the focus; fails when no number of Tabs gets there."""
        for _ in range(FURTHEST):
            if target.evaluate("node => node === document.activeElement"):
                return
            self.press("Tab")
        raise AssertionError(f"the keyboard does not reach {target}")

    def push(self, target: Locator, key: str = "Enter") -> None:
        self.reach(target)
        self.press(key)

    def fill(self, target: Locator, words: str) -> None:
        self.reach(target)
        self.press("Control+a")
        self.page.keyboard.type(words)

    def open_conversation(self, name: str) -> None:
        """By the keys alone: search, first row, open."""
        page = self.page
        page.goto(f"{CLIENT}/inbox/")
        self.press("/")
        page.keyboard.type(name)
        page.locator(".list-chips").wait_for()
        page.locator(".conversation", has_text=name).first.wait_for()
        self.press("Escape", "j", "Enter")
        page.locator(".thread-who", has_text=name).wait_for()


class World:
    """The rehearsal's mail servers, asked through their control port: what arrived, and answers written by hand."""

    def __init__(self, house: House) -> None:
        self.port: int = json.loads((house.data / "world" / "ports.json").read_text())["control"]

    def accepted(self, to: str = "", since: int = 0) -> list[dict[str, Any]]:
        """What our mailboxes handed in and the server took, to everybody or to one address."""
        asked = f"/accepted?port=submission&since={since}" + (f"&to={quote(to)}" if to else "")
        return cast("list[dict[str, Any]]", ask(asked, self.port).get("accepted", []))

    def answer(self, lead: str, text: str, html: str = "") -> None:
        """``lead`` answers the last mail we sent: put into our mailbox as his provider would."""
        last = self.accepted(lead)[-1]
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = lead, last["mail_from"], f"Re: {last['subject']}"
        mail["Message-ID"], mail["In-Reply-To"] = make_msgid(domain=lead.partition("@")[2]), last["message_id"]
        mail.set_content(text)
        if html:
            mail.add_alternative(html, subtype="html")
        body = json.dumps({"address": last["mail_from"], "raw": base64.b64encode(mail.as_bytes()).decode()}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/deliver", body, method="POST")
        urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10).close()
