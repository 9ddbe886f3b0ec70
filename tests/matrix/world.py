"""Two clients with a row of every kind, and what once was there: whose ids the matrix puts into every place that takes one.

Every free text of a world's rows carries its word, which nobody without a seat there may ever read. A new tenant table needs a row in
``_rows`` (or a helper of it); a new text column is filled with the word by itself, unless it holds something structured: say so in
``STRUCTURED``. Ids tell their world and their table apart: 41,007,003 is the third row of table 7 of our world.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
from psycopg import sql

from app.core import clock
from app.core.clock import machine_now
from app.core.crypto import vault
from app.core.extensions import db
from app.core.tokens import new_token, token_hash
from app.models import (
    Activity,
    ApiKey,
    Attachment,
    AuditEntry,
    AuditSeal,
    Blob,
    CampaignRehearsal,
    Client,
    DeliveryAttempt,
    FolderState,
    ImportChange,
    ImportReject,
    InboundEvent,
    LeadImport,
    Mailbox,
    Membership,
    OneTimeLink,
    OutgoingCall,
    OutgoingEndpoint,
    OutgoingEvent,
    OutgoingSecret,
    OutgoingTry,
    Participant,
    SeenUid,
    Setting,
    Step,
    Suppression,
    Switch,
    WebhookSecret,
    WebhookSource,
)
from app.services import suppressions, webhooks
from app.services.outgoing import endpoints
from tests import factories as make

#: Texts that must stay what they are, or the product could not read them: (table, column), or a column of every table.
STRUCTURED = {
    "timezone", "language", "country", "address_key", "email_key", "domain", "recipient_domain", "recipient_provider", "slug", "kind", "status",
    "role", "reason", "phase", "outcome", "sha256", "blob_sha256", "raw_sha256", "content_type", "secret_hash", "external_id", "verification_status",
    "idempotency_key", "action", "object_kind", "object_id", "plan", "holidays_country", "smtp_secret", "imap_secret", "oauth_refresh_secret",
    "smtp_host", "imap_host", "match_rule", "match_version", "scope_kind", "key", "folder_role", "branch", "oauth_provider", "credential_kind",
    "read_status", "provider", "from_key", "lease_owner", "identity", "last_direction", "linkedin_url", "webhook_id", "signing_secret", "state_why",
    ("outgoing_calls", "last_error"), ("outgoing_tries", "error"),  # codes
    ("clients", "postal_address"),  # like the name
    ("campaigns", "name"),  # holds the word; a form must type it
    ("senders", "address"), ("suppressions", "source"), ("enrollments", "detail"), ("deliveries", "to_address"), ("leads", "email"),
    ("suppressions", "email"), ("clients", "email"),
}  # fmt: skip

GONE, OURS, THEIRS = 43_000_000, 41_000_000, 42_000_000
NOWHERE = 44_999_999


@dataclass
class World:
    """One client whole. ``ids``: a row of every kind, by the name its id has in addresses; ``extra``: texts of its own."""

    name: str  # our-house, their-house: the client's address
    word: str  # in every free text
    house: str  # in the client's name and its people's names: an operator may read those
    client: Client
    ids: dict[str, int]
    extra: dict[str, str] = field(default_factory=dict)


def tenant_tables(connection: psycopg.Connection[Any]) -> list[str]:
    return [
        row[0]
        for row in connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'client_id' AND NOT a.attisdropped"
            " WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1"
        )
    ]


def number_from(connection: psycopg.Connection[Any], base: int) -> None:
    """The next rows of all tables get ids of this world: base + 1000 × the number of their table."""
    names = connection.execute("SELECT schemaname, sequencename FROM pg_sequences WHERE schemaname = 'public' ORDER BY 2").fetchall()
    for place, (schema, name) in enumerate(names):
        connection.execute("SELECT setval(%s::regclass, %s, false)", (f'{schema}."{name}"', base + 1000 * place + 1))


def build(connection: psycopg.Connection[Any], name: str, base: int, word: str, house: str, client: Client | None = None) -> World:
    """The rows of one world, committed. ``connection``: a superuser's, for what no product may do."""
    number_from(connection, base)
    client = client or make.make_client(name=house, slug=name, postal_address=house, email=f"office@{house.lower()}.test", country="PT")
    world = World(name, word, house, client, {"client_id": client.id})
    _senders_and_campaigns(world)
    _leads_and_walks(world)
    _inbox(world)
    _house(world)
    _work(world)
    _instance(world)
    _fill(connection, world)
    db.session.expire_all()
    return world


