"""Delivery reports, complaints and reports of receivers: RFC 3464, RFC 5965 and the old plain-text forms."""

from __future__ import annotations

import re

from app.domain import bounce_texts as say
from app.domain.bounce_texts import class_of
from app.domain.headers import key_of
from app.domain.reading import Fields, ReadMessage
from app.domain.verdicts import BounceClass, MailKind, Permanence, ReportedRecipient, Verdict

MAX_TEXT = 20_000
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}")
_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_CODE = re.compile(r"(?:^|[\s:;<(\[-])([45][0-5]\d)(?=[\s-])")



def classify_report(msg: ReadMessage) -> Verdict | None:
    """A verdict when the mail is a report of a machine about a mail (bounce, delay, delivery, complaint, DMARC)."""
    if msg.feedback is not None or msg.report_type == "feedback-report":
        return _complaint(msg)
    if _is_dmarc(msg):
        return Verdict(MailKind.DMARC_REPORT, "dmarc_subject", 0.95)
    if msg.content_type == "multipart/report" and msg.report_type == "disposition-notification":
        return Verdict(MailKind.AUTOMATIC, "mdn", 0.98, original_ids=msg.returned_ids)
    structured = _structured(msg)
    return structured if structured is not None else _by_text(msg)


def _ids(msg: ReadMessage) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*msg.returned_ids, *msg.ids_in_text, *msg.in_reply_to, *msg.references)))


def _complaint(msg: ReadMessage) -> Verdict:
    fields = msg.feedback or {}
    kind = (fields.get("feedback-type") or ("abuse",))[0].lower()
    named = [*fields.get("original-rcpt-to", ()), *fields.get("removal-recipient", ())]
    addresses = [found[0] for value in named if (found := _ADDRESS.search(value))]
    addresses = addresses or [person.address for part in msg.returned for person in part.to]
    people = tuple(ReportedRecipient(one, key_of(one), BounceClass.UNKNOWN, Permanence.UNKNOWN, None, None, kind)
                   for one in dict.fromkeys(addresses))
    if kind == "auth-failure":
        return Verdict(MailKind.DMARC_REPORT, "arf_auth_failure", 0.95, original_ids=_ids(msg))
    if kind == "not-spam":
        return Verdict(MailKind.AUTOMATIC, "arf_not_spam", 0.95, original_ids=_ids(msg))
    return Verdict(MailKind.COMPLAINT, f"arf_{re.sub('[^a-z-]', '', kind)[:30]}", 0.99, people, _ids(msg))


def _is_dmarc(msg: ReadMessage) -> bool:
    packed = any(re.search(r"zip|gzip|xml", part.content_type) or part.name.lower().endswith((".zip", ".gz", ".xml"))
                 for part in msg.attachments)
    return packed and bool(re.search(r"report[ -]?domain:|dmarc|submitter:|smtp tls report|tlsrpt", msg.subject, re.IGNORECASE))


def _structured(msg: ReadMessage) -> Verdict | None:
    """RFC 3464: one group per recipient. The worst action decides the kind."""
    groups = [group for group in msg.status_groups if {"action", "final-recipient", "status"} & group.keys()]
    if not groups:
        return None
    actions = {_action(group) for group in groups}
    failed = tuple(person for group in groups if _action(group) == "failed" and (person := _recipient(group, msg)))
    if "failed" in actions:
        return Verdict(MailKind.BOUNCE, "dsn_failed", 0.99, failed, _ids(msg))
    everyone = tuple(person for group in groups if (person := _recipient(group, msg)))
    if "delayed" in actions:
        return Verdict(MailKind.DELAYED, "dsn_delayed", 0.99, everyone, _ids(msg))
    return Verdict(MailKind.DELIVERED, "dsn_delivered", 0.95, everyone, _ids(msg))


def _action(group: Fields) -> str:
    action = re.sub(r"[^a-z].*", "", (group.get("action") or ("",))[0].strip().lower())
    if action in ("failed", "delayed", "delivered", "relayed", "expanded"):
        return action
    status = (group.get("status") or ("",))[0].strip()[:1]
    return {"5": "failed", "4": "delayed", "2": "delivered"}.get(status, "failed")


def _recipient(group: Fields, msg: ReadMessage) -> ReportedRecipient | None:
    """The address we wrote to: Original-Recipient when it is an address, else Final-Recipient."""
    address = ""
    for name in ("original-recipient", "x-original-recipient", "final-recipient", "x-actual-recipient"):
        for value in group.get(name, ()):
            found = _ADDRESS.search(value.partition(";")[2] or value)
            if found and not address:
                address = found[0]
    if not address:
        return None
    diagnostic = " ".join(group.get("diagnostic-code", ()))
    # Receivers often write the cause only into the human part; without a diagnostic that part speaks.
    text = diagnostic if len(diagnostic) > 12 else f"{diagnostic} {_explanation(msg)}"
    return judged(address, text, (group.get("status") or ("",))[0], _action(group))


