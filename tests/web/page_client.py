"""A browser without a screen: keeps cookies, sends the form's token, and validates every page it is given.

``page = PageClient(app); page.log_in(user); answer = page.get("/c/acme/leads/"); answer.find("h1")``. Every HTML answer must
parse strictly, have a title (whole pages), no id twice, forms with an action and a token, scripts and hx-* elements with this
answer's nonce, and no style attribute.
"""

from __future__ import annotations

import contextvars
import re
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import html5lib
from flask import Flask, Response
from flask_jwt_extended import decode_token
from werkzeug.test import TestResponse

from app.blueprints import sessions
from app.core.db import WEB_ROLE, database_role, transaction, use_database_role
from app.core.extensions import db as database
from app.models import User
from app.services import auth
from tests.kept_connections import keep

Element = ElementTree.Element

#: What html5lib calls an error and HTML does not: it does not know <dialog>, <search> and slots in some places.
HARMLESS = {"expected-closing-tag-but-got-eof-never"}


class NotAPage(AssertionError):
    """The answer is no HTML that a person should be given."""


@dataclass
class Page:
    """One answer: the raw response, its status, and its elements."""

    response: TestResponse
    tree: Element | None

    @property
    def status(self) -> int:
        return self.response.status_code

    @property
    def text(self) -> str:
        return self.response.get_data(as_text=True)

    @property
    def location(self) -> str:
        return self.response.headers.get("Location", "")

    @property
    def words(self) -> str:
        """All text of the page, spaces folded."""
        return " ".join("".join(self.tree.itertext()).split()) if self.tree is not None else self.text

    def all(self, tag: str, **attributes: str) -> list[Element]:
        """Elements by tag and attributes (``class_`` for class: contains the word)."""
        if self.tree is None:
            return []
        return [element for element in self.tree.iter(tag) if _has(element, attributes)]

    def find(self, tag: str, **attributes: str) -> Element:
        found = self.all(tag, **attributes)
        if not found:
            raise AssertionError(f"no <{tag} {attributes}> in:\n{self.text[:3000]}")
        return found[0]

    def form(self, action_ends: str = "") -> Element:
        return next(form for form in self.all("form") if form.get("action", "").split("?")[0].endswith(action_ends))

    @property
    def token(self) -> str:
        """The form token of this page, or an empty text."""
        metas = self.all("meta", name="csrf-token") or self.all("input", name="csrf_token")
        return (metas[0].get("content") or metas[0].get("value") or "") if metas else ""


def _has(element: Element, attributes: dict[str, str]) -> bool:
    for name, value in attributes.items():
        found = element.get(name.rstrip("_").replace("_", "-"), "")
        if (name == "class_" and value not in found.split()) or (name != "class_" and found != value):
            return False
    return True


_web_apps: dict[str, Flask] = {}


def web_app(app: Flask) -> Flask:
    """A second product on the same database whose connections are the web role's, while the test's own stay what they are."""
    from app import create_app

    settings = app.extensions["settings"]
    if settings.database_url not in _web_apps:
        _web_apps[settings.database_url] = found = create_app(settings)
        with found.app_context():
            keep(database.engine)
    return _web_apps[settings.database_url]


def as_web(action: Callable[[], Any]) -> Any:
    """Run ``action`` as a request really runs: the web role, a context of its own that sees nothing of the test's."""
    before = database_role()
    use_database_role(WEB_ROLE)
    try:
        return contextvars.Context().run(action)
    finally:
        use_database_role(before)


