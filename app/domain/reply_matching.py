"""Which lead, enrollment and delivery an arrived mail belongs to: first what has to be looked up, then the decision.

Pure: `candidates_needed` names the keys, the receiving service fills `FoundFacts` by SELECTs, `match` decides. The rule that
matched is part of the answer and is stored. A match says where a mail belongs; it gives nobody any right."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.domain.headers import normal_id, subject_base
from app.domain.mail_threads import GMAIL, thread_keys
from app.domain.reading import ReadMessage
from app.domain.verdicts import ANSWERS, REPORTS, MailKind, ReportedRecipient, Verdict

MATCHER_VERSION = 2
SAME_SUBJECT_WITHIN = timedelta(days=30)
MAX_IDS = 100
#: All of them wait for the decision; the page offers the first ones (app/queries/thread.py).
MAX_CANDIDATES = 200

# Mail providers: two people who share such a domain have nothing else in common.
FREE_MAIL = frozenset(
    [
        "gmail.com", "googlemail.com", "outlook.com", "hotmail.com", "live.com", "msn.com", "yahoo.com", "ymail.com",
        "aol.com", "icloud.com", "me.com", "mac.com", "gmx.de", "gmx.net", "gmx.com", "gmx.at", "gmx.ch", "web.de",
        "t-online.de", "freenet.de", "mail.ru", "bk.ru", "inbox.ru", "list.ru", "yandex.ru", "yandex.com", "ya.ru",
        "rambler.ru", "proton.me", "protonmail.com", "pm.me", "zoho.com", "qq.com", "163.com", "126.com", "sina.com",
        "naver.com", "daum.net", "hanmail.net", "orange.fr", "wanadoo.fr", "free.fr", "laposte.net", "sfr.fr",
        "libero.it", "virgilio.it", "tiscali.it", "wp.pl", "o2.pl", "onet.pl", "interia.pl", "seznam.cz", "email.cz",
        "centrum.cz", "uol.com.br", "bol.com.br", "terra.com.br", "hotmail.co.uk", "yahoo.co.uk", "yahoo.co.in",
        "yahoo.de", "yahoo.fr", "outlook.de", "hotmail.fr", "hotmail.de", "rediffmail.com", "btinternet.com",
        "comcast.net", "verizon.net", "att.net", "ziggo.nl", "kpnmail.nl", "telia.com", "ukr.net", "abv.bg",
        "yahoo.co.jp", "fastmail.com", "tutanota.com", "hey.com",
    ])
_TOKEN_HEADERS = ("delivered-to", "x-original-to", "x-envelope-to", "envelope-to", "x-rcpt-to", "x-delivered-to")
_PLUS = re.compile(r"\+([A-Za-z0-9_=.-]{4,128})@")


class MatchKind(StrEnum):
    REPLY = "reply"                  # a person answered: stops the sequence
    UNSUBSCRIBE = "unsubscribe"      # an answer that only asks to be left alone
    AUTOMATIC = "automatic"          # belongs to a thread, counts as no reply
    BOUNCE = "bounce"                # believed: names a mail we sent
    DELAYED = "delayed"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    OWN = "own"                      # written by one of our senders
    AMBIGUOUS = "ambiguous"          # a person decides among the candidates
    FORGED = "forged"                # a report about a mail we never sent: does nothing
    UNRELATED = "unrelated"


class MatchRule(StrEnum):
    PLUS_TOKEN = "plus_token"
    IN_REPLY_TO = "in_reply_to"
    REFERENCES = "references"
    RETURNED_ID = "returned_id"
    CONVERSATION = "conversation"
    GMAIL_THREAD = "gmail_thread"
    THREAD_INDEX = "thread_index"
    THREAD_TOPIC = "thread_topic"
    SAME_ADDRESS_AND_SUBJECT = "same_address_and_subject"
    SAME_ADDRESS = "same_address"
    SAME_DOMAIN_AND_SUBJECT = "same_domain_and_subject"
    SEVERAL_LEADS = "several_leads"
    OWN_ADDRESS = "own_address"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class KnownDelivery:
    """A mail we sent. `message_ids`: ours and any the provider assigned; `subject_base` as `headers.subject_base` gives it."""

    id: int
    lead_id: int | None
    enrollment_id: int | None
    campaign_id: int | None
    conversation_id: int | None
    to_key: str
    subject_base: str
    message_ids: tuple[str, ...]
    sent_at: datetime
    tokens: tuple[str, ...] = ()
    threads: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class KnownLead:
    id: int
    key: str
    name: str


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """A message already in a conversation (theirs or ours from outside), found by its id."""

    message_id: str
    conversation_id: int
    lead_id: int | None
    enrollment_id: int | None
    delivery_id: int | None
    thread: str = ""


@dataclass(frozen=True, slots=True)
class LookupKeys:
    """What the service looks up. `domain` is None for public mail providers, where it would say nothing.

    `threads`: keys of `mail_threads`; `topic`: the base of the subject the thread began with, as Outlook keeps it."""

    tokens: tuple[str, ...]
    message_ids: tuple[str, ...]
    from_key: str | None
    subject_base: str
    domain: str | None
    threads: tuple[str, ...] = ()
    topic: str = ""


@dataclass(frozen=True, slots=True)
class FoundFacts:
    """What the ledger knows of the keys, all of one client.

    `deliveries`: sent mails by token, by id, by thread, to `from_key`, or to `domain` with the same subject base
    (the last 30 days for the latter two)."""

    deliveries: tuple[KnownDelivery, ...] = ()
    messages: tuple[KnownMessage, ...] = ()
    leads: tuple[KnownLead, ...] = ()
    own_keys: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Candidate:
    lead_id: int | None
    delivery_id: int | None
    conversation_id: int | None
    rule: MatchRule


@dataclass(frozen=True, slots=True)
class Match:
    """Where the mail belongs. `from_other_address`: a reply in the thread by somebody we did not write to."""

    kind: MatchKind
    rule: MatchRule
    lead_id: int | None = None
    enrollment_id: int | None = None
    delivery_id: int | None = None
    conversation_id: int | None = None
    campaign_id: int | None = None
    from_other_address: bool = False
    ambiguous_candidates: tuple[Candidate, ...] = ()
    recipients: tuple[ReportedRecipient, ...] = ()
    version: int = MATCHER_VERSION

    @property
    def stops_sequence(self) -> bool:
        return self.kind in (MatchKind.REPLY, MatchKind.UNSUBSCRIBE, MatchKind.COMPLAINT)


def candidates_needed(msg: ReadMessage, thread: str = "") -> LookupKeys:
    """The keys by which the ledger is asked. Ids without angle brackets, at most 100; the newest references first.

    `thread`: the key of the thread its provider put it into, where it tells."""
    key = msg.from_.key if msg.from_ else None
    domain = key.rpartition("@")[2] if key else ""
    ids = dict.fromkeys((*msg.in_reply_to, *reversed(msg.references), *msg.returned_ids, *msg.ids_in_text))
    return LookupKeys(tokens=_tokens(msg), message_ids=tuple(ids)[:MAX_IDS], from_key=key, subject_base=msg.subject_base,
                      domain=domain if domain and domain not in FREE_MAIL else None, threads=thread_keys(msg, thread),
                      topic=subject_base(msg.header("thread-topic")))


def _tokens(msg: ReadMessage) -> tuple[str, ...]:
    addresses = [person.address for person in (*msg.to, *msg.cc)]
    for name in _TOKEN_HEADERS:
        addresses += msg.headers.get(name, ())[:5]
    return tuple(dict.fromkeys(found for one in addresses for found in _PLUS.findall(one)))[:20]


def match(msg: ReadMessage, verdict: Verdict, found: FoundFacts, now: datetime, thread: str = "") -> Match:
    """Decide. The same inputs give the same answer; `now` bounds the 30 days of the weaker rules."""
    keys = candidates_needed(msg, thread)
    if keys.from_key and keys.from_key in found.own_keys and verdict.kind not in REPORTS:
        return _own(keys, found)
    if verdict.kind in REPORTS:
        return _report(keys, verdict, found)
    if verdict.kind is MailKind.DMARC_REPORT:
        return Match(MatchKind.UNRELATED, MatchRule.NONE)
    strong = _strong(msg, keys, found) or _by_thread(keys, verdict, found)
    if strong is not None and strong.kind is MatchKind.AMBIGUOUS:
        return strong
    if strong is not None:
        # an answer that came through a group address wears a list's headers; naming our mail, it is an answer
        return _named(strong, MatchKind.REPLY if verdict.kind is MailKind.LIST_MAIL else _kind_of(verdict))
    return _by_subject(keys, verdict, found, now)


def _kind_of(verdict: Verdict) -> MatchKind:
    if verdict.kind is MailKind.HUMAN:
        return MatchKind.REPLY
    return MatchKind.UNSUBSCRIBE if verdict.kind is MailKind.UNSUBSCRIBE_REQUEST else MatchKind.AUTOMATIC


def _named(place: Match, kind: MatchKind) -> Match:
    return Match(kind, place.rule, place.lead_id, place.enrollment_id, place.delivery_id, place.conversation_id, place.campaign_id,
                 place.from_other_address)


def _at(delivery: KnownDelivery, rule: MatchRule, from_key: str | None) -> Match:
    return Match(MatchKind.REPLY, rule, delivery.lead_id, delivery.enrollment_id, delivery.id, delivery.conversation_id,
                 delivery.campaign_id, from_other_address=bool(from_key) and from_key != delivery.to_key)


def _strong(msg: ReadMessage, keys: LookupKeys, found: FoundFacts) -> Match | None:
    """Token, then ids: what only somebody who got our mail can name."""
    for token in keys.tokens:
        hits = [one for one in found.deliveries if token in one.tokens]
        if hits:
            return _at(_newest(hits), MatchRule.PLUS_TOKEN, keys.from_key)
    for rule, ids in ((MatchRule.IN_REPLY_TO, msg.in_reply_to), (MatchRule.REFERENCES, tuple(reversed(msg.references)))):
        hit = _by_ids(ids, found.deliveries)
        if hit:
            return _at(hit, rule, keys.from_key)
    for one_id in (*msg.in_reply_to, *reversed(msg.references)):
        for known in found.messages:
            if normal_id(known.message_id) == normal_id(one_id):
                return _in_conversation(known, keys, found)
    return None


def _by_thread(keys: LookupKeys, verdict: Verdict, found: FoundFacts) -> Match | None:
    """By the thread their mail program or ours sorted it into, where no id of ours was left in it.

    Programs put mails with one subject to several people into one thread: then the sender decides, else a person."""
    for key in keys.threads:
        rule = MatchRule.GMAIL_THREAD if key.startswith(GMAIL) else MatchRule.THREAD_INDEX
        inside = [one for one in found.deliveries if key in one.threads]
        hits = [one for one in inside if one.to_key == keys.from_key] or inside
        if len({one.lead_id for one in hits}) > 1:
            if verdict.kind in ANSWERS:
                return _queue(hits, rule)
        elif hits:
            return _at(_newest(hits), rule, keys.from_key)
        elif (known := next((one for one in found.messages if one.thread == key), None)) is not None:
            return _in_conversation(known, keys, found, rule)
    return None


def _by_ids(ids: Iterable[str], deliveries: Sequence[KnownDelivery]) -> KnownDelivery | None:
    """The delivery of the first id that is known; ids come newest first."""
    for one in ids:
        wanted = normal_id(one)
        for delivery in deliveries:
            if any(normal_id(known) == wanted for known in delivery.message_ids):
                return delivery
    return None


def _in_conversation(
    known: KnownMessage, keys: LookupKeys, found: FoundFacts, rule: MatchRule = MatchRule.CONVERSATION
) -> Match:
    lead = next((one for one in found.leads if one.id == known.lead_id), None)
    other = lead is not None and keys.from_key is not None and keys.from_key != lead.key
    return Match(MatchKind.REPLY, rule, known.lead_id, known.enrollment_id, known.delivery_id, known.conversation_id,
                 from_other_address=other)


def _newest(deliveries: Sequence[KnownDelivery]) -> KnownDelivery:
    return max(deliveries, key=lambda one: (one.sent_at, one.id))


def _own(keys: LookupKeys, found: FoundFacts) -> Match:
    """Our own echo, or a colleague writing from outside: it joins its thread and is never a reply."""
    wanted = {normal_id(one) for one in keys.message_ids}
    hits = [one for one in found.deliveries if wanted & {normal_id(known) for known in one.message_ids}]
    if not hits:
        inside = [one for one in found.deliveries if set(keys.threads) & set(one.threads)]
        hits = inside if len({one.lead_id for one in inside}) == 1 else []
    if hits:
        return _named(_at(_newest(hits), MatchRule.OWN_ADDRESS, None), MatchKind.OWN)
    named = [one for one in found.messages if normal_id(one.message_id) in wanted]
    known = next(iter(named or [one for one in found.messages if one.thread and one.thread in keys.threads]), None)
    if known:
        return Match(MatchKind.OWN, MatchRule.OWN_ADDRESS, known.lead_id, known.enrollment_id, known.delivery_id, known.conversation_id)
    return Match(MatchKind.OWN, MatchRule.OWN_ADDRESS)


_REPORT_KIND = {MailKind.BOUNCE: MatchKind.BOUNCE, MailKind.DELAYED: MatchKind.DELAYED,
                MailKind.DELIVERED: MatchKind.DELIVERED, MailKind.COMPLAINT: MatchKind.COMPLAINT}


def _report(keys: LookupKeys, verdict: Verdict, found: FoundFacts) -> Match:
    """A report is believed only when it names an id we sent or our token, and then only about the one we sent that mail to."""
    hits = [one for one in found.deliveries if any(token in one.tokens for token in keys.tokens)]
    rule = MatchRule.PLUS_TOKEN
    if not hits:
        rule = MatchRule.RETURNED_ID
        hit = _by_ids((*verdict.original_ids, *keys.message_ids), found.deliveries)
        hits = [hit] if hit else []
    if not hits:
        return Match(MatchKind.FORGED, MatchRule.NONE)
    delivery = _newest(hits)
    place = _at(delivery, rule, None)
    return Match(_REPORT_KIND[verdict.kind], rule, place.lead_id, place.enrollment_id, place.delivery_id, place.conversation_id,
                 place.campaign_id, recipients=_about(delivery, verdict.recipients))


def _about(delivery: KnownDelivery, recipients: Sequence[ReportedRecipient]) -> tuple[ReportedRecipient, ...]:
    """The reported failure of the address we wrote to. A single failure under another name is a forwarding of that address:
    it is kept for its reason; strangers added to a true report by a forger fall out."""
    exact = tuple(one for one in recipients if one.key == delivery.to_key)
    return exact or (tuple(recipients) if len(recipients) == 1 else ())


def _by_subject(keys: LookupKeys, verdict: Verdict, found: FoundFacts, now: datetime) -> Match:
    recent = [one for one in found.deliveries if now - SAME_SUBJECT_WITHIN <= one.sent_at <= now + timedelta(minutes=5)]
    theirs = [one for one in recent if one.to_key == keys.from_key]
    rule = MatchRule.THREAD_TOPIC
    same = [one for one in theirs if keys.topic and one.subject_base == keys.topic]
    if not same:
        rule = MatchRule.SAME_ADDRESS_AND_SUBJECT
        same = [one for one in theirs if keys.subject_base and one.subject_base == keys.subject_base]
    if not same and verdict.kind not in (MailKind.HUMAN, MailKind.LIST_MAIL):
        # notices rewrite the subject ("Automatic reply: …" in any language) and carry no ids: the address alone decides
        same = theirs
    if same and verdict.kind is not MailKind.LIST_MAIL:
        if len({one.lead_id for one in same}) > 1:
            return _queue(same, MatchRule.SEVERAL_LEADS)
        return _named(_at(_newest(same), rule, keys.from_key), _kind_of(verdict))
    if verdict.kind not in ANSWERS:
        return Match(MatchKind.UNRELATED, MatchRule.NONE)
    return _by_address(keys, verdict, found, recent) or _near(keys, recent)


def _by_address(keys: LookupKeys, verdict: Verdict, found: FoundFacts, recent: Sequence[KnownDelivery]) -> Match | None:
    """A lead who starts a new mail instead of pressing reply answers all the same: a follow-up after it would be the worse mistake."""
    hits = [one for one in recent if one.to_key == keys.from_key]
    if len({one.lead_id for one in hits}) > 1:
        return _queue(hits, MatchRule.SEVERAL_LEADS)
    if hits:
        return _named(_at(_newest(hits), MatchRule.SAME_ADDRESS, keys.from_key), _kind_of(verdict))
    leads = {one.id for one in found.leads if one.key == keys.from_key}
    return Match(_kind_of(verdict), MatchRule.SAME_ADDRESS, lead_id=leads.pop()) if len(leads) == 1 else None


def _near(keys: LookupKeys, recent: Sequence[KnownDelivery]) -> Match:
    bases = {base for base in (keys.subject_base, keys.topic) if base}
    if keys.domain and bases:
        hits = [one for one in recent if one.to_key.rpartition("@")[2] == keys.domain and one.subject_base in bases]
        if hits:
            return _queue(hits, MatchRule.SAME_DOMAIN_AND_SUBJECT)
    return Match(MatchKind.UNRELATED, MatchRule.NONE)


def _queue(deliveries: Sequence[KnownDelivery], rule: MatchRule) -> Match:
    """A person decides: one candidate per lead, the newest mail first."""
    seen: dict[int | None, Candidate] = {}
    for one in sorted(deliveries, key=lambda item: (item.sent_at, item.id), reverse=True):
        seen.setdefault(one.lead_id, Candidate(one.lead_id, one.id, one.conversation_id, rule))
    return Match(MatchKind.AMBIGUOUS, rule, ambiguous_candidates=tuple(seen.values())[:MAX_CANDIDATES])
