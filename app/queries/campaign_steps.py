"""The steps of a campaign as the pure sequence functions want them, and how far its leads are."""

from __future__ import annotations

from sqlalchemy import select, text

from app.core.extensions import db
from app.domain.sequence import StepNode, next_step
from app.domain.statuses import Channel
from app.domain.working_time import DelayUnit
from app.models import Step


def node_of(step: Step) -> StepNode:
    return StepNode(
        id=step.id,
        parent_id=step.parent_id,
        branch=step.branch,
        position=step.position,
        channel=Channel(step.channel),
        delay_value=step.delay_value,
        delay_unit=DelayUnit(step.delay_unit),
        subject=step.subject,
        deleted=step.deleted_at is not None,
    )


def nodes_of(campaign_id: int) -> list[StepNode]:
    """The whole tree, removed steps included; read anew from the ledger."""
    statement = select(Step).where(Step.campaign_id == campaign_id).order_by(Step.id)
    return [node_of(step) for step in db.session.scalars(statement.execution_options(populate_existing=True))]


def ways_on(nodes: list[StepNode]) -> dict[int | None, StepNode | None]:
    """Step sent last (None: none yet) → the step that comes next, or None."""
    return {last: next_step(nodes, last) for last in (None, *(node.id for node in nodes))}


STARTED = ("queued", "leased", "committing", "uncertain")
PERMITTED = ("committing", "uncertain")


def progress_of(campaign_id: int, started: tuple[str, ...] = STARTED) -> dict[int, int | None]:
    """Active enrollment → its furthest started step: sent, or with a message in one of these states (``PERMITTED``: past the point of return)."""
    rows = db.session.execute(
        text(
            "SELECT e.id, coalesce((SELECT d.step_id FROM deliveries d WHERE d.enrollment_id = e.id"
            " AND d.status = ANY(:started) ORDER BY d.id DESC LIMIT 1), e.last_step_id)"
            " FROM enrollments e JOIN campaigns c ON c.id = e.campaign_id"
            " WHERE e.campaign_id = :id AND c.status <> 'draft'"
            " AND e.status IN ('waiting', 'in_flight', 'needs_attention', 'held', 'paused')"
        ),
        {"id": campaign_id, "started": list(started)},
    )
    return {row[0]: row[1] for row in rows}
