"""Gmail's FETCH items: a message's number, its thread and its labels, worked out from where its bytes lie."""

from __future__ import annotations

from collections.abc import Iterator

from sandbox.mail.store import Account, StoredMessage

ITEMS = ("X-GM-MSGID", "X-GM-THRID", "X-GM-LABELS")
LABELS = {"INBOX": "\\Inbox", "Sent": "\\Sent", "Drafts": "\\Draft"}


def gmail_item(account: Account, message: StoredMessage, item: str) -> bytes:
    if item == "X-GM-MSGID":
        return b"X-GM-MSGID %d" % message.number
    if item == "X-GM-THRID":
        return b"X-GM-THRID %d" % _thread(account, message)
    worn = [label for name, label in LABELS.items() if any(one.number == message.number for one in account.folders[name].messages.values())]
    return b"X-GM-LABELS (" + b" ".join(b'"\\' + label.encode() + b'"' for label in worn) + b")"


def _thread(account: Account, message: StoredMessage) -> int:
    """The number of the message that began it."""
    by_id = {str(one.parsed["Message-ID"]).strip(): one for one in _all(account)}
    met: set[int] = set()
    while message.number not in met:
        met.add(message.number)
        named = f"{message.parsed['References'] or ''} {message.parsed['In-Reply-To'] or ''}".split()
        message = next((by_id[name] for name in named if name in by_id), message)
    return message.number


def _all(account: Account) -> Iterator[StoredMessage]:
    for folder in account.folders.values():
        yield from folder.messages.values()
