"""What a real lead would really get: through the renderer that sends, without storing anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

from sqlalchemy import text

from app.core import clock
from app.core.errors import NotFound
from app.core.extensions import db
from app.domain.personalisation import KNOWN_VARIABLES
from app.models import Step
from app.queries import campaigns as reading
from app.services.campaign_shape import TextProblem
from app.services.campaign_steps import check_texts
from app.services.outbox.gathering import House, lead_values, seed_of, way_out
from app.services.outbox.rendering import CannotRender, Rendered, RenderInput, Thread, render

EXAMPLE_ADDRESS = "ada@example.com"


@dataclass(frozen=True)
class Preview:
    """One message for one lead. ``missing``: variables without a value (then subject, text and html are empty)."""

    lead_id: int | None
    lead_name: str
    to: str
    sender: str
    subject: str
    text: str
    html: str
    missing: tuple[str, ...]
    problems: tuple[TextProblem, ...]
    previous_lead_id: int | None
    next_lead_id: int | None
    place: int  # 1 of ``of``
    of: int


_LEAD = """
SELECT l.id, l.first_name, l.last_name, l.company, l.title, l.email, l.linkedin_url, l.timezone, l.language, l.custom,
  e.id AS enrollment_id, e.sender_id,
  (SELECT count(*) FROM enrollments b WHERE b.campaign_id = e.campaign_id AND b.id <= e.id) AS place,
  (SELECT count(*) FROM enrollments a WHERE a.campaign_id = e.campaign_id) AS everybody,
  (SELECT lead_id FROM enrollments b WHERE b.campaign_id = e.campaign_id AND b.id < e.id ORDER BY b.id DESC LIMIT 1) AS before,
  (SELECT lead_id FROM enrollments a WHERE a.campaign_id = e.campaign_id AND a.id > e.id ORDER BY a.id LIMIT 1) AS after
FROM enrollments e JOIN leads l ON l.id = e.lead_id
WHERE e.campaign_id = :campaign AND e.client_id = :client AND (cast(:lead AS bigint) IS NULL OR e.lead_id = :lead)
ORDER BY e.id LIMIT 1
"""
_SENDER = """
SELECT s.id, s.address, s.display_name, s.timezone, k.name AS client_name, k.postal_address
FROM clients k LEFT JOIN campaign_senders cs ON cs.campaign_id = :campaign
LEFT JOIN senders s ON s.id = cs.sender_id AND s.deleted_at IS NULL
WHERE k.id = :client ORDER BY (s.id = cast(:wanted AS bigint)) DESC NULLS LAST, (s.status = 'active') DESC NULLS LAST, cs.position LIMIT 1
"""


def preview(
    client_id: int, campaign_id: int, *, step_id: int | None = None, lead_id: int | None = None,
    texts: Mapping[str, Any] | None = None, public_url: str = "",
) -> Preview:  # fmt: skip
    """The step (None: the first) for this lead (None: the first; a campaign without leads uses a made-up example).

    ``texts`` (subject, text, html): show these unsaved texts instead of the stored ones. Raises NotFound.
    """
    lead = example_or_lead(client_id, campaign_id, lead_id)
    given, sender = render_input(client_id, campaign_id, step_id, lead, texts=texts, public_url=public_url)
    problems = tuple(check_texts(given.subject, given.text, given.html))
    rendered = None if problems else render(given)
    name = " ".join(part for part in (lead.first_name, lead.last_name) if part)
    shown = rendered if isinstance(rendered, Rendered) else None
    refused = rendered if isinstance(rendered, CannotRender) else None
    if refused is not None and not refused.names:
        problems = (TextProblem("text", refused.sentence),)
    return Preview(
        lead_id=lead.id,
        lead_name=name or lead.email or "",
        to=lead.email or "",
        sender=sender,
        subject=shown.subject if shown else "",
        text=shown.words.text if shown else "",
        html=shown.html if shown else "",
        missing=refused.names if refused else (),
        problems=problems,
        previous_lead_id=lead.before,
        next_lead_id=lead.after,
        place=lead.place,
        of=lead.everybody,
    )


def example_or_lead(client_id: int, campaign_id: int, lead_id: int | None) -> Any:
    """The row of a lead of this campaign with its neighbours; an example where there are no leads. Raises NotFound."""
    reading.campaign(client_id, campaign_id)
    row = db.session.execute(text(_LEAD), {"client": client_id, "campaign": campaign_id, "lead": lead_id}).first()
    if row is not None:
        return row
    if lead_id is not None:
        raise NotFound
    example = {variable.name: variable.example for variable in KNOWN_VARIABLES}
    return SimpleNamespace(
        **{**example, "email": EXAMPLE_ADDRESS}, id=None, custom={}, enrollment_id=None, sender_id=None, place=0, everybody=0,
        before=None, after=None,
    )  # fmt: skip


def render_input(
    client_id: int, campaign_id: int, step_id: int | None, lead: Any, *, texts: Mapping[str, Any] | None = None, public_url: str = ""
) -> tuple[RenderInput, str]:
    """What the renderer would be given for this lead, and the sender's address."""
    step, before = _step(client_id, campaign_id, step_id)
    values = {"campaign": campaign_id, "client": client_id, "wanted": lead.sender_id}
    sender = db.session.execute(text(_SENDER), values).one()
    address = sender.address or "sender@example.com"
    wanted = texts or {}
    given = RenderInput(
        now=clock.now(),
        token="preview-000000000000",
        sender_address=address,
        sender_name=sender.display_name or ("" if sender.address else "Your Name"),
        sender_zone=sender.timezone or "UTC",
        to_address=lead.email or "",
        subject=str(wanted.get("subject", step.subject if step else "")),
        text=str(wanted.get("text", step.text if step else "")),
        html=str(wanted.get("html", step.html if step else "")),
        to_name=" ".join(part for part in (lead.first_name, lead.last_name) if part),
        values=lead_values(lead),
        seed=seed_of(lead.enrollment_id, step.id if step else None),
        way_out=way_out(House(public_url), client_id, lead.email or "", None, lead.id, campaign_id),
        client_name=sender.client_name,
        postal_address=sender.postal_address,
        campaign_id=campaign_id,
        allow_reserved=True,
    )
    return replace(given, thread=Thread(_subject_of(before, given, lead))), address


def _subject_of(step: Step | None, given: RenderInput, lead: Any) -> str:
    """The subject of the thread that a message continues, as this lead got it."""
    if step is None:
        return ""
    first = render(replace(given, subject=step.subject, text="-", html="", seed=seed_of(lead.enrollment_id, step.id)))
    return first.subject if isinstance(first, Rendered) else step.subject


def _step(client_id: int, campaign_id: int, step_id: int | None) -> tuple[Step | None, Step | None]:
    """The step, and for a later one the step that began its thread."""
    steps = reading.steps(client_id, campaign_id)
    if step_id is None:
        return (steps[0] if steps else None), None
    numbers = [step.id for step in steps]
    if step_id not in numbers:
        raise NotFound
    before = [step for step in steps[: numbers.index(step_id)] if step.subject.strip()]
    return steps[numbers.index(step_id)], before[-1] if before else None
