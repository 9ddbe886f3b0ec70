"""Every address of the map answers behind the same wall of headers, whoever asks and whatever the answer is.

The routes come from the product itself, so a new one is asked too. What a browser is told about scripts, frames, referrers and
caches is read as a browser reads it, not compared with a text.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import replace
from http.cookies import SimpleCookie
from typing import Any

import pytest
from flask import Flask
from werkzeug.routing import Rule
from werkzeug.test import Client, TestResponse

from app import create_app
from app.models import Attachment, Blob
from tests import factories as make
from tests.web.page_client import PageClient, as_web

pytestmark = pytest.mark.slow  # the file takes long together

PASSWORD = "a lantern by the river"
#: Documents of strangers' or authors' HTML: a sandbox without scripts, with a policy of their own.
FRAMES = {"mail_frame.frame", "campaigns.step_html"}
#: Bytes of strangers: nothing in them is a document of ours.
FILES = {"mail_frame.file", "mail_frame.picture", "mail_frame.source", "mail_frame.remote"}
ENDS_THE_SESSION = {"auth.log_out", "pages.end_session", "pages.end_other_sessions"}
#: Asks servers elsewhere about an address.
ASKS_ELSEWHERE = {"mailboxes.servers"}
ODD = ("/no-such-page", "/api/no-such-thing", "/static/no-such-file", "/c/nobody/inbox/", "/%00", "/..%2f..%2fetc/passwd", "/webhooks/none/none")


def directives(policy: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for part in policy.split(";"):
        words = part.split()
        if words:
            found.setdefault(words[0].lower(), words[1:])
    return found


def faults(answer: TestResponse, endpoint: str, https: bool = False) -> list[str]:
    """What is missing or too wide in the headers of one answer."""
    headers = answer.headers
    policy = directives(headers.get("Content-Security-Policy", ""))
    shown = answer.status_code == 200 and answer.request.method in {"GET", "HEAD"}
    framed = endpoint in FRAMES and shown
    wrong = [] if policy.get("default-src") == ["'none'"] else ["default-src is not 'none'"]
    wrong += [f"{name} allows {' '.join(words)}" for name, words in policy.items() if not framed and any("unsafe" in one for one in words)]
    wrong += [f"{name} is not 'none'" for name in ("base-uri",) if policy.get(name) != ["'none'"]]
    wrong += [f"{name} has {policy[name]}" for name in ("object-src", "worker-src") if policy.get(name, ["'none'"]) != ["'none'"]]
    if policy.get("frame-ancestors") != (["'self'"] if framed else ["'none'"]):
        wrong.append("another page may frame it")
    if framed or (endpoint in FILES and shown):
        wrong += ["it is not in a sandbox"] if "sandbox" not in policy else []
        wrong += ["its sandbox runs scripts or sends forms"] if {"allow-scripts", "allow-forms"} & set(policy.get("sandbox", [])) else []
        wrong += ["scripts are allowed"] if "script-src" in policy else []
    else:
        script = policy.get("script-src", [])
        wrong += [] if len(script) == 1 and re.fullmatch(r"'nonce-[\w-]{24}'", script[0]) else [f"script-src is {script}"]
        wrong += [] if policy.get("form-action") == ["'self'"] else ["forms may go elsewhere"]
    for name, words in {
        "X-Content-Type-Options": ["nosniff"], "X-Frame-Options": ["SAMEORIGIN"] if framed else ["DENY"], "Cross-Origin-Opener-Policy": ["same-origin"],
        "Referrer-Policy": ["same-origin", "no-referrer"], "Cross-Origin-Resource-Policy": ["same-origin"],
    }.items():  # fmt: skip
        wrong += [] if headers.get(name) in words else [f"{name}: {headers.get(name)}"]
    wrong += [] if "camera=()" in headers.get("Permissions-Policy", "") else ["no Permissions-Policy"]
    if (endpoint != "static" or answer.status_code >= 400) and not re.search(r"no-store|private", headers.get("Cache-Control", "")):
        wrong.append(f"Cache-Control: {headers.get('Cache-Control')}")
    if answer.headers.get("Access-Control-Allow-Origin"):
        wrong.append("other origins may read it")
    if answer.get_data(as_text=False) and answer.status_code != 304 and not headers.get("Content-Type"):
        wrong.append("no Content-Type")
    kind = headers.get("Content-Type", "")
    if kind.startswith("text/") and "charset" not in kind and "event-stream" not in kind:
        wrong.append(f"no charset: {kind}")
    if https and "includeSubDomains" not in headers.get("Strict-Transport-Security", ""):
        wrong.append("no Strict-Transport-Security")
    return wrong


def world() -> tuple[Any, dict[str, int]]:
    """A client with one of each that has an address of its own."""
    client = make.make_client(slug="ours")
    mailbox, lead = make.make_mailbox(client), make.make_lead(client)
    campaign = make.make_campaign(client, mailboxes=(mailbox,))
    conversation = make.make_conversation(client, mailbox, lead)
    raw = b"From: x@y.test\r\nContent-Type: text/html\r\n\r\n<p>Hello</p>"
    digest = hashlib.sha256(raw).hexdigest()
    make.save(Blob(client_id=client.id, sha256=digest, bytes=raw, size=len(raw)))
    message = make.make_message(conversation, "Hello", raw_sha256=digest, has_html=True)
    file = make.save(
        Attachment(client_id=client.id, message_id=message.id, position=0, filename="a.png", content_type="image/png", size=len(raw), sha256=digest)
    )
    ids = {
        "mailbox_id": mailbox.id, "lead_id": lead.id, "campaign_id": campaign.id, "step_id": make.first_step(campaign).id, "message_id": message.id,
        "conversation_id": conversation.id, "file_id": file.id, "client_id": client.id,
    }  # fmt: skip
    return client, ids


def path_of(app: Flask, rule: Rule, ids: dict[str, int]) -> str:
    values: dict[str, Any] = {}
    for name in rule.arguments:
        choices = re.search(rf"any\(([^)]*)\):{name}>", rule.rule)
        values[name] = choices.group(1).split(",")[0].strip() if choices else ids.get(name, 1)
    values |= {name: word for name, word in {"slug": "ours", "token": "no-such-token", "filename": "css/ember.css"}.items() if name in values}
    with app.test_request_context():
        built = rule.build(values)
    assert built is not None, rule
    return str(built[1])


def requests(app: Flask, ids: dict[str, int]) -> Iterator[tuple[str, str, str]]:
    """(endpoint, method, path): each rule with each of its methods and one it does not have, and addresses that lead nowhere."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint in ASKS_ELSEWHERE:
            continue
        methods = sorted(rule.methods or ())
        for method in [*methods, "DELETE" if "DELETE" not in methods else "PUT"]:
            yield rule.endpoint, method, path_of(app, rule, ids)
    yield from (("", method, path) for path in ODD for method in ("GET", "POST", "TRACE"))


