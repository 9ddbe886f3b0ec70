"""The leads of a campaign: where each stands and why, who is added, paused, skipped, taken out; missing values filled in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from flask import Response, current_app, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import load, requires, viewer
from app.blueprints.campaigns.frame import ENROLL, READ, blueprint, campaign_page, find
from app.blueprints.digits import whole, wholes
from app.blueprints.htmx import after_post
from app.core.errors import Conflict, Forbidden, Invalid, NotFound
from app.domain.permissions import Permission
from app.models import Campaign, Lead
from app.queries import campaign_candidates as outside
from app.queries import campaign_people
from app.queries import campaigns as reading
from app.queries.campaign_people import PeopleFilter, PersonLine, explain, person
from app.services import campaign_leads, lead_work, leads
from app.services.enrolling import MAX_AT_ONCE
from app.services.leads import FIELDS
from app.strings import t

KINDS = {
    "waiting": "waiting", "in_flight": "waiting", "needs_attention": "attention", "held": "attention", "paused": "attention",
    "replied": "good", "finished": "good", "bounced": "broken", "failed": "broken", "unsubscribed": "quiet", "stopped": "quiet",
    "skipped": "quiet",
}  # fmt: skip
ACTIONS = ("pause", "resume", "skip", "take_out", "assign")
FOR_ADMINS = ("take_out", "assign")
FINAL = ("skip", "take_out")  # asked first, with the number typed
FIXABLE = ("needs_attention_variable", "needs_attention_address")


@blueprint.get("/<int:campaign_id>/people")
@requires(READ)
def people(campaign_id: int) -> Response:
    return _people(find(campaign_id))


def _people(campaign: Campaign, *, status: int = 200, wrong: Mapping[str, Any] | None = None) -> Response:
    found, cursor = _wanted(campaign.id, request.args), request.args.get("cursor")
    wanted, reason, search = found.status, found.reason, found.search
    lines, more = reading.people(
        g.client.id, campaign.id, status=wanted or None, reason=reason or None, search=search, cursor=cursor
    )
    return campaign_page(
        "campaigns/people.html", "people", campaign, "people", status=status, lines=lines, more=more, first=not cursor,
        counts=reading.people_counts(g.client.id, campaign.id), wanted=wanted, reason=reason, reason_words=explain(reason).text or reason,
        search=search, on=_address(found), matches=campaign_people.count(found) if more or cursor else len(lines), work=_work(),
        person_kinds=KINDS, missing=_missing, wrong=wrong or {},
        senders=[line for line in reading.senders(g.client.id, campaign.id) if line.chosen],
        has_leads="leads.show" in current_app.view_functions,
    )  # fmt: skip


def _missing(line: PersonLine) -> list[str]:
    """The fields a person could fill in for this lead here."""
    if line.status != "needs_attention" or line.reason not in FIXABLE:
        return []
    if line.reason == "needs_attention_address":
        return ["email"]
    found = [word.strip(" .,;:“”\"'") for word in line.detail.rpartition(":")[2].split(",")]
    return [word for word in found if word and word.replace("_", "").isalnum()][:5]


@blueprint.post("/<int:campaign_id>/people/bulk")
@requires(Permission.LEADS_PAUSE)
def bulk(campaign_id: int) -> ResponseReturnValue:
    """One action for the ticked leads."""
    campaign, action = find(campaign_id), request.form.get("action", "")
    if action not in ACTIONS:
        raise Invalid.field("action", t("fields.no_such_action"))
    if action in FOR_ADMINS and not viewer().may(ENROLL, g.client):
        raise Forbidden(t("campaigns.people_admin_only"))
    found, everything = _wanted(campaign_id, request.form), bool(request.form.get("all"))
    back = url_for("campaigns.people", campaign_id=campaign_id, **_address(found))
    most = lead_work.AT_ONCE + 1
    chosen = lead_work.batch_of(found, 0, 2**62, most) if everything else wholes(request.form.getlist("ids"))[:1_000]
    if not chosen:
        return after_post(back, toast=t("campaigns.none_ticked"))
    number = campaign_people.count(found) if len(chosen) == most else len(chosen)
    if action in FINAL and request.form.get("typed", "").strip() != str(number):
        again = bool(request.form.get("sure"))
        return campaign_page(
            "campaigns/sure.html", None, campaign, "people", status=422 if again else 200, action=action, number=number, again=again,
            chosen=[] if everything else chosen, everything=everything, on=_address(found), back=back,
        )  # fmt: skip
    try:
        return after_post(back, toast=_behind_the_page(found, action) if len(chosen) == most else _acted(campaign_id, action, chosen))
    except Conflict as refused:
        return after_post(back, toast=refused.message)


def _behind_the_page(found: PeopleFilter, action: str) -> str:
    """More than a page can wait for: the list shows how far it came and what became of it."""
    return t("campaigns.work_started", n=lead_work.start(found, action, whole(request.form.get("sender")), by=viewer().id))


def _acted(campaign_id: int, action: str, chosen: list[int]) -> str:
    target = whole(request.form.get("sender"))
    return _result(action, *lead_work.act(g.client.id, campaign_id, action, chosen, target, by=viewer().id))


def _result(action: str, changed: int, skipped: Mapping[str, int]) -> str:
    """What was done and who was passed over, because."""
    words = t(f"campaigns.did_{action}", n=changed)
    if skipped:
        reasons = ", ".join(f"{number} {t(f'campaigns.passed_{name}')}" for name, number in skipped.items())
        words += " " + t("campaigns.left_out", reasons=reasons)
    return words


def _work() -> tuple[lead_work.Work, str] | None:
    """What is being done with many leads of a campaign, or was just now, and what to say about it."""
    work = lead_work.shown(g.client.id)
    if work is None or work.action not in ACTIONS:
        return None
    if work.running:
        return work, t("leads.work_progress", done=work.done, total=work.total)
    return work, " ".join(filter(None, (_result(work.action, work.changed, work.skipped), work.error)))


def _wanted(campaign_id: int, given: Mapping[str, str]) -> PeopleFilter:
    """The filter of an address or a form; what is not understood filters nothing."""
    status = given.get("status", "")
    return PeopleFilter(
        g.client.id, campaign_id, status if status in KINDS else "", given.get("reason", "")[:60], given.get("q", "").strip()[:100]
    )


def _address(found: PeopleFilter) -> dict[str, Any]:
    values = {"status": found.status, "reason": found.reason, "q": found.search}
    return {name: value for name, value in values.items() if value}


@blueprint.post("/<int:campaign_id>/people/<int:enrollment_id>/fix")
@requires(Permission.LEADS_EDIT)
def fix(campaign_id: int, enrollment_id: int) -> ResponseReturnValue:
    """Fill in what was missing; the lead goes on by itself."""
    campaign = find(campaign_id)
    line = person(g.client.id, campaign_id, enrollment_id)
    if line is None:
        raise NotFound
    lead = load(Lead, line.lead_id)
    typed = {name: request.form.get(f"value-{name}", "").strip() for name in _missing(line)}
    try:
        if not all(typed.values()):
            raise Invalid(t("campaigns.fix_value"))
        leads.change_lead(lead, _as_lead(lead, typed), allow_reserved=_reserved(), by=viewer().id)
    except (Invalid, Conflict) as refused:
        texts = " ".join(str(text) for found in refused.details.values() if isinstance(found, list) for text in found)
        return _people(campaign, status=422, wrong={"id": enrollment_id, "text": texts or refused.message, "typed": typed})
    return after_post(url_for("campaigns.people", campaign_id=campaign_id, status="needs_attention"), toast=t("campaigns.fixed", name=line.name))


def _as_lead(lead: Lead, typed: dict[str, str]) -> dict[str, Any]:
    """Known fields by name, others among the lead's own ones."""
    own = {name: value for name, value in typed.items() if name not in FIELDS}
    known = {name: value for name, value in typed.items() if name in FIELDS}
    return {**known, **({"custom": {**lead.custom, **own}} if own else {})}


