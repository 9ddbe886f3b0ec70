"""The trail of what people changed: who, what, before, after, from where. Append-only by grant."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from app.core.db import current_scope
from app.core.extensions import db
from app.models import AuditEntry

#: Where the present request comes from; the edge sets it.
caller_address: ContextVar[str] = ContextVar("caller_address", default="")

MASKED = ("password", "secret", "token")


def record(
    action: str,
    object_kind: str,
    object_id: int | str,
    *,
    client_id: int | None = None,
    user_id: int | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """One line of the trail, in the present transaction. Client and user default to the present scope's; secrets are masked.

    ``action`` is ``<object>.<verb>``: ``campaign.launch``, ``mailbox.update``, ``switch.stop``.
    """
    scope = current_scope()
    db.session.add(
        AuditEntry(
            client_id=client_id if client_id is not None else scope.client_id,
            user_id=user_id if user_id is not None else scope.user_id,
            action=action,
            object_kind=object_kind,
            object_id=str(object_id),
            before=_masked(before),
            after=_masked(after),
            address=caller_address.get(),
        )
    )


def _masked(values: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: "…" if any(word in key for word in MASKED) else value for key, value in (values or {}).items()}
