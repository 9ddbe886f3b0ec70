"""Nothing that anybody sends is an accident: every field of every form and schema in turn holds what nobody should write.

Who may ask what of whom is the matrix' (tests/matrix). Each text of our own holds markup that no page may ever let through.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from marshmallow import Schema, fields, validate
from sqlalchemy import select, text
from werkzeug.routing import Rule

from app.blueprints.api.core import OPERATIONS, Operation
from app.core.extensions import db
from app.models import (
    ApiKey,
    Attachment,
    Blob,
    Client,
    InboundEvent,
    LeadImport,
    Membership,
    OutgoingCall,
    OutgoingEndpoint,
    OutgoingEvent,
    Suppression,
    User,
    UserSession,
    WebhookSource,
)
from app.services import api_limits
from tests import factories as make
from tests.api.api_client import ApiClient
from tests.api.truth.rewinding import people_known_again
from tests.web import page_client
from tests.web.page_client import PageClient

MARKUP = "<img src=x onerror=alert(1)>'\"</title><script>alert(2)</script>{{7*7}}"
NOWHERE = 2**62
pytestmark = pytest.mark.thorough

#: Answers without end, and what would end the session that asks.
LONG_LIVED = {"stream.pages", "api.stream_programs", "api.auth_logout", "auth.log_out"}
#: They ask servers elsewhere what fits an address typed so far.
ASK_ELSEWHERE = {"mailboxes.servers"}
DOCUMENTS = {"mail_frame.frame", "campaigns.step_html"}


@dataclass
class World:
    """One client whole: a row of every kind, by the name its id has in addresses."""

    client: Client
    ids: dict[str, int]
    by_model: dict[str, int]


def build(word: str, slug: str) -> World:
    client = make.make_client(name=word, slug=slug, postal_address=word)
    mailbox = make.make_mailbox(client, display_name=word, status_reason=word, read_error=word)
    lead = make.make_lead(client, first_name=word, last_name=word, company=word, title=word, custom={"note": word})
    campaign = make.make_campaign(client, name=word, mailboxes=(mailbox,))
    step = make.first_step(campaign)
    step.subject, step.text, step.html = f"{word} {{{{first_name}}}}", f"{word}\n{{{{unsubscribe_url}}}}", f"<p>{word}</p>"
    db.session.commit()
    draft = make.make_campaign(client, name=word, status="draft", mailboxes=(mailbox,))
    enrollment = make.make_enrollment(
        campaign, lead, mailbox, status="needs_attention", reason="needs_attention_variable", detail=word
    )
    delivery = make.make_delivery(
        enrollment, lead, mailbox, status="failed", reason="refused", detail=word, reply_text=word, reply_code=550
    )
    conversation = make.make_conversation(client, mailbox, lead, subject=word, snippet=word, display_name=word, unread=1)
    raw = f"From: x@y.test\r\nSubject: s\r\nContent-Type: text/html\r\n\r\n<p>{word}</p>".encode()
    digest = hashlib.sha256(raw).hexdigest()
    make.save(Blob(client_id=client.id, sha256=digest, bytes=raw, size=len(raw)))
    message = make.make_message(conversation, word, from_name=word, raw_sha256=digest, has_html=True, warnings=[word])
    file = make.save(
        Attachment(client_id=client.id, message_id=message.id, position=0, filename=f"{word}.png", content_type="image/png",
                   size=len(raw), sha256=digest)
    )  # fmt: skip
    suppression = make.save(
        Suppression(client_id=client.id, email=f"{slug}@gone.test", email_key=f"{slug}@gone.test", reason="manual", source="person",
                    note=word, at=make.MONDAY_TEN)
    )  # fmt: skip
    colleague = make.make_user(client, "agent", name=word)
    member = db.session.scalars(select(Membership).where(Membership.user_id == colleague.id)).one()
    key = make.save(ApiKey(client_id=client.id, user_id=colleague.id, name=word, prefix="ember_xyz", secret_hash=f"{slug} key", scope="read"))
    leads_import = make.save(LeadImport(client_id=client.id, filename=word, blob_sha256=digest, columns=[word], mapping={}, options={}))
    endpoint = make.save(OutgoingEndpoint(client_id=client.id, url=f"http://127.0.0.1:9/{slug}", description=word, events=["reply.received"], state="off"))
    event = make.save(OutgoingEvent(client_id=client.id, kind="reply.received", body=word, facts={"email": word}))
    call = make.save(OutgoingCall(client_id=client.id, endpoint_id=endpoint.id, event_id=event.id, kind=event.kind, status="failed"))
    # both belong to the instance, not to a client: for operators alone
    source = make.save(WebhookSource(name=word, verifier="static_header", header="X-Secret", address_nonce=slug))
    arrival = make.save(InboundEvent(source="webhook", account=str(source.id), dedupe_key=slug, body=word.encode(), status="quarantined", error=word))
    ids = {
        "mailbox_id": mailbox.id, "lead_id": lead.id, "campaign_id": campaign.id, "step_id": step.id, "enrollment_id": enrollment.id,
        "delivery_id": delivery.id, "conversation_id": conversation.id, "message_id": message.id, "file_id": file.id,
        "suppression_id": suppression.id, "import_id": leads_import.id, "draft_id": draft.id, "client_id": client.id, "sender_id": mailbox.id,
        "session_id": NOWHERE, "member_id": member.id, "key_id": key.id, "user_id": member.user_id,
        "source_id": source.id, "arrival_id": arrival.id, "endpoint_id": endpoint.id, "call_id": call.id,
    }  # fmt: skip
    by_model = {
        "Mailbox": mailbox.id, "Lead": lead.id, "Campaign": campaign.id, "Step": step.id, "Enrollment": enrollment.id, "Delivery": delivery.id,
        "Conversation": conversation.id, "Message": message.id, "Attachment": file.id, "Suppression": suppression.id,
        "LeadImport": leads_import.id, "Client": client.id, "Membership": member.id, "ApiKey": key.id,
        "OutgoingEndpoint": endpoint.id, "OutgoingCall": call.id,
    }  # fmt: skip
    return World(client, ids, by_model)


def fingerprint(client_id: int) -> dict[str, str]:
    """A hash over every row of a client, by table."""
    names = db.session.execute(
        text("SELECT table_name FROM information_schema.columns WHERE column_name = 'client_id' AND table_schema = 'public'")
    ).scalars()
    found = {}
    for name in sorted(names):
        statement = text(f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) FROM {name} t WHERE client_id = :id")
        found[name] = db.session.execute(statement, {"id": client_id}).scalar_one()
    db.session.rollback()
    return found


def rules(app: Flask, *, api: bool) -> Iterator[tuple[Rule, str]]:
    for rule in app.url_map.iter_rules():
        realm = app.view_functions[rule.endpoint].access.realm  # type: ignore[attr-defined]
        if (realm == "api") is api and rule.endpoint not in LONG_LIVED | {"static"}:
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                yield rule, method


def path_of(app: Flask, rule: Rule, world: World, slug: str, **changes: int) -> str:
    """The rule's address with the ids of ``world``. KeyError: a new kind of id, tell ``build`` of it."""
    values: dict[str, Any] = {}
    for name in rule.arguments:
        if name == "row_id":
            operation = next(one for one in OPERATIONS if one.name == rule.endpoint.partition(".")[2])
            values[name] = world.by_model[operation.object_of.__name__] if operation.object_of else _bare(rule, world)
        elif name == "slug":
            values[name] = slug
        elif name in {"action", "way"}:
            values[name] = _first(rule, name)
        elif name != "token":
            values[name] = world.ids[name]
        else:
            values[name] = "no-such-token"
        values[name] = changes.get(name, values[name])
    with app.test_request_context():
        found = rule.build(values)
    assert found is not None, rule
    return str(found[1])


