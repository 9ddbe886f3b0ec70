"""Counting at the receiver: every message that was taken, once per taking."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import IO, Any


@dataclass(frozen=True, slots=True)
class Accepted:
    """One message taken by the server. `at` is machine time (seconds), `product_at` the world's own clock."""

    number: int
    message_id: str
    subject: str
    mail_from: str
    recipients: tuple[str, ...]
    at: float
    product_at: str
    session: int
    port: str  # "submission" or "mx"
    login: str
    size: int


class Ledger:
    """What was accepted, in order; kept in `accepted.jsonl` where a directory is given."""

    def __init__(self, directory: Path | None = None) -> None:
        self.accepted: list[Accepted] = []
        self._file: IO[str] | None = None
        if directory is not None:
            path = directory / "accepted.jsonl"
            if path.exists():
                self._load(path)
            self._file = path.open("a", encoding="utf-8")

    def _load(self, path: Path) -> None:
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                return
            self.accepted.append(Accepted(**{**fields, "recipients": tuple(fields["recipients"])}))

    def record(
        self,
        raw: bytes,
        mail_from: str,
        recipients: tuple[str, ...],
        now: datetime,
        session: int,
        port: str,
        login: str,
    ) -> Accepted:
        head = BytesHeaderParser().parsebytes(raw)
        taken = Accepted(
            number=len(self.accepted) + 1,
            message_id=str(head.get("Message-ID", "")).strip(),
            subject=str(head.get("Subject", "")),
            mail_from=mail_from,
            recipients=recipients,
            at=time.time(),
            product_at=now.isoformat(),
            session=session,
            port=port,
            login=login,
            size=len(raw),
        )
        self.accepted.append(taken)
        if self._file is not None:
            self._file.write(json.dumps(asdict(taken)) + "\n")
            self._file.flush()
        return taken

    def counts_by_message_id(self) -> Counter[str]:
        """How often each Message-ID was taken: a 2 is a double."""
        return Counter(taken.message_id for taken in self.accepted)

    def matching(self, since: int = 0, **wanted: str) -> list[dict[str, Any]]:
        """Records numbered above `since`; `wanted`: message_id, mail_from, to (a recipient), port."""
        return [asdict(taken) for taken in self.accepted[since:] if _matches(taken, wanted)]

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _matches(taken: Accepted, wanted: dict[str, str]) -> bool:
    for name, value in wanted.items():
        if name == "to":
            if value.lower() not in (address.lower() for address in taken.recipients):
                return False
        elif str(getattr(taken, name)) != value:
            return False
    return True
