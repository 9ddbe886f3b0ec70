"""What a person or a program may say about a mailbox: read, completed, and refused per field with what to write instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.core.errors import Invalid
from app.domain.address import AddressError, parse_address
from app.domain.calendar_settings import parse_windows, windows_as_json
from app.domain.fingerprint import fingerprint
from app.domain.providers import Provider, provider, provider_of_domain, provider_of_host
from app.domain.week_words import read_week, write_week
from app.domain.zones import known_zones
from app.models import Mailbox
from app.strings import t

SIDES = ("smtp", "imap")
SECURITIES = ("none", "starttls", "tls")
SAVE_TO_SENT = ("unknown", "provider", "append", "never")
CONNECTION = tuple(f"{side}_{name}" for side in SIDES for name in ("host", "port", "security", "user"))
PLAIN = (
    "display_name", "timezone", "daily_cap", "hourly_cap", "min_gap_s", "save_to_sent", "sent_folder", "junk_folder", "show_all_mail",
    "restrict_campaigns", "own_hours",
)  # fmt: skip
PASSWORDS = ("smtp_password", "imap_password")
FIELDS = ("email", *PLAIN, *CONNECTION, *PASSWORDS)
TEXT_LIMIT = 320
_CAP, _PORT = 100_000, (1, 65_535)
LIMITS = {"daily_cap": (0, _CAP), "hourly_cap": (1, _CAP), "min_gap_s": (0, 86_400), "smtp_port": _PORT, "imap_port": _PORT}
_DEFAULT_PORTS = {("smtp", "tls"): 465, ("smtp", "starttls"): 587, ("smtp", "none"): 25, ("imap", "tls"): 993}
_FALSE = {"", "0", "false", "off", "no"}


class Faults(dict[str, list[str]]):
    """Sentences per field, collected so that a person sees all of them at once."""

    def say(self, field: str, text: str) -> None:
        self.setdefault(field, []).append(text)

    def refuse(self) -> None:
        """Raise Invalid when anything was said."""
        if self:
            raise Invalid(t("fields.marked"), details=self)


def complete(values: Mapping[str, Any], timezone: str, allow_reserved: bool) -> dict[str, Any]:
    """All columns of a new mailbox plus the two passwords; what is missing comes from the known provider or from the other server.

    Raises Invalid with every wrong field.
    """
    faults = Faults()
    given = {key: value for key, value in _read(values, faults).items() if value is not None}
    address = _address(given.get("email"), allow_reserved, faults)
    known = provider_of_domain(address.domain) if address else None
    wanted: dict[str, Any] = {"timezone": timezone, "display_name": "", **_preset(known, address.email if address else ""), **given}
    if address:
        wanted |= {"address": address.email, "address_key": address.key, "domain": address.domain}
    _fill_logins(wanted, address.email if address else "")
    _need(wanted, faults)
    if "provider" not in wanted:
        host = provider_of_host(str(wanted.get("smtp_host", "")))
        wanted["provider"] = host.key if host else ""
    _keep_gap(str(wanted["provider"]), wanted, faults)
    faults.refuse()
    wanted.pop("email")
    return wanted


def changes(mailbox: Mailbox, values: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields that differ from the row, plus passwords that were typed. Raises Invalid; the address cannot change."""
    faults = Faults()
    read = _read(values, faults)
    email = read.pop("email", None)
    if email and email.lower() != mailbox.address_key:
        faults.say("email", t("mailboxes.address_stays"))
    for name in (*CONNECTION, "timezone", "daily_cap", "min_gap_s", "save_to_sent"):
        if name in read and read[name] in (None, "") and name != "smtp_user" and name not in faults:
            faults.say(name, t("fields.fill_in"))
    _keep_gap(mailbox.provider, read, faults)
    if read.get("restrict_campaigns", mailbox.restrict_campaigns) and not read.get("own_hours", mailbox.own_hours or {}).get("windows"):
        faults.say("own_hours", t("mailboxes.own_hours_needed"))
    faults.refuse()
    passwords = {name: read.pop(name) for name in PASSWORDS if name in read}
    changed = {name: value for name, value in read.items() if getattr(mailbox, name) != value}
    return {**changed, **{name: value for name, value in passwords.items() if value}}


def _keep_gap(key: str, values: Mapping[str, Any], faults: Faults) -> None:
    """A provider that takes so many messages a minute wants them so many seconds apart."""
    known, gap = provider(key), values.get("min_gap_s")
    if known is not None and isinstance(gap, int) and gap < known.least_gap_s:
        faults.say("min_gap_s", t("mailboxes.gap_of_provider", label=known.label, per_minute=known.per_minute, least_gap_s=known.least_gap_s))


def version(mailbox: Mailbox) -> str:
    """A print of what ``changes`` can change and a page can show; who types a password means it, whatever stood there."""
    return fingerprint([getattr(mailbox, name) for name in (*PLAIN, *CONNECTION)])


