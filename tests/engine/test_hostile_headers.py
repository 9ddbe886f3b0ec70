"""Whatever stands in a lead's fields, the receiver gets one mail with the headers we meant and nobody else in its envelope.

The values are put into the ledger directly, as if every check of the imports had failed: what is tested is the road, at its end.
"""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from typing import Any

import pytest

from app.core.extensions import db
from app.models import Enrollment, Lead
from tests import factories
from tests.engine.conftest import fresh, statuses, until

NAMES = {
    "line ends": "Ada\r\nBcc: evil@x.test\r\n\r\nbody",
    "bare feeds": "Ada\nBcc: evil@x.test",
    "bare returns": "Ada\rBcc: evil@x.test",
    "controls": "Ada\x01\x08\x0b\x0c\x1b[31m\x7f",
    "next line": "Ada\x85Bcc: evil@x.test",
    "separators": "Ada\u2028Bcc: evil@x.test\u2029X: y",
    "unicode": "Zoë 李雷 Ñandú 🔥👩\u200d👩\u200d👧",
    "quotes": '"Ada" <evil@x.test>, "Eve\\" (a comment) ; group: x;',
    "two thousand": "Ada " * 500,
    "two thousand, one word": "A" * 2_000,
    "two thousand of ours": "ß" * 2_000,
    "right to left": "\u202eadA\u202c \u2067עברית\u2069 العربية",
    "encoded words": "=?utf-8?q?Ada=0D=0ABcc:_evil@x.test?= =?utf-8?b?QWRhDQpCY2M6IHg=?=",
    "half an encoded word": "=?utf-8?q?Ada",
    "dots": "\r\n.\r\nMAIL FROM:<evil@x.test>\r\nRCPT TO:<evil@x.test>\r\nDATA\r\n",
    "template": "{{ company }} {% if a %} {a|b}",
    "percent and folds": "Ada\r\n Bcc: evil@x.test %0d%0aBcc: y",
}
#: A name that holds these is refused with words; anywhere else they are carried as what they are, or as blanks.
NOT_A_NAME = {
    "line ends", "bare feeds", "bare returns", "controls", "next line", "separators", "two thousand", "two thousand, one word", "dots",
    "percent and folds",
}  # fmt: skip
FIELDS = ("first_name", "last_name", "company", "title")
ONCE = (
    "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Reply-To", "In-Reply-To", "References", "List-Unsubscribe",
    "List-Unsubscribe-Post", "List-Id", "Content-Transfer-Encoding",
)  # fmt: skip
KNOWN = {name.lower() for name in ONCE} | {"feedback-id", "x-mailer", "auto-submitted"}


@pytest.mark.slow
def test_hostile_names_arrive_as_one_mail_with_well_formed_headers(story: Any, engine: Any, mail: Any) -> None:
    tale = story(display_name='Our "best" <house>, =?utf-8?q?x?= \u202eZoë')
    step = factories.first_step(tale.campaign)
    step.subject = "{{first_name}} {{last_name}} {{company}} {{title}} {{note}}"
    step.text = "{{first_name}}\n{{note}}\n{{unsubscribe_url}}"
    step.html = "<p>{{first_name}}</p><p>{{company}}</p>"
    plain = tale.leads[0]
    for name in FIELDS:
        setattr(plain, name, "Plain")
    plain.custom = {"note": "Plain"}
    db.session.commit()
    for number, value in enumerate(NAMES.values()):
        tale.add(lead={"email": f"all{number}@far.test", **dict.fromkeys(FIELDS, value), "custom": {"note": value}})
        clean = {"first_name": "Ada", "last_name": "Brook", "company": value, "title": value}
        tale.add(lead={"email": f"some{number}@far.test", **clean, "custom": {"note": value}})
    count = 2 * len(NAMES) + 1
    with engine():
        until(lambda: sum(statuses().get(name, 0) for name in ("sent", "failed")) + len(waiting()) >= count, 60)
    taken = mail.accepted()
    arrived = {to: raw for _, to, raw in mail.call(lambda: list(mail.server.outside))}
    assert statuses().get("sent", 0) == len(taken) == len(arrived), "each row that says sent arrived once"
    refused = {f"all{number}@far.test" for number, name in enumerate(NAMES) if name in NOT_A_NAME}
    assert set(waiting()) == refused, "what cannot be somebody's name waits for a person; everything else goes out"
    assert all(len(one.recipients) == 1 and "evil" not in one.recipients[0] for one in taken)
    for raw in arrived.values():
        well_formed(raw)


def waiting() -> list[str]:
    """Addresses of leads that wait for a person because of what stands in their fields."""
    db.session.rollback()
    found = db.session.query(Lead.email).join(Enrollment, Enrollment.lead_id == Lead.id).filter(Enrollment.status == "needs_attention")
    return [email or "" for (email,) in found]


def well_formed(raw: bytes) -> None:
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert all(b"\r" not in line and b"\n" not in line and len(line) <= 998 for line in lines)
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff]", head), "seven bits, no controls"
    names = [line.partition(b":")[0].decode().lower() for line in lines if not line.startswith((b" ", b"\t"))]
    ours = [name for name in names if name not in {"received", "return-path", "delivered-to", "x-envelope-to", "x-original-to"}]
    assert len(ours) == len(set(ours)), ours
    assert set(ours) <= KNOWN, set(ours) - KNOWN
    for one in (policy.default, policy.compat32):
        parsed = message_from_bytes(raw, policy=one)
        assert parsed["Bcc"] is None and parsed["X"] is None and not parsed.defects
    parsed = message_from_bytes(raw, policy=policy.default)
    assert len(parsed["To"].addresses) == 1 and len(parsed["From"].addresses) == 1
    assert parsed["To"].addresses[0].domain.endswith("test") and "evil" not in parsed["To"].addresses[0].addr_spec
    assert b"\nMAIL FROM" not in head and not re.search(rb"(?<!\r)\n|\r(?!\n)", body), "no bare line end in the body either"


@pytest.mark.parametrize("value", ["Ada\r\nBcc: evil@x.test", "=?utf-8?q?x?="])
def test_a_hostile_name_is_never_read_as_an_address_or_a_header_in_the_stored_bytes(story: Any, engine: Any, value: str) -> None:
    tale = story()
    tale.leads[0].first_name = value
    db.session.commit()
    with engine():
        until(lambda: sum(statuses().get(name, 0) for name in ("sent", "failed")) + len(waiting()) >= 1)
    mime = fresh(tale.deliveries[0]).mime
    if mime is not None:
        well_formed(bytes(mime))
