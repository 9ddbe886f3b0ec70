from __future__ import annotations

import pytest

from app.domain.permissions import (
    OPERATOR_PERMISSIONS,
    ROLE_PERMISSIONS,
    Permission,
    allowed,
    permissions_of,
    table,
)
from app.domain.statuses import Role

P = Permission


def test_each_role_can_do_what_the_one_below_can() -> None:
    assert ROLE_PERMISSIONS[Role.VIEWER] < ROLE_PERMISSIONS[Role.AGENT] < ROLE_PERMISSIONS[Role.ADMIN]


@pytest.mark.parametrize("permission", [P.RAW_SOURCE_READ, P.EXPORT, P.API_KEYS_MANAGE, P.INBOX_REPLY, P.LEADS_EDIT])
def test_a_viewer_only_reads(permission: Permission) -> None:
    assert not allowed("viewer", permission)


@pytest.mark.parametrize(
    "permission", [P.CAMPAIGNS_LAUNCH, P.IMPORTS_UNDO, P.MAILBOXES_MANAGE, P.SUPPRESSIONS_REMOVE, P.EXPORT]
)
def test_an_agent_neither_launches_nor_undoes_nor_sees_secrets(permission: Permission) -> None:
    assert not allowed("agent", permission)
    assert allowed("admin", permission)


@pytest.mark.parametrize(
    "permission",
    [P.INBOX_REPLY, P.INBOX_MARK, P.INBOX_CLOSE, P.INBOX_ASSIGN, P.LEADS_PAUSE, P.CAMPAIGNS_TEST, P.CAMPAIGNS_DRAFT],
)
def test_an_agent_answers_and_drafts(permission: Permission) -> None:
    assert allowed("agent", permission)


def test_the_operator_flag_opens_the_instance_but_no_clients_inbox() -> None:
    assert all(allowed(None, permission, operator=True) for permission in OPERATOR_PERMISSIONS)
    assert not allowed(None, P.INBOX_READ, operator=True)
    assert not any(allowed("admin", permission) for permission in OPERATOR_PERMISSIONS)


def test_every_permission_belongs_to_somebody() -> None:
    granted = ROLE_PERMISSIONS[Role.ADMIN] | OPERATOR_PERMISSIONS
    assert set(Permission) == granted


def test_strangers_and_unknown_roles_may_do_nothing() -> None:
    assert not any(allowed(None, permission) or allowed("owner", permission) for permission in Permission)
    assert permissions_of("owner") == frozenset()


def test_the_printed_table_agrees_with_the_answers() -> None:
    for row in table():
        assert row.viewer == allowed("viewer", row.permission)
        assert row.agent == allowed("agent", row.permission)
        assert row.admin == allowed("admin", row.permission)
        assert row.operator == allowed(None, row.permission, operator=True)
    assert permissions_of("agent", operator=True) == ROLE_PERMISSIONS[Role.AGENT] | OPERATOR_PERMISSIONS