class PageClient:
    """Give it the fixture ``app``."""

    def __init__(self, app: Flask) -> None:
        self.app = web_app(app)
        self.client = self.app.test_client()
        self.token = ""

    def log_in(self, user: User) -> PageClient:
        """A real page session, as the door gives one to whoever may come in, without going through it: doors have tests of their own."""
        user_id = user.id

        def begin() -> tuple[str, str, str]:
            here = {"REMOTE_ADDR": "127.0.0.1", "HTTP_USER_AGENT": "a page client"}
            with self.app.test_request_context(environ_base=here), transaction():
                answer = sessions.start_page_session(Response(), database.session.get_one(User, user_id))
                name = sessions.cookie_name()
                cookie: SimpleCookie = SimpleCookie()
                for header in answer.headers.getlist("Set-Cookie"):
                    cookie.load(header)
                return name, cookie[name].value, str(decode_token(cookie[name].value)["csrf"])

        name, value, self.token = as_web(begin)
        self.client.set_cookie(name, value)
        return self

    def log_in_by_link(self, user: User) -> PageClient:
        """Through the door: a link that works once, so no password is needed."""
        user_id = user.id

        def make_link() -> str:
            with self.app.app_context(), transaction():
                return auth.make_one_time_link(database.session.get_one(User, user_id), "login")

        path = as_web(make_link)
        page = self.get(path)
        assert page.status == 200, page.text
        assert self.post(path).status == 303
        self.get("/profile")
        return self

    def get(self, path: str, *, fragment: bool = False, **arguments: Any) -> Page:
        return self._open("GET", path, fragment, arguments)

    def post(
        self,
        path: str,
        data: dict[str, Any] | None = None,
        *,
        fragment: bool = False,
        token: str | None = None,
        **arguments: Any,
    ) -> Page:
        """Send a form with the last token seen (or ``token``)."""
        arguments["data"] = {"csrf_token": self.token if token is None else token, **(data or {})}
        return self._open("POST", path, fragment, arguments)

    def follow(self, page: Page) -> Page:
        assert page.status in {302, 303}, f"{page.status}: {page.text[:500]}"
        return self.get(page.location)

    def _open(self, method: str, path: str, fragment: bool, arguments: dict[str, Any]) -> Page:
        headers = dict(arguments.pop("headers", {}))
        if fragment:
            headers = {"HX-Request": "true", "HX-Request-Type": "partial", **headers}
        response = as_web(lambda: self.client.open(path, method=method, headers=headers, **arguments))
        page = Page(response, validate(response))
        self.token = page.token or self.token
        return page


def validate(response: TestResponse) -> Element | None:
    """The tree of an HTML answer, or NotAPage with what is wrong; None for anything that is not HTML."""
    if response.is_streamed and response.mimetype != "text/html":
        return None
    if response.mimetype != "text/html" or not response.get_data():
        return None
    text = response.get_data(as_text=True)
    whole = text.lstrip().lower().startswith("<!doctype")
    if response.status_code in {301, 302, 303, 307, 308}:
        return None
    parser = html5lib.HTMLParser(namespaceHTMLElements=False)
    tree: Element = parser.parse(text) if whole else parser.parseFragment(text, container=_container(text))
    wrong = [f"{code} {values} at {place}" for place, code, values in parser.errors if code not in HARMLESS]
    wrong += _faults(tree, response, whole)
    if wrong:
        raise NotAPage(f"{urlsplit(response.request.path).path}: " + "; ".join(wrong[:8]) + "\n" + text[:1500])
    return tree


def _container(text: str) -> str:
    """In which element a fragment is at home: rows and cells belong to tables."""
    first = re.match(r"\s*(?:<!--.*?-->\s*)*<(\w+)", text, re.DOTALL)
    return {"tr": "tbody", "td": "tr", "th": "tr", "tbody": "table", "thead": "table", "option": "select"}.get(
        first.group(1) if first else "", "div"
    )


def _faults(tree: Element, response: TestResponse, whole: bool) -> list[str]:
    nonce = (re.search(r"'nonce-([^']+)'", response.headers.get("Content-Security-Policy", "")) or [None, None])[1]
    faults = []
    elements = [element for element in tree.iter() if isinstance(element.tag, str)]
    ids = [element.get("id") for element in elements if element.get("id")]
    faults += [f"id {name!r} twice" for name in {name for name in ids if ids.count(name) > 1}]
    if whole and not (tree.findtext(".//title") or "").strip():
        faults.append("no title")
    if whole and len([element for element in elements if element.tag == "h1"]) != 1:
        faults.append("not exactly one h1")
    for element in elements:
        faults += _element_faults(element, nonce)
    known = set(ids)
    faults += [
        f"label for unknown {element.get('for')!r}"
        for element in elements
        if element.tag == "label" and element.get("for") and element.get("for") not in known
    ]
    return faults


def _element_faults(element: Element, nonce: str | None) -> list[str]:
    faults = []
    names = set(element.keys())
    if element.tag == "form":
        if "action" not in names:
            faults.append("a form without action")
        if element.get("method", "get").lower() == "post" and not any(
            found.get("name") == "csrf_token" for found in element.iter("input")
        ):
            faults.append(f"form {element.get('action')} without a token")
    if element.tag == "script" and (nonce is None or element.get("nonce") != nonce):
        faults.append("a script without this answer's nonce")
    if any(name.startswith("hx-") and name != "hx-nonce" for name in names) and (
        nonce is None or element.get("hx-nonce") != nonce
    ):
        faults.append(f"<{element.tag}> with hx-* but without hx()")
    if "style" in names or any(name.startswith("on") for name in names):
        faults.append(f"<{element.tag}> with a style or on… attribute, which the policy forbids")
    if element.tag == "img" and "alt" not in names:
        faults.append("an image without alt")
    if element.tag == "button" and "type" not in names:
        faults.append("a button without type")
    return faults