def _senders_and_campaigns(world: World) -> None:
    client, word, ids = world.client, world.word, world.ids
    address = f"sender@{world.name}-{word.lower()}.test"
    mailbox = make.make_mailbox(client, display_name=word, status_reason=word, read_error=word, email=address)
    spare = make.make_mailbox(client, display_name=word, email=f"spare-{address}")
    paused = make.make_mailbox(client, display_name=word, email=f"paused-{address}", status="paused")
    make.save(FolderState(client_id=client.id, mailbox_id=mailbox.id, folder=word, role="inbox"))
    folder = db.session.query(FolderState).filter_by(client_id=client.id).order_by(FolderState.id.desc()).first()
    assert folder is not None
    make.save(SeenUid(client_id=client.id, folder_state_id=folder.id, uidvalidity=1, uid=1, identity=word))
    ids |= {"mailbox_id": mailbox.id, "sender_id": mailbox.id, "spare_mailbox_id": spare.id, "paused_mailbox_id": paused.id}
    for kind, status in (("campaign", "running"), ("draft", "draft"), ("paused", "paused")):
        campaign = make.make_campaign(client, name=f"{word} {kind}", status=status, mailboxes=(mailbox,))
        step = make.first_step(campaign)
        step.subject, step.text, step.html = f"{word} {{{{first_name}}}}", f"{word}\n{{{{unsubscribe_url}}}}", f"<p>{word}</p>"
        db.session.commit()
        last = db.session.query(Step).filter_by(campaign_id=campaign.id).order_by(Step.id.desc()).first()
        assert last is not None
        ids |= {f"{kind}_id": campaign.id, f"{kind}_step_id": step.id, f"{kind}_last_step_id": last.id}
    ids["step_id"] = ids["campaign_step_id"]