def _first(rule: Rule, name: str) -> str:
    match = re.search(rf"any\(([^)]*)\):{name}", rule.rule)
    assert match is not None
    return match.group(1).split(",")[0].strip()


ADMIN = {"webhooks": "source_id", "arrivals": "arrival_id"}


def _bare(rule: Rule, world: World) -> int:
    name = rule.rule.split("/<int:row_id>")[0].rsplit("/", 1)[-1]
    return world.ids[{"messages": "message_id", "conversations": "conversation_id", "clients": "client_id", **ADMIN}[name]]


# The API


def body_of(operation: Operation, world: World, **changes: Any) -> dict[str, Any]:
    """A body that fits the operation's schema, with ids of ``world``."""
    if operation.body is None:
        return {"query_string": {"reason": "because"}} if operation.query and "reason" in operation.query().fields else {}
    body = {name: sample(name, field, world) for name, field in operation.body().fields.items() if not field.dump_only}
    body = {name: value for name, value in {**body, **changes}.items() if value is not ...}
    if operation.multipart:
        return {"data": body, "content_type": "multipart/form-data"}
    return {"json": body}


def sample(name: str, field: fields.Field, world: World) -> Any:
    choices = [one for one in field.validators if isinstance(one, validate.OneOf)]
    if choices:
        return str(next(iter(choices[0].choices)))
    if isinstance(field, fields.Nested):
        return {key: sample(key, inner, world) for key, inner in field.schema.fields.items()}
    if isinstance(field, fields.List):
        return [sample(name.removesuffix("s"), field.inner, world)]
    if isinstance(field, fields.Boolean):
        return True
    if isinstance(field, fields.Integer):
        return world.ids.get(name, 25)
    if isinstance(field, fields.Dict):
        return {}
    if isinstance(field, fields.DateTime):
        return "2027-01-04T09:00:00Z"
    return {"email": "someone@else.test", "timezone": "UTC", "slug": "a-slug", "content": "aGVsbG8="}.get(name, "127.0.0.1" if "host" in name else "text")


HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 10**30, 2**63, 1e308, [], [None], ["\u202e"], {}, {"a": {"b": []}},
    "", " ", "x" * 70_000, "é" * 300, "\u202eabc🔥", "\u2028", "<script>", "{{ 7*7 }}{% for %}", "=cmd|' /C calc'!A0", "../../etc/passwd",
    "²", "٣", "1e5", "NaN", "Infinity", "+1", " 1", "1_000", "99999999999999999999", "9" * 5_000,
    "a@b\r\nBcc: c@d.test", "=?utf-8?q?x=0D=0ABcc:_c@d.test?=", "@", "a@", "@b", "a@b@c", "a@[127.0.0.1]", "A" * 64 + "@b.c",
    "a@" + "b" * 300 + ".test", "xn--a@xn--.test", "a@\u3002", "Etc/../UTC", "/etc/localtime", "%00", "\\",
    "9999-12-31T23:59:59-14:00", "0000-00-00", "-0001-01-01T00:00:00Z",
)  # fmt: skip


#: Each field gets the next so many of them; all come round several times. tests/api/truth asks each operation hundreds of questions besides.
A_FIELD = 12
PARTS = 3
HOSTILE_FORMS = ("²", "9" * 5_000, "99999999999999999999", MARKUP, "a@b\r\nBcc: c@d.test")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_no_value_of_any_field_is_an_accident_for_programs(part: int, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """``part``: every so manieth operation, for the workers to share. Who asks is looked up after each operation, not for each value."""
    monkeypatch.setattr(api_limits, "take", lambda _who, limit: api_limits.Allowance(limit, limit, 60, over=False))  # thousands a minute are asked here
    ours = build("Ours", "ours")
    ours.ids["user_id"] = make.make_user(ours.client, "agent").id
    program = ApiClient(app).log_in(make.make_user(ours.client, is_operator=True))
    values, texts = itertools.cycle(HOSTILE), itertools.cycle([value for value in HOSTILE if isinstance(value, str)])
    rules_of = {rule.endpoint.partition(".")[2]: rule for rule in reversed(list(app.url_map.iter_rules()))}
    for operation in OPERATIONS[part::PARTS]:
        rule = rules_of.get(operation.name)
        if rule is None or rule.endpoint in LONG_LIVED | {"api.mailboxes_verify", "api.mailbox_more_suggest_servers"}:
            continue
        path = path_of(app, rule, ours, "")
        with people_known_again():
            ask_everything(program, operation, path, ours, values, texts)
        assert program.get("/api/me").status == 200, f"{operation.path} ended the login that asks"


def ask_everything(program: ApiClient, operation: Operation, path: str, ours: World, values: Iterator[Any], texts: Iterator[str]) -> None:
    for name in inputs_of(operation.query):
        for value in itertools.islice(texts, A_FIELD):
            program.send(operation.method, path, query_string={name: value}, **({"json": {}} if operation.body else {}))
    for name in inputs_of(operation.body) if not operation.multipart else ():
        for value in itertools.islice(values, A_FIELD):
            program.send(operation.method, path, **body_of(operation, ours, **{name: value}))
    for raw in RAW_BODIES:
        answer = program.send(operation.method, path, data=raw, content_type="application/json")
        assert operation.body is None or answer.status in {400, 401, 404, 415, 422}, (operation.path, raw[:40], answer.status)


RAW_BODIES = (
    b'{"a": NaN}', b"[" * 100_000, b"{" * 50 + b"}" * 50, b'{"name": "\\u0000"}', b'{"name": "\\ud800"}', b'"text"', b"[1]", b"\xff\xfe", b"nul",
    b'{"name": ' + b"9" * 5_000 + b"}", b'{"a":' * 40 + b"1" + b"}" * 40,
)  # fmt: skip


def inputs_of(schema: type[Schema] | None) -> list[str]:
    return [name for name, field in schema().fields.items() if not field.dump_only] if schema else []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_no_value_of_any_form_is_an_accident(app: Flask) -> None:
    """Every form of every page, each of its fields in turn filled with what nobody should write."""
    ours = build(MARKUP, "ours")
    person = PageClient(app).log_in(make.make_user(ours.client, is_operator=True, name=MARKUP))
    asked = set()
    for rule, method in list(rules(app, api=False)):
        if method != "GET" or rule.endpoint in ASK_ELSEWHERE | DOCUMENTS | {"auth.log_in", "auth.profile"}:
            continue
        for world_ids in (ours, draft_of(ours)):
            page = person.get(path_of(app, rule, world_ids, "ours"))
            assert page.status < 500, (rule, page.text[:500])
            for form in page.all("form"):
                action, verb = form.get("action", ""), form.get("method", "get").lower()
                typed = typed_of(form)
                key = (re.sub(r"\d+", "#", action.split("?")[0]), tuple(sorted(typed)))
                if key in asked or any(word in action for word in ("logout", "/end", "/mailboxes/new", "/mailboxes/many")):
                    continue
                typed |= {name: "127.0.0.1" for name in typed if name.endswith("_host")}  # or servers elsewhere are asked
                asked.add(key)
                for name, value in zip(sorted(set(typed) - {"csrf_token"}), itertools.cycle(HOSTILE_FORMS), strict=False):
                    data = {**typed, name: value}
                    answer = person.get(action, query_string=data) if verb == "get" else person.post(action, data)
                    assert answer.status < 500, (verb, action, name, value[:60], answer.text[:500])
    assert len(asked) > 20


def draft_of(world: World) -> World:
    return World(world.client, {**world.ids, "campaign_id": world.ids["draft_id"]}, world.by_model)


def typed_of(form: Any) -> dict[str, str]:
    typed = {}
    for tag in ("input", "textarea", "select", "button"):
        for element in form.iter(tag):
            if element.get("name") and element.get("type") != "file":
                typed[element.get("name")] = element.get("value") or (element.text or "") if tag != "select" else "".join(
                    option.get("value", "") for option in list(element.iter("option"))[:1]
                )
    return typed


def test_addresses_with_odd_numbers_are_pages_or_nothing(app: Flask) -> None:
    """Every parameter any page reads, with digits that are none to us."""
    ours = build("Ours", "ours")
    person = PageClient(app).log_in(make.make_user(ours.client, is_operator=True))
    names = (
        "step", "after", "before", "cursor", "older", "n", "mailbox", "campaign", "import", "lead", "undone", "q", "view", "state", "status",
        "page", "import_id", "all", "starter", "from",
    )  # fmt: skip
    for rule, method in rules(app, api=False):
        if method == "GET" and rule.endpoint not in ASK_ELSEWHERE:
            path = path_of(app, rule, ours, "ours")
            for value in ("²", "٣", "9" * 18, "9" * 30, "9" * 5_000, "-1", "AAAA", "WzFd", "W251bGxd", "%FF"):
                answer = page_client.as_web(lambda path=path, value=value: person.client.get(path, query_string=dict.fromkeys(names, value)))
                assert answer.status_code < 500, (rule, value, answer.get_data(as_text=True)[:500])


def test_a_session_of_pages_is_none_for_programs_and_the_reverse(app: Flask) -> None:
    ours = build("Ours", "ours")
    user = make.make_user(ours.client)
    person, program = PageClient(app).log_in(user), ApiClient(app).log_in(user)
    assert person.get("/api/me").status == 401
    bearer = {"Authorization": f"Bearer {program.token}"}
    assert PageClient(app).get("/c/ours/inbox/", headers=bearer).status == 302


def test_every_changing_page_wants_the_token_and_its_own_site(app: Flask) -> None:
    ours = build("Ours", "ours")
    person = PageClient(app).log_in(make.make_user(ours.client, is_operator=True))
    before = fingerprint(ours.client.id)
    for rule, method in rules(app, api=False):
        if method == "GET" or rule.endpoint in {"public.left", "webhooks.receive"}:
            continue
        path = path_of(app, rule, ours, "ours")
        assert person.post(path, token="").status == 403, rule
        assert person.post(path, token="f" * 64).status == 403, rule
        assert person.post(path, headers={"Sec-Fetch-Site": "cross-site"}).status == 403, rule
        assert person.post(path, headers={"Origin": "https://evil.test"}).status == 403, rule
    assert fingerprint(ours.client.id) == before
    assert db.session.get(User, 1) is not None and db.session.query(UserSession).count()