def _read(values: Mapping[str, Any], faults: Faults) -> dict[str, Any]:
    """Known fields with the right type; forms send text, programs send numbers and true."""
    read: dict[str, Any] = {}
    for name in FIELDS:
        if name not in values:
            continue
        raw = values[name]
        if name in LIMITS:
            read[name] = _number(name, raw, faults)
        elif name == "own_hours":
            read[name] = _hours(raw, faults)
        elif name in ("show_all_mail", "restrict_campaigns"):
            read[name] = raw if isinstance(raw, bool) else str(raw or "").strip().lower() not in _FALSE
        else:
            read[name] = _text(name, raw, faults)
    _choices(read, faults)
    return read


def _hours(raw: Any, faults: Faults) -> dict[str, Any]:
    """A line (``Mon-Fri 09:00-17:00``) or windows {weekday, from, to} → what is stored; nothing: no hours of its own."""
    try:
        windows = read_week(raw) if isinstance(raw, str) else raw
        painted = parse_windows(windows) if windows else ()
    except ValueError as wrong:
        faults.say("own_hours", str(wrong))
        return {}
    if not any(painted):
        return {}
    # what is written holds as it stands: a weekend is closed unless hours are written for it
    weekend = {"mode": "reduced", "percent": 100} if painted[5] or painted[6] else {"mode": "closed"}
    return {"windows": windows_as_json(painted), "weekend": weekend}


def hours_as_line(mailbox: Mailbox) -> str:
    """The mailbox's own hours as a person writes them; empty without any."""
    windows = (mailbox.own_hours or {}).get("windows")
    return write_week(parse_windows(windows)) if windows else ""


def _number(name: str, raw: Any, faults: Faults) -> int | None:
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return None
    low, high = LIMITS[name]
    text = str(raw).strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 9 and not isinstance(raw, bool) else -1
    if not low <= number <= high:
        faults.say(name, t("fields.whole_number", low=low, high=high))
        return None
    return number


def _text(name: str, raw: Any, faults: Faults) -> str | None:
    if raw is None:
        return None
    if not isinstance(raw, str):
        faults.say(name, t("fields.write_text"))
        return None
    text = raw if name in PASSWORDS else raw.strip()
    if len(text) > TEXT_LIMIT:
        faults.say(name, t("fields.use_at_most", limit=TEXT_LIMIT))
    elif any(ord(letter) < 32 or ord(letter) == 127 or letter in "\u0085\u2028\u2029" for letter in text):
        faults.say(name, t("fields.no_controls"))
    return text


def _choices(read: Mapping[str, Any], faults: Faults) -> None:
    for side in SIDES:
        if read.get(f"{side}_security") not in (None, *SECURITIES):
            faults.say(f"{side}_security", t("mailboxes.security_choice"))
    if read.get("save_to_sent") not in (None, *SAVE_TO_SENT):
        faults.say("save_to_sent", t("mailboxes.sent_copy_choice"))
    if read.get("timezone") and read["timezone"] not in known_zones():
        faults.say("timezone", t("fields.timezone_choice"))


def _address(email: str | None, allow_reserved: bool, faults: Faults) -> Any:
    try:
        return parse_address(email or "", allow_reserved)
    except AddressError as error:
        faults.say("email", str(error))
        return None


def _preset(known: Provider | None, email: str) -> dict[str, Any]:
    if known is None:
        return {}
    user = email if known.user_is_address else email.rpartition("@")[0]
    filled: dict[str, Any] = {"provider": known.key, "save_to_sent": known.sent_copies.value}
    for side, server in (("smtp", known.smtp), ("imap", known.imap)):
        filled |= {f"{side}_host": server.host, f"{side}_port": server.port, f"{side}_security": server.security, f"{side}_user": user}
    return filled


def _fill_logins(wanted: dict[str, Any], email: str) -> None:
    """One login is enough where both servers share it. An SMTP user given as empty means: no login there."""
    for side in SIDES:
        wanted.setdefault(f"{side}_security", "tls" if wanted.get(f"{side}_port") in (465, 993) else "starttls")
        wanted.setdefault(f"{side}_port", _DEFAULT_PORTS.get((side, wanted[f"{side}_security"]), 143))
    wanted["imap_user"] = wanted.get("imap_user") or wanted.get("smtp_user") or email
    wanted.setdefault("smtp_user", wanted["imap_user"])
    wanted["imap_password"] = wanted.get("imap_password") or wanted.get("smtp_password") or ""
    wanted["smtp_password"] = (wanted.get("smtp_password") or wanted["imap_password"]) if wanted["smtp_user"] else ""


def _need(wanted: Mapping[str, Any], faults: Faults) -> None:
    for side in SIDES:
        if not wanted.get(f"{side}_host") and f"{side}_host" not in faults:
            faults.say(f"{side}_host", t("mailboxes.smtp_needed" if side == "smtp" else "mailboxes.imap_needed"))
    if not wanted["imap_password"] and not any(name in faults for name in PASSWORDS):
        faults.say("smtp_password", t("mailboxes.password_needed"))
