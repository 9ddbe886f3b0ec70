"""The steps of a campaign as a tree, edited as a line. Ids never change and are never used again.

A removed step keeps its row and its place: those who already had it find their way on behind it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, text

from app.core.db import lock_hot
from app.core.errors import Conflict, Invalid, NotFound
from app.core.extensions import db
from app.domain.fingerprint import fingerprint
from app.domain.sequence import EditEffect, deletion_effect, in_order, insertion_effect, moved_by_insertion
from app.domain.starter_sequences import starter_sequence
from app.models import Campaign, Step
from app.queries.campaign_steps import PERMITTED, nodes_of, progress_of
from app.queries.campaigns import campaign as read_only
from app.services import audit, enrollments
from app.services.campaign_rows import locked, tell
from app.services.campaign_shape import MAX_STEPS, TextProblem, read_step, text_problems
from app.services.replanning import replan
from app.strings import t

__all__ = ["TextProblem", "WhoSkips", "add_step", "check_texts", "delete_step", "edit_step", "effect_of_adding",
           "effect_of_deleting", "move_step", "replace_steps", "use_starter", "version"]  # fmt: skip

NAMED = 20
TEXT_FIELDS = ("subject", "text", "html")


@dataclass(frozen=True)
class WhoSkips:
    """Whom an edit of a running campaign leaves out: how many, and the first of them as (lead id, name)."""

    count: int
    who: tuple[tuple[int, str], ...] = ()


def check_texts(subject: str, text: str, html: str) -> list[TextProblem]:
    """What is wrong with these texts, for validation while typing. Empty: fine."""
    sources = {"subject": subject, "text": text, "html": html}
    return [problem for name, source in sources.items() for problem in text_problems(name, source)]


def add_step(
    client_id: int, campaign_id: int, values: Mapping[str, Any], *, after: int | None, by: int | None, confirmed: bool = False
) -> Step:
    """A new step behind ``after`` (None: at the beginning). ``values``: channel, delay {value, unit} (or delay_value,
    delay_unit), subject, text, html. Raises Invalid; Conflict code ``needs_confirmation`` (details count, who) when leads of a
    running campaign would never get it and ``confirmed`` is False."""
    campaign = _editable(client_id, campaign_id)
    nodes = nodes_of(campaign_id)
    if after is not None and after not in {node.id for node in nodes if not node.deleted}:
        raise NotFound
    if len([node for node in nodes if not node.deleted]) >= MAX_STEPS:
        raise Invalid.field("steps", t("sequences.most_steps", limit=MAX_STEPS))
    columns = read_step(values)
    _confirm(insertion_effect(nodes, after, progress_of(campaign_id)), confirmed, "sequences.confirm_insertion")
    step = _insert(campaign, columns, after, moved_by_insertion(nodes, after))
    _edited(campaign, by, "step.create", step.id, after=columns)
    replan(campaign, behind=after)
    return step


def _insert(campaign: Campaign, columns: Mapping[str, Any], after: int | None, followers: Sequence[int]) -> Step:
    step = Step(client_id=campaign.client_id, campaign_id=campaign.id, parent_id=after, **columns)
    if after is not None and "delay_value" not in columns:
        step.delay_value = 3
    db.session.add(step)
    db.session.flush()
    db.session.execute(
        text("UPDATE steps SET parent_id = :new WHERE id = ANY(:followers) AND campaign_id = :campaign"),
        {"new": step.id, "followers": list(followers), "campaign": campaign.id},
    )
    return step


def version(step: Step) -> str:
    """A print of what ``edit_step`` can change."""
    return fingerprint([getattr(step, name) for name in (*TEXT_FIELDS, "delay_value", "delay_unit")])


def edit_step(
    client_id: int, campaign_id: int, step_id: int, values: Mapping[str, Any], *, by: int | None, seen: str | None = None
) -> Step:
    """Change what ``values`` names. Takes effect for every message not yet rendered.

    Raises NotFound, Invalid, Conflict (``changed_meanwhile`` when the step's ``version`` is no longer ``seen``).
    """
    campaign = _editable(client_id, campaign_id)
    step = _step(campaign, step_id)
    if seen is not None:
        db.session.refresh(step)
        if version(step) != seen:
            raise Conflict.meanwhile("message")
    columns = read_step(values)
    before = {name: getattr(step, name) for name in columns}
    changed = {name: value for name, value in columns.items() if value != before[name]}
    for name, value in changed.items():
        setattr(step, name, value)
    step.updated_at = db.session.execute(select(func.clock_timestamp())).scalar_one()
    db.session.flush()
    _edited(campaign, by, "step.update", step_id, before={name: before[name] for name in changed}, after=changed)
    if {"delay_value", "delay_unit"} & changed.keys():
        replan(campaign, behind=step.parent_id)
    return step


def move_step(client_id: int, campaign_id: int, step_id: int, after: int | None, *, by: int | None) -> None:
    """Put a step behind another (None: first). Only before the start: raises Conflict afterwards."""
    campaign = _editable(client_id, campaign_id)
    if campaign.status != "draft":
        raise Conflict(t("sequences.keep_order"))
    nodes = nodes_of(campaign_id)
    line = [node.id for node in in_order(nodes)]
    if step_id not in line or (after is not None and after not in line):
        raise NotFound
    if after == step_id:
        raise Invalid.field("after", t("sequences.not_behind_itself"))
    line.remove(step_id)
    line.insert(0 if after is None else line.index(after) + 1, step_id)
    for place, number in enumerate(line):
        _step(campaign, number).parent_id = line[place - 1] if place else None
    db.session.flush()
    _edited(campaign, by, "step.move", step_id, after={"after": after})
    replan(campaign)


def delete_step(client_id: int, campaign_id: int, step_id: int, *, by: int | None, confirmed: bool = False) -> None:
    """Remove a step; none of its messages gets a permit after this. Conflict ``needs_confirmation`` as in ``add_step`` when leads would lose it."""
    lock_hot()
    campaign = _editable(client_id, campaign_id)
    step = _step(campaign, step_id)
    nodes = nodes_of(campaign_id)
    if campaign.status in {"running", "paused"} and len(in_order(nodes)) == 1:
        raise Conflict(t("sequences.only_step"))
    _confirm(deletion_effect(nodes, step_id, progress_of(campaign_id, PERMITTED)), confirmed, "sequences.confirm_removal")
    step.deleted_at = db.session.scalar(select(func.clock_timestamp()))
    db.session.flush()
    enrollments.take_back_step(client_id, step_id)
    _edited(campaign, by, "step.delete", step_id, before={"subject": step.subject, "text": step.text})
    replan(campaign, behind=step.parent_id)


def effect_of_adding(client_id: int, campaign_id: int, after: int | None) -> WhoSkips:
    """Who would never get a step added behind ``after``."""
    read_only(client_id, campaign_id)
    return _named(insertion_effect(nodes_of(campaign_id), after, progress_of(campaign_id)))


def effect_of_deleting(client_id: int, campaign_id: int, step_id: int) -> WhoSkips:
    """Who would lose this step."""
    _step(read_only(client_id, campaign_id), step_id)
    return _named(deletion_effect(nodes_of(campaign_id), step_id, progress_of(campaign_id, PERMITTED)))


def use_starter(client_id: int, campaign_id: int, key: str, *, by: int | None) -> list[Step]:
    """Replace the steps of a draft by a starter sequence (``app.domain.starter_sequences``). Raises Conflict, NotFound."""
    campaign = _editable(client_id, campaign_id)
    if campaign.status != "draft":
        raise Conflict(t("sequences.one_by_one"))
    sequence = starter_sequence(key)
    if sequence is None:
        raise NotFound
    steps = replace_steps(
        campaign,
        [
            {"delay_value": step.delay_value, "delay_unit": str(step.delay_unit), "subject": step.subject, "text": step.text}
            for step in sequence.steps
        ],
    )
    _edited(campaign, by, "campaign.use_starter", campaign_id, after={"starter": key})
    return steps


def replace_steps(campaign: Campaign, wanted: Sequence[Mapping[str, Any]]) -> list[Step]:
    """The steps of a draft anew, from columns already checked; the old ones are marked as removed."""
    db.session.execute(
        text("UPDATE steps SET deleted_at = clock_timestamp() WHERE campaign_id = :id AND deleted_at IS NULL"), {"id": campaign.id}
    )
    steps: list[Step] = []
    for columns in wanted:
        parent = steps[-1].id if steps else None
        step = Step(client_id=campaign.client_id, campaign_id=campaign.id, parent_id=parent, **columns)
        if parent is not None and "delay_value" not in columns:
            step.delay_value = 3
        db.session.add(step)
        db.session.flush()
        steps.append(step)
    replan(campaign)
    return steps


def _editable(client_id: int, campaign_id: int) -> Campaign:
    campaign = locked(client_id, campaign_id)
    if campaign.status == "stopped":
        raise Conflict(t("campaigns.stopped_duplicate"))
    return campaign


def _step(campaign: Campaign, step_id: int) -> Step:
    step = db.session.get(Step, step_id)
    if step is None or step.campaign_id != campaign.id or step.client_id != campaign.client_id or step.deleted_at is not None:
        raise NotFound
    return step


def _edited(campaign: Campaign, by: int | None, action: str, object_id: int, **change: Any) -> None:
    campaign.version += 1
    kind = action.partition(".")[0]
    audit.record(action, kind, object_id, client_id=campaign.client_id, user_id=by, **change)
    tell(campaign.client_id, campaign.id)


def _named(effect: EditEffect) -> WhoSkips:
    ids = (*effect.skips, *effect.loses)
    rows = db.session.execute(
        text(
            "SELECT l.id, coalesce(nullif(trim(l.first_name || ' ' || l.last_name), ''), l.email, '') FROM enrollments e"
            " JOIN leads l ON l.id = e.lead_id WHERE e.id = ANY(:ids) ORDER BY e.id LIMIT :n"
        ),
        {"ids": list(ids), "n": NAMED},
    )
    return WhoSkips(len(ids), tuple((row[0], row[1]) for row in rows))


def _confirm(effect: EditEffect, confirmed: bool, question: str) -> None:
    if confirmed or effect.free:
        return
    skips = _named(effect)
    raise Conflict(
        t(question, n=skips.count),
        code="needs_confirmation",
        details={"count": skips.count, "who": [{"lead_id": number, "name": name} for number, name in skips.who]},
    )