def _leads_and_walks(world: World) -> None:
    client, word, ids = world.client, world.word, world.ids
    mailbox = db.session.get_one(Mailbox, ids["mailbox_id"])
    campaign, paused = (db.session.get_one(make.Campaign, ids[name]) for name in ("campaign_id", "paused_id"))
    named: dict[str, Any] = {"first_name": word, "last_name": word, "company": word, "title": word, "custom": {"note": word}, "consent_note": word}
    lead, free, fresh = (make.make_lead(client, email=f"{kind}@{world.name}-{word.lower()}.test", **named) for kind in ("lead", "free", "fresh"))
    make.make_enrollment(db.session.get_one(make.Campaign, ids["draft_id"]), fresh, None, status="waiting")
    walk = make.make_enrollment(campaign, lead, mailbox, status="needs_attention", reason="needs_attention_variable", detail="Missing: title")
    waiting = make.make_enrollment(paused, lead, mailbox, status="waiting")
    failed = make.make_delivery(walk, lead, mailbox, status="failed", reason="refused", detail=word, reply_text=word, reply_code=550)
    unsure = make.make_delivery(
        waiting, lead, mailbox, status="uncertain", detail=word, mime=word.encode(), message_id=f"<{word}@{world.name}.test>", epoch=1,
        permitted_at=machine_now(), permit_product_at=clock.now(),
    )  # fmt: skip
    make.save(DeliveryAttempt(delivery_id=failed.id, epoch=1, client_id=client.id, engine=word, outcome="failed", phase="rcpt", code=550, text=word))
    rows = {
        "import_id": {"status": "done"}, "fresh_import_id": {"status": "uploaded"}, "open_import_id": {"status": "done"},
    }  # fmt: skip
    table = f"email,first_name\nsomebody@{world.name}-{word.lower()}.test,{word}\n".encode()
    digest = keep(client.id, table)
    for name, values in rows.items():
        row = make.save(
            LeadImport(client_id=client.id, filename=f"{word}.csv", blob_sha256=digest, columns=["email", "first_name"],
                       mapping={"email": "email", "first_name": "first_name"}, options={"sample": [[word, word]], "existing": "update"},
                       finished_at=clock.now(), created=1, done_rows=2, skipped=1, error="", **values)
        )  # fmt: skip
        ids[name] = row.id
    make.save(ImportChange(import_id=ids["import_id"], lead_id=free.id, client_id=client.id, line=2, before=None))
    make.save(ImportReject(client_id=client.id, import_id=ids["import_id"], line=3, reason="bad_email", raw=[word, word]))
    make.save(
        CampaignRehearsal(client_id=client.id, campaign_id=ids["campaign_id"], status="failed", days=1, replies_percent=0, seed=1, error=word)
    )
    free.source_import_id = ids["import_id"]
    db.session.commit()
    ids |= {
        "lead_id": lead.id, "free_lead_id": free.id, "draft_lead_id": fresh.id, "enrollment_id": walk.id, "delivery_id": failed.id, "unsure_delivery_id": unsure.id,
    }  # fmt: skip


def keep(client_id: int, raw: bytes) -> str:
    digest = hashlib.sha256(raw).hexdigest()
    if db.session.get(Blob, (client_id, digest)) is None:
        make.save(Blob(client_id=client_id, sha256=digest, bytes=raw, size=len(raw)))
    return digest


def _inbox(world: World) -> None:
    client, word, ids = world.client, world.word, world.ids
    mailbox, lead = db.session.get_one(Mailbox, ids["mailbox_id"]), db.session.get_one(make.Lead, ids["lead_id"])
    talk = make.make_conversation(client, mailbox, lead, subject=word, snippet=word, display_name=word, unread=1, needs_match=True)
    raw = f"From: x@{word.lower()}.test\r\nSubject: {word}\r\nContent-Type: text/html\r\n\r\n<p>{word}</p>".encode()
    digest = keep(client.id, raw)
    message = make.make_message(
        talk, word, from_name=word, raw_sha256=digest, has_html=True, warnings=[word], match_candidates=[{"lead_id": lead.id}],
        to_line=[word], cc_line=[word], references=[f"<{word}@x.test>"],
    )  # fmt: skip
    author = make.make_user(client, "agent", name=world.house)
    queued = make.make_delivery(
        db.session.get_one(make.Enrollment, ids["enrollment_id"]), lead, mailbox, kind="reply", campaign_id=None, enrollment_id=None,
        step_id=None, conversation_id=talk.id, status="queued", idempotency_key=f"reply:{world.name}:{message.id}", detail=word,
        not_before=machine_now() + timedelta(hours=1), due_at=clock.now(),
    )  # fmt: skip
    answer = make.make_message(talk, word, direction="out", delivery_id=queued.id, author_id=author.id, external_id=f"<answer-{message.id}@house.test>")
    name = {"client_id": client.id, "content_type": "image/png", "size": len(raw), "sha256": digest, "content_id": word}
    file = make.save(Attachment(message_id=message.id, position=0, filename=f"{word}.png", **name))
    own_file = make.save(Attachment(message_id=answer.id, position=0, filename=f"{word}.png", **name))
    make.save(Participant(client_id=client.id, conversation_id=talk.id, lead_id=lead.id, name=word, address=f"{word}@y.test", address_key=f"{word.lower()}@y.test"))
    quiet = make.make_conversation(client, mailbox, lead, subject=word, snippet=word, display_name=word, unread=0)
    make.make_message(quiet, word, from_name=word, read_at=make.MONDAY_TEN)
    closed = make.make_conversation(client, mailbox, lead, subject=word, snippet=word, display_name=word, status="closed", closed_at=make.MONDAY_TEN)
    ids |= {"conversation_id": talk.id, "read_conversation_id": quiet.id, "closed_conversation_id": closed.id, "message_id": message.id, "answer_id": answer.id, "file_id": file.id, "answer_file_id": own_file.id}