def _explanation(msg: ReadMessage) -> str:
    text = msg.plain_for_display[:MAX_TEXT]
    copy = say.COPY.search(text)
    return text[: copy.start()] if copy else text


def judged(address: str, text: str, status_field: str, action: str) -> ReportedRecipient:
    """What one failure means, from the words of the server (``text``), the status (``5.1.1``) and the action (``failed``, ``delayed``)."""
    in_text = _STATUS.search(text)
    found = _STATUS.search(status_field)
    if found and in_text and found[2] == "0" and found[3] == "0":
        found = in_text  # "5.0.0" says nothing; the remote server's own words do
    found = found or in_text
    status = ".".join(found.groups()) if found else None
    code_match = _CODE.search(text)
    code = int(code_match[1]) if code_match else None
    cls = class_of(text, status)
    return ReportedRecipient(address, key_of(address), cls, _permanence(cls, status, code, action), status, code,
                             " ".join(text.split())[:500])


_PASSING = frozenset({BounceClass.FULL, BounceClass.RATE, BounceClass.GREYLIST, BounceClass.NETWORK,
                      BounceClass.EXPIRED, BounceClass.SYSTEM})


def _permanence(cls: BounceClass, status: str | None, code: int | None, action: str) -> Permanence:
    """5.x.x is not "hard" by itself: a full mailbox, a timeout or a rate passes by; 4.x.x is never hard."""
    if action == "delayed" or cls in _PASSING:
        return Permanence.TEMPORARY
    if (status and status[0] == "4") or (code and code < 500 and not (status and status[0] == "5")):
        return Permanence.TEMPORARY
    if cls is BounceClass.UNKNOWN and status is None and code is None:
        return Permanence.UNKNOWN
    return Permanence.PERMANENT


def _by_text(msg: ReadMessage) -> Verdict | None:
    """Reports without RFC 3464 parts: qmail, Exim, old Exchange, webmail providers."""
    sender = msg.from_.address.partition("@")[0] if msg.from_ else ""
    name = msg.from_.name if msg.from_ else ""
    from_machine = bool(say.DAEMON.match(sender)) or bool(say.DAEMON_NAME.search(name)) or msg.header("return-path").strip() == "<>"
    failed_header = msg.headers.get("x-failed-recipients", ())
    text = _explanation(msg)
    says_subject, says_body = bool(say.SUBJECT.search(msg.subject)), bool(say.BODY.search(text[:6000]))
    if not failed_header and not (from_machine and (says_subject or says_body)) and not (
            msg.report_type == "delivery-status" or (says_subject and says_body and bool(_ids(msg)))):
        return None
    people = _named_in_text(msg, text, failed_header)
    sure = 0.95 if failed_header or (says_subject and says_body) else 0.8
    final = re.search(r"\b5\d\d\b|permanent|giv(?:en|ing) up", text[:3000])
    delayed = say.DELAY.search(msg.subject) or (say.DELAY.search(text[:3000]) and not final)
    if delayed:
        return Verdict(MailKind.DELAYED, "text_delayed", sure, people, _ids(msg))
    return Verdict(MailKind.BOUNCE, "header_failed_recipients" if failed_header else "text_bounce", sure, people, _ids(msg))


def _named_in_text(msg: ReadMessage, text: str, failed_header: tuple[str, ...]) -> tuple[ReportedRecipient, ...]:
    """The failed addresses, each with the words from its name to the next one's."""
    ours = {person.key for person in (*msg.to, *msg.cc)} | ({msg.from_.key} if msg.from_ else set())
    named = [match[0] for value in failed_header for match in _ADDRESS.finditer(value)]
    spots: list[tuple[int, str]] = []
    for match in _ADDRESS.finditer(text):
        address = match[0].strip(".'")
        if key_of(address) not in ours and not say.DAEMON.match(address.partition("@")[0]) and (
                not named or address in named) and address not in [one for _, one in spots]:
            spots.append((match.start(), address))
    # an address in angle brackets or alone on its line is the failed one; others are mentioned in passing
    lines = [(at, one) for at, one in spots if re.search(r"(?:^|\n)[\s<*•-]*$", text[max(0, at - 30):at])]
    spots = (lines or spots)[:20]
    out = [judged(one, text[at: spots[i + 1][0] if i + 1 < len(spots) else at + 3000], "", "failed")
           for i, (at, one) in enumerate(spots)]
    if not spots:
        fallback = named or [person.address for part in msg.returned for person in part.to]
        out = [judged(one, text, "", "failed") for one in dict.fromkeys(fallback)]
    return tuple(one if one.bounce_class is not BounceClass.UNKNOWN else judged(one.address, text, "", "failed") for one in out)
