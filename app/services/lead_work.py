"""One action for all leads that fit a filter, however many: in batches behind the page, each a short transaction of its own.

Leads are taken in the order of their ids up to the newest one at the press, so that nobody is taken twice and nobody who came
later is taken at all, also where the action itself changes who fits. How far it came is told to the pages through Redis: losing
it costs the picture of the progress, and pressing again passes over everybody who is done.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import redis

from app.core.bell import bell, live_after_commit
from app.core.db import transaction
from app.core.errors import Conflict, NotFound
from app.core.queue import Job, enqueue_after_commit
from app.queries import campaign_people as people
from app.queries import leads as queries
from app.queries.campaign_people import PeopleFilter
from app.queries.leads import LeadFilter
from app.services import campaign_leads, leads
from app.strings import t

#: Leads of a client, or of one campaign.
Found = LeadFilter | PeopleFilter

#: Up to so many leads a press acts at once, while the page waits.
AT_ONCE = 2_000
#: Leads per transaction; suppressing takes the hot lock, so its batches are short.
BATCHES = {"add": 2_000, "suppress": 500, "remove": 500, "pause": 500, "resume": 500, "skip": 500, "take_out": 500, "assign": 500}
RUNNING_SECONDS, SHOWN_SECONDS = 180, 600


@dataclass(frozen=True)
class Work:
    """What runs, or ran lately. ``done`` of ``total`` looked at; ``changed`` of them changed; ``error``: why it ended early."""

    action: str
    total: int
    done: int = 0
    changed: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    running: bool = True
    error: str = ""
    by: int | None = None


def start(found: Found, action: str, target: int | None, *, by: int | None) -> int:
    """Have it done after the commit; how many leads fit. ``target``: the campaign to add to, or the mailbox to give them to.

    Raises Conflict while another such action of the client runs.
    """
    present = shown(found.client_id)
    if present is not None and present.running:
        raise Conflict(t("leads.work_running"))
    total, newest = _size(found)
    _tell(found.client_id, Work(action, total, by=by))
    given = [asdict(found), action, target, newest, by]
    enqueue_after_commit(Job.LEADS_MANY, *given, timeout_s=6 * 3_600)
    live_after_commit(found.client_id, "leads")
    return total


def _size(found: Found) -> tuple[int, int]:
    """How many fit, and the highest id of them."""
    if isinstance(found, PeopleFilter):
        return people.count(found), people.newest(found)
    return queries.count(found), next(iter(queries.ids(found, 1)), 0)


def batch_of(found: Found, after: int, newest: int, limit: int) -> list[int]:
    """The next leads that fit, by id."""
    if isinstance(found, PeopleFilter):
        return people.ids_between(found, after, newest, limit)
    return queries.ids_between(found, after, newest, limit)


def carry_out(found: Found, action: str, target: int | None, newest: int, by: int | None) -> Work:
    """The work itself, outside any transaction of the caller's."""
    with transaction():
        work = Work(action, _size(found)[0], by=by)
    step = _step(found, action, target, by)
    after, skipped = 0, Counter[str]()
    try:
        while True:
            with transaction():
                batch = batch_of(found, after, newest, BATCHES[action])
                if not batch:
                    break
                changed, left = step(batch)
                live_after_commit(found.client_id, *_topics(found))
            after = batch[-1]
            skipped.update(left)
            done = work.done + len(batch)
            work = replace(work, done=done, total=max(work.total, done), changed=work.changed + changed, skipped=dict(skipped))
            _tell(found.client_id, work)
    except (Conflict, NotFound) as refused:
        work = replace(work, error=refused.message or t("leads.campaign_gone"))
    work = replace(work, running=False)
    _tell(found.client_id, work)
    with transaction():
        live_after_commit(found.client_id, *_topics(found), "counters")
    return work


def _topics(found: Found) -> list[str]:
    return ["leads", *([f"campaign-{found.campaign_id}"] if isinstance(found, PeopleFilter) else [])]


Step = Callable[[list[int]], tuple[int, dict[str, int]]]


def _step(found: Found, action: str, target: int | None, by: int | None) -> Step:
    if isinstance(found, PeopleFilter):
        return lambda batch: act(found.client_id, found.campaign_id, action, batch, target, by=by)
    return _client_step(found.client_id, action, target, by)


#: Why an action passed over a lead of a campaign.
PASSED_OVER = {"pause": "ended", "skip": "ended", "resume": "not_held", "assign": "cannot_move", "take_out": "gone"}


def act(client_id: int, campaign_id: int, action: str, batch: list[int], target: int | None, *, by: int | None) -> tuple[int, dict[str, int]]:
    """One action for leads of a campaign: how many it changed, and how many it passed over by reason (``PASSED_OVER``)."""
    simple = {"pause": campaign_leads.pause_leads, "resume": campaign_leads.resume_leads, "skip": campaign_leads.skip_leads}
    if action in simple:
        changed = simple[action](client_id, campaign_id, batch, by=by)
    elif action == "assign":
        changed = campaign_leads.assign_sender(client_id, campaign_id, batch, target or 0, by=by)
    else:
        changed = campaign_leads.take_out(client_id, campaign_id, batch, by=by)
    left = len(batch) - changed
    return changed, {PASSED_OVER[action]: left} if left > 0 else {}


def _client_step(client_id: int, action: str, campaign_id: int | None, by: int | None) -> Step:
    def add(batch: list[int]) -> tuple[int, dict[str, int]]:
        done = campaign_leads.add_leads(client_id, campaign_id or 0, lead_ids=batch, by=by)
        return done.enrolled, done.skipped

    def suppress(batch: list[int]) -> tuple[int, dict[str, int]]:
        return leads.suppress_leads(client_id, batch, by=by), {}

    def remove(batch: list[int]) -> tuple[int, dict[str, int]]:
        done = leads.remove_leads(client_id, batch, by=by)
        return done.removed, {"kept": done.kept} if done.kept else {}

    return {"add": add, "suppress": suppress, "remove": remove}[action]


def shown(client_id: int) -> Work | None:
    """What the pages show: the running one, or the last one for a while after its end."""
    try:
        raw: Any = bell().connection.get(_key(client_id))
    except redis.RedisError:
        return None
    return Work(**json.loads(raw)) if raw else None


def _tell(client_id: int, work: Work) -> None:
    try:
        bell().connection.set(_key(client_id), json.dumps(asdict(work)), ex=RUNNING_SECONDS if work.running else SHOWN_SECONDS)
    except redis.RedisError:
        pass  # the work goes on; only its picture is missing


def _key(client_id: int) -> str:
    return f"{bell().prefix}lead-work:{client_id}"