def _house(world: World) -> None:
    """People, keys, what was said never to contact, the trail, limits and stops."""
    client, word, ids = world.client, world.word, world.ids
    colleague = make.make_user(client, "agent", name=world.house, email=f"colleague{ids['lead_id']}@house.test")
    seat = db.session.query(Membership).filter_by(user_id=colleague.id).one()
    seat.invited = True
    make.save(seat)
    make.make_user(client, "admin", name=world.house)  # so that no admin is the last one
    key = make.save(ApiKey(client_id=client.id, user_id=colleague.id, name=word, prefix="ember_xyz", secret_hash=f"{ids['lead_id']} key", scope="read"))
    gone = f"gone@{world.name}-{word.lower()}.test"
    barred = make.save(
        Suppression(client_id=client.id, email=gone, email_key=gone, reason="manual", source="person", note=word, at=make.MONDAY_TEN)
    )  # fmt: skip
    entry = make.save(
        AuditEntry(client_id=client.id, user_id=colleague.id, action="lead.change", object_kind="lead", object_id="1", before={"name": word},
                   after={"name": word}, address=word)
    )  # fmt: skip
    make.save(AuditSeal(entry_id=entry.id, client_id=client.id, chain=client.id, number=entry.id, digest=b"x"))
    make.save(Activity(client_id=client.id, kind="message_sent", channel="email", lead_id=ids["lead_id"], campaign_id=ids["campaign_id"],
                       meta={"subject": word}, at=make.MONDAY_TEN))  # fmt: skip
    if world.name == client.slug:  # one per client
        make.save(Switch(scope_kind="client", scope_id=client.id, client_id=client.id, stopped=False, epoch=1, reason=word))
        make.save(Setting(scope_kind="client", scope_id=client.id, client_id=client.id, key="client_hour_cap", value=77, version=1))
    ids |= {"suppression_id": barred.id, "member_id": seat.id, "key_id": key.id, "user_id": colleague.id}


def _work(world: World) -> None:
    """Rows of surfaces that came later: write yours here and name its id in ``world.ids``."""
    client, word = world.client, world.word
    endpoint, off = (
        make.save(OutgoingEndpoint(client_id=client.id, url=f"http://127.0.0.1:9/{word}", description=word, events=["reply.received"], state=state))
        for state in ("on", "off")
    )
    for _one in range(2):
        secret = make.save(OutgoingSecret(client_id=client.id, endpoint_id=endpoint.id))
        secret.signing_secret = vault().seal("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", endpoints.place(secret.id))
        make.save(secret)
    event = make.save(OutgoingEvent(client_id=client.id, kind="reply.received", webhook_id=f"evt_{word}{world.ids['lead_id']}", body=word, facts={"email": word}))
    call = make.save(OutgoingCall(client_id=client.id, endpoint_id=endpoint.id, event_id=event.id, kind=event.kind, status="failed",
                                  ended_at=machine_now()))  # fmt: skip
    make.save(OutgoingTry(client_id=client.id, call_id=call.id, ms=5))
    world.ids |= {"endpoint_id": endpoint.id, "off_endpoint_id": off.id, "call_id": call.id}


