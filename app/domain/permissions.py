"""Who may do what: one table, printed in the docs, asked by every route.

A role belongs to a membership (a user inside one client). *Operator* is a flag on the user and grants only what
concerns the whole instance: an operator who wants to read a client's inbox needs a membership like anybody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from app.domain.statuses import Role


class Permission(StrEnum):
    """One verb a route may ask for."""

    # The client itself
    CLIENT_READ = "client.read"
    ANALYTICS_READ = "analytics.read"
    SETTINGS_READ = "settings.read"
    SETTINGS_MANAGE = "settings.manage"
    MEMBERS_READ = "members.read"
    MEMBERS_MANAGE = "members.manage"
    API_KEYS_MANAGE = "api_keys.manage"
    OUTGOING_MANAGE = "outgoing_webhooks.manage"
    AUDIT_READ = "audit.read"
    EXPORT = "export"
    # The unified inbox
    INBOX_READ = "inbox.read"
    INBOX_REPLY = "inbox.reply"
    INBOX_MARK = "inbox.mark"
    INBOX_CLOSE = "inbox.close"
    INBOX_ASSIGN = "inbox.assign"
    INBOX_SNOOZE = "inbox.snooze"
    INBOX_MATCH = "inbox.match"
    RAW_SOURCE_READ = "raw_source.read"
    # Leads
    LEADS_READ = "leads.read"
    LEADS_EDIT = "leads.edit"
    LEADS_PAUSE = "leads.pause"
    IMPORTS_READ = "imports.read"
    IMPORTS_RUN = "imports.run"
    IMPORTS_UNDO = "imports.undo"
    # Campaigns and what leaves
    CAMPAIGNS_READ = "campaigns.read"
    CAMPAIGNS_DRAFT = "campaigns.draft"
    CAMPAIGNS_TEST = "campaigns.test"
    CAMPAIGNS_ENROLL = "campaigns.enroll"
    CAMPAIGNS_LAUNCH = "campaigns.launch"
    CAMPAIGNS_STOP = "campaigns.stop"
    DELIVERIES_READ = "deliveries.read"
    DELIVERIES_RESOLVE = "deliveries.resolve"
    CLIENT_STOP = "client.stop"
    # Senders
    MAILBOXES_READ = "mailboxes.read"
    MAILBOXES_MANAGE = "mailboxes.manage"
    LINKEDIN_READ = "linkedin.read"
    LINKEDIN_MANAGE = "linkedin.manage"
    # Never again
    SUPPRESSIONS_READ = "suppressions.read"
    SUPPRESSIONS_ADD = "suppressions.add"
    SUPPRESSIONS_REMOVE = "suppressions.remove"
    # The instance (operators)
    CLIENTS_MANAGE = "clients.manage"
    USERS_MANAGE = "users.manage"
    INSTANCE_STOP = "instance.stop"
    OPS_READ = "ops.read"
    OPS_MANAGE = "ops.manage"
    DOCTOR_READ = "doctor.read"
    KEYS_MANAGE = "keys.manage"
    WEBHOOKS_MANAGE = "webhooks.manage"
    DEAD_LETTERS_MANAGE = "dead_letters.manage"
    GLOBAL_CAPS_MANAGE = "global_caps.manage"
    WARMUP_CONTROL = "warmup.control"


P = Permission

#: Viewers read; no raw source, no export, no secrets.
_VIEWER = frozenset(
    {
        P.CLIENT_READ,
        P.ANALYTICS_READ,
        P.SETTINGS_READ,
        P.INBOX_READ,
        P.LEADS_READ,
        P.IMPORTS_READ,
        P.CAMPAIGNS_READ,
        P.DELIVERIES_READ,
        P.MAILBOXES_READ,
        P.LINKEDIN_READ,
        P.SUPPRESSIONS_READ,
    }
)

#: Agents answer people and prepare campaigns; they neither launch nor see a secret nor undo an import.
_AGENT = _VIEWER | {
    P.MEMBERS_READ,
    P.INBOX_REPLY,
    P.INBOX_MARK,
    P.INBOX_CLOSE,
    P.INBOX_ASSIGN,
    P.INBOX_SNOOZE,
    P.INBOX_MATCH,
    P.RAW_SOURCE_READ,
    P.LEADS_EDIT,
    P.LEADS_PAUSE,
    P.CAMPAIGNS_DRAFT,
    P.CAMPAIGNS_TEST,
    P.DELIVERIES_RESOLVE,
    P.SUPPRESSIONS_ADD,
}

_ADMIN = _AGENT | {
    P.SETTINGS_MANAGE,
    P.MEMBERS_MANAGE,
    P.API_KEYS_MANAGE,
    P.OUTGOING_MANAGE,
    P.AUDIT_READ,
    P.EXPORT,
    P.IMPORTS_RUN,
    P.IMPORTS_UNDO,
    P.CAMPAIGNS_ENROLL,
    P.CAMPAIGNS_LAUNCH,
    P.CAMPAIGNS_STOP,
    P.CLIENT_STOP,
    P.MAILBOXES_MANAGE,
    P.LINKEDIN_MANAGE,
    P.SUPPRESSIONS_REMOVE,
}

#: What the operator flag grants, whatever memberships the user has.
OPERATOR_PERMISSIONS: frozenset[Permission] = frozenset(
    {
        P.CLIENTS_MANAGE,
        P.USERS_MANAGE,
        P.INSTANCE_STOP,
        P.OPS_READ,
        P.OPS_MANAGE,
        P.DOCTOR_READ,
        P.KEYS_MANAGE,
        P.WEBHOOKS_MANAGE,
        P.DEAD_LETTERS_MANAGE,
        P.GLOBAL_CAPS_MANAGE,
        P.WARMUP_CONTROL,
    }
)

ROLE_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: _VIEWER,
    Role.AGENT: _AGENT,
    Role.ADMIN: _ADMIN,
}


def allowed(role: str | None, permission: Permission, *, operator: bool = False) -> bool:
    """May somebody with this role in the client at hand (None: no membership) do this?

    An unknown role grants nothing.
    """
    if operator and permission in OPERATOR_PERMISSIONS:
        return True
    if role is None or role not in ROLE_PERMISSIONS:
        return False
    return permission in ROLE_PERMISSIONS[Role(role)]


def permissions_of(role: str | None, *, operator: bool = False) -> frozenset[Permission]:
    """Everything `allowed` would grant, for templates that hide what cannot be pressed."""
    own = ROLE_PERMISSIONS[Role(role)] if role is not None and role in ROLE_PERMISSIONS else frozenset()
    return own | OPERATOR_PERMISSIONS if operator else own


@dataclass(frozen=True, slots=True)
class TableRow:
    """One line of the printed table."""

    permission: Permission
    viewer: bool
    agent: bool
    admin: bool
    operator: bool


def table() -> list[TableRow]:
    """The whole table in the order of `Permission`, for the docs and the members' page."""
    return [
        TableRow(
            permission=permission,
            viewer=permission in _VIEWER,
            agent=permission in _AGENT,
            admin=permission in _ADMIN,
            operator=permission in OPERATOR_PERMISSIONS,
        )
        for permission in Permission
    ]