def _reserved() -> bool:
    """Reserved mail domains are taken where the environment allows private targets."""
    return bool(current_app.extensions["settings"].allow_targets) or current_app.extensions["settings"].rehearsal


@blueprint.get("/<int:campaign_id>/people/add")
@requires(ENROLL)
def add(campaign_id: int) -> Response:
    campaign = find(campaign_id)
    search, start = request.args.get("q", "").strip()[:100], whole(request.args.get("after")) or 0
    lines, more = outside.candidates(g.client.id, campaign_id, search=search, after=start)
    known = current_app.view_functions
    import_page = next((name for name in ("imports.new", "leads.new_import", "imports.index", "leads.index") if name in known), None)
    return campaign_page(
        "campaigns/add_people.html", "candidates", campaign, "people", lines=lines, more=more, first=not start, search=search,
        total=outside.candidate_count(g.client.id, campaign_id, search=search), imports=outside.finished_imports(g.client.id),
        import_url=url_for(import_page) if import_page else "",
    )  # fmt: skip


@blueprint.post("/<int:campaign_id>/people/add")
@requires(ENROLL)
def add_people(campaign_id: int) -> ResponseReturnValue:
    """The ticked ones, all that match the search, or a whole import."""
    find(campaign_id)
    elsewhere = True if request.form.get("elsewhere") else None
    here = url_for("campaigns.add", campaign_id=campaign_id, q=request.form.get("q") or None)
    action = request.form.get("action", "ticked")
    added, skipped = 0, Counter[str]()
    try:
        for given in _given(campaign_id, action):
            done = campaign_leads.add_leads(g.client.id, campaign_id, **given, allow_elsewhere=elsewhere, by=viewer().id)
            added += done.enrolled
            skipped.update(done.skipped)
    except (Conflict, Invalid) as refused:
        return after_post(here, toast=refused.message)
    if not added and not skipped:
        return after_post(here, toast=t("campaigns.none_ticked"))
    words = t("campaigns.added", n=added)
    if skipped:
        reasons = ", ".join(f"{count} {t(f'campaigns.skip_{name}')}" for name, count in skipped.most_common())
        words += " " + t("campaigns.left_out", reasons=reasons)
    return after_post(url_for("campaigns.people", campaign_id=campaign_id), toast=words)


def _given(campaign_id: int, action: str) -> list[dict[str, Any]]:
    if action == "import":
        number = whole(request.form.get("import_id"))
        return [{"import_id": number}] if number is not None else []
    if action == "all":
        ids = outside.candidate_ids(g.client.id, campaign_id, search=request.form.get("q", "").strip()[:100])
    else:
        ids = wholes(request.form.getlist("ids"))
    return [{"lead_ids": ids[start : start + MAX_AT_ONCE]} for start in range(0, len(ids), MAX_AT_ONCE)]