def _instance(world: World) -> None:
    """What belongs to the installation: for operators alone. One of each, made with our world."""
    word = "Stegosaurus"
    source = make.save(WebhookSource(name=word, verifier="static_header", header="X-Secret", address_nonce=f"{world.word}", refused_why=word))
    secret = make.save(WebhookSecret(source_id=source.id))
    secret.sealed = vault().seal("a-secret-of-twenty-four-or-more", f"webhook_secrets.sealed:{secret.id}")
    db.session.commit()
    arrival = make.save(
        InboundEvent(source="webhook", account=str(source.id), dedupe_key=f"{word} {world.name}", body=word.encode(), status="quarantined", error=word)
    )  # fmt: skip
    world.ids |= {"source_id": source.id, "arrival_id": arrival.id}
    link = new_token()
    make.save(OneTimeLink(token_hash=token_hash(link), purpose="login", user_id=world.ids["user_id"], expires_at=machine_now() + timedelta(hours=1)))
    world.extra = {
        "webhook": webhooks.token_of(source), "link": link,
        "way out": suppressions.unsubscribe_token(
            world.client.id, lead_id=world.ids["lead_id"], email=f"lead@{world.name}-{world.word.lower()}.test",
            campaign_id=world.ids["campaign_id"], delivery_id=world.ids["delivery_id"],
        ),
    }  # fmt: skip


def _fill(connection: psycopg.Connection[Any], world: World) -> None:
    """The word into every free text of every tenant table that does not hold it yet."""
    closed = {
        (table, column)
        for table, column in connection.execute(
            "SELECT c.relname, a.attname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid"
            " JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey) WHERE k.contype = 'c'"
        )
    }
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        for table in tenant_tables(connection):
            names = connection.execute(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public' AND table_name = %s AND data_type = 'text'"
                " AND is_generated = 'NEVER'",
                (table,),
            )
            for (column,) in names.fetchall():
                if not {column, (table, column)} & (STRUCTURED | closed) and (table, column) not in closed:
                    statement = sql.SQL("UPDATE {t} SET {c} = {w} WHERE client_id = {i} AND strpos(coalesce({c}, ''), {w}) = 0").format(
                        t=sql.Identifier(table), c=sql.Identifier(column), w=sql.Literal(world.word), i=sql.Literal(world.client.id)
                    )
                    connection.execute(statement)


def bury(connection: psycopg.Connection[Any], base: int) -> None:
    """All rows of the world that begins at ``base`` are deleted, the product's way: by mark where it marks, else for good."""
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        marked = {row[0] for row in connection.execute("SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'deleted_at'")}
        with_id = connection.execute("SELECT table_name FROM information_schema.columns WHERE table_schema = 'public' AND column_name = 'id' AND data_type = 'bigint'")
        for (table,) in with_id.fetchall():
            place = sql.SQL("WHERE id >= {} AND id < {}").format(sql.Literal(base), sql.Literal(base + 1_000_000))
            action = sql.SQL("UPDATE {} SET deleted_at = clock_timestamp() ") if table in marked else sql.SQL("DELETE FROM {} ")
            connection.execute(action.format(sql.Identifier(table)) + place)
        for table, column in (("campaign_senders", "campaign_id"), ("delivery_attempts", "delivery_id"), ("import_changes", "import_id"), ("audit_seals", "entry_id")):
            place = sql.SQL("DELETE FROM {} WHERE {} >= {} AND {} < {}").format(
                sql.Identifier(table), sql.Identifier(column), sql.Literal(base), sql.Identifier(column), sql.Literal(base + 1_000_000)
            )
            connection.execute(place)


def empty_tables(connection: psycopg.Connection[Any], client_id: int) -> list[str]:
    """Tenant tables in which this client has no row: what the matrix would not watch."""
    return [
        table
        for table in tenant_tables(connection)
        if connection.execute(sql.SQL("SELECT count(*) FROM {} WHERE client_id = %s").format(sql.Identifier(table)), (client_id,)).fetchone() == (0,)
    ]