def ask(client: Client, method: str, path: str, **more: Any) -> TestResponse:
    """Streams have no end: what they begin with is enough."""
    def go() -> TestResponse:
        answer = client.open(path, method=method, buffered="stream" not in path, **more)
        if "stream" in path:
            answer.response = []
            answer.close()
        return answer

    found: TestResponse = as_web(go)
    return found


@pytest.mark.parametrize("who", ["nobody", "an admin who operates"])
def test_every_route_answers_behind_the_whole_wall_of_headers(app: Flask, who: str) -> None:
    client, ids = world()
    person = PageClient(app)
    if who != "nobody":
        person.log_in(make.make_user(client, "admin", is_operator=True))
    wrong, asked, framed, nonces = [], 0, set(), []
    for endpoint, method, path in requests(person.app, ids):
        if who != "nobody" and (endpoint in ENDS_THE_SESSION or method not in {"GET", "HEAD", "OPTIONS", "TRACE"}):
            continue  # what a change answers is another test's; its refusal is seen as nobody
        answer = ask(person.client, method, path)
        asked += 1
        assert method != "TRACE" or answer.status_code in {400, 404, 405}, path
        wrong += [f"{method} {path} ({answer.status_code}): {one}" for one in faults(answer, endpoint)]
        framed |= {endpoint} & (FRAMES | FILES) if answer.status_code == 200 and method == "GET" else set()
        nonces += re.findall(r"'nonce-([^']+)'", answer.headers.get("Content-Security-Policy", ""))
    assert not wrong, f"{len(wrong)} of {asked}\n" + "\n".join(wrong[:40])
    assert asked > 150 and len(set(nonces)) == len(nonces), "a nonce is used once"
    assert who == "nobody" or framed >= {*FRAMES, "mail_frame.file", "mail_frame.source", "mail_frame.picture"}, framed


def test_an_accident_keeps_the_wall_up_too(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    person = PageClient(app)

    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setitem(person.app.view_functions, "health.docs", broken)
    monkeypatch.setitem(person.app.view_functions, "api.auth_login", broken)
    for method, path in (("GET", "/docs"), ("POST", "/api/auth/login")):
        answer = ask(person.client, method, path, json={} if method == "POST" else None)
        assert answer.status_code == 500 and faults(answer, "") == []


def cookies(answer: TestResponse) -> Iterator[tuple[str, Any]]:
    for line in answer.headers.getlist("Set-Cookie"):
        yield from SimpleCookie(line).items()


def test_behind_https_every_cookie_is_the_hosts_own_and_every_answer_says_to_stay_on_https(app: Flask) -> None:
    client, ids = world()
    user = make.make_user(client, "admin", password=PASSWORD, is_operator=True)
    secure = create_app(replace(app.extensions["settings"], behind_https=True))
    browser = secure.test_client()
    seen: dict[str, list[Any]] = {}

    def go(method: str, path: str, **more: Any) -> TestResponse:
        answer = ask(browser, method, path, base_url="https://desk.test", headers={"X-Forwarded-Proto": "https", "X-Forwarded-Host": "desk.test"}, **more)
        for name, cookie in cookies(answer):
            seen.setdefault(name, []).append(cookie)
        assert faults(answer, "static" if "/static/" in path else "", https=True) == [], path
        return answer

    token = re.search(r'name="csrf_token" value="([^"]+)"', go("GET", "/login").get_data(as_text=True))
    assert token is not None
    entered = go("POST", "/login", data={"csrf_token": token[1], "email": user.email, "password": PASSWORD})
    assert entered.status_code == 303
    for rule in secure.url_map.iter_rules():
        if "GET" in (rule.methods or ()) and rule.endpoint not in ASKS_ELSEWHERE | FRAMES | FILES | ENDS_THE_SESSION and "stream" not in rule.rule:
            go("GET", path_of(secure, rule, ids))
    token = re.search(r'name="csrf-token" content="([^"]+)"', go("GET", "/profile").get_data(as_text=True))
    assert token is not None
    go("POST", "/profile", data={"csrf_token": token[1], "name": "Ada", "timezone": "UTC", "theme": "light", "language": "en"})
    go("GET", "/profile")
    out = go("POST", "/logout", data={"csrf_token": token[1]})
    assert out.status_code == 303 and '"storage"' in out.headers["Clear-Site-Data"], "drafts and kept pictures end with the session"
    kinds = {name.rsplit("-", 1)[1] for name in seen}
    assert {"session", "guest"} <= kinds, kinds
    for name, each in seen.items():
        for one in each:
            assert name.startswith("__Host-") and one["secure"] and one["httponly"] and one["samesite"] == "Lax", name
            assert one["path"] == "/" and not one["domain"], name
            assert len(name) + len(one.value) < 4096
    assert any(one["max-age"] == "0" for one in seen[next(name for name in seen if name.endswith("guest"))]), "the guest's cookie ends at the login"


def test_other_names_for_where_a_request_came_from_are_not_believed(app: Flask) -> None:
    """Without the proxy that we trust, nobody can say they are somebody else or that the connection is safe."""
    browser = PageClient(app).client
    claims = {"X-Forwarded-For": "10.9.9.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test", "Forwarded": "for=10.9.9.9"}
    answer = ask(browser, "GET", "/profile", headers=claims)
    assert "evil.test" not in str(answer.headers) + answer.get_data(as_text=True) and "Strict-Transport-Security" not in answer.headers
