"""Leads: the list with its filters and what is done with many at once, one lead's page, and the export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Blueprint, Response, current_app, g, make_response, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import load, requires, viewer
from app.blueprints.digits import whole, wholes
from app.blueprints.htmx import after_post, page_or_fragment
from app.blueprints.meanwhile import loaded, stored_now, with_untouched
from app.core.errors import Conflict, Forbidden, Invalid
from app.core.extensions import db
from app.core.queue import Job, enqueue_after_commit
from app.domain.csv_guard import write_csv
from app.domain.permissions import Permission
from app.models import Campaign, Lead, LeadImport
from app.queries import campaigns
from app.queries import leads as queries
from app.services import audit, campaign_leads, lead_work, leads, suppressions
from app.services.enrolling import MAX_AT_ONCE
from app.strings import t

blueprint = Blueprint("leads", __name__, url_prefix="/c/<slug>/leads")
READ, EDIT = Permission.LEADS_READ, Permission.LEADS_EDIT
EXPORT_ROWS = 200_000
FILTERS = ("q", "state", "campaign", "import", "missing")
NEEDS = {"add": Permission.CAMPAIGNS_ENROLL, "suppress": Permission.SUPPRESSIONS_ADD, "remove": EDIT}


def allow_reserved() -> bool:
    """Reserved mail domains are taken in a rehearsal, and where the environment allows private targets."""
    settings = current_app.extensions["settings"]
    return bool(settings.allow_targets) or bool(settings.rehearsal)


def wanted(given: Mapping[str, str]) -> queries.LeadFilter:
    """The filter of an address or a form; what is not understood filters nothing."""
    state, missing = given.get("state", ""), given.get("missing", "")[:80]
    return queries.LeadFilter(
        client_id=g.client.id,
        search=given.get("q", "").strip()[:100],
        campaign_id=whole(given.get("campaign")),
        import_id=whole(given.get("import")),
        state=state if state in queries.STATES else "",
        missing=missing if missing in queries.MAY_MISS or missing.startswith("custom.") else "",
    )


def _address(found: queries.LeadFilter) -> dict[str, Any]:
    """The filter as it stands in an address."""
    values = {"q": found.search, "state": found.state, "campaign": found.campaign_id, "import": found.import_id, "missing": found.missing}
    return {name: value for name, value in values.items() if value}


# The list


@blueprint.get("/")
@requires(READ)
def index() -> Response:
    found, before = wanted(request.args), whole(request.args.get("before"))
    rows, more = queries.page(found, before)
    figures, here = queries.figures(g.client.id), _address(found)
    return page_or_fragment(
        "leads/index.html", "list", lines=queries.lines(rows), figures=figures, on=here, more=more, before=before,
        matches=queries.count(found) if here else figures.total, chips=_chips(found), campaigns=queries.open_campaigns(g.client.id),
        names=queries.custom_names(g.client.id), may_miss=queries.MAY_MISS, states=queries.STATES, mark=mark, work=_work(),
    )  # fmt: skip


_DONE = {"add": "campaigns.added", "suppress": "leads.suppressed_n", "remove": "leads.removed_n"}


def _work() -> tuple[lead_work.Work, str] | None:
    """What is being done with many leads, or was just now, and what to say about it."""
    work = lead_work.shown(g.client.id)
    if work is None:
        return None
    if work.running:
        return work, t("leads.work_progress", done=work.done, total=work.total)
    if work.action not in _DONE:  # done to a campaign's leads: its own list tells what became of it
        return None
    kept = work.skipped.get("kept", 0)
    words = t(_DONE[work.action], n=work.changed)
    if work.action == "add" and work.skipped:
        words += " " + _left_out(work.skipped)
    return work, " ".join(filter(None, (words, t("leads.kept_n", n=kept) if kept else "", work.error)))


def _left_out(skipped: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{number} {t(f'campaigns.skip_{name}')}" for name, number in Counter(skipped).most_common())
    return t("campaigns.left_out", reasons=reasons)


def _chips(found: queries.LeadFilter) -> list[tuple[str, str]]:
    """(words, address without this filter) of every filter that is on."""
    words: dict[str, str] = {"q": found.search} if found.search else {}
    if found.state:
        words["state"] = t(f"leads.state_{found.state}")
    if found.campaign_id is not None:
        words["campaign"] = t("leads.chip_campaign", name=_name(Campaign, found.campaign_id, "name"))
    if found.import_id is not None:
        words["import"] = t("leads.chip_import", name=_name(LeadImport, found.import_id, "filename"))
    if found.missing:
        words["missing"] = t("leads.chip_missing", name=field_name(found.missing))
    here = _address(found)
    return [(word, url_for("leads.index", **{k: v for k, v in here.items() if k != name})) for name, word in words.items()]


def _name(model: type[Campaign] | type[LeadImport], row_id: int, column: str) -> str:
    row: Any = db.session.get(model, row_id)
    return str(getattr(row, column)) if row is not None and row.client_id == g.client.id else "–"


def field_name(name: str) -> str:
    """A field in words; own fields keep their name."""
    return name[7:] if name.startswith("custom.") else t("leads.job_title" if name == "title" else f"leads.{name}")


ACTIVE = {"waiting", "in_flight", "held", "paused"}


def mark(line: queries.LeadLine) -> tuple[str, str, str | None]:
    """(kind, word, icon) of a lead's state, the strongest first."""
    walks = {status for _, status in line.walks}
    if line.lead.bounced_at:
        return "broken", t("leads.state_bounced"), "mail-x"
    if "replied" in walks:
        return "good", t("leads.state_replied"), "message"
    if line.suppressed:
        return "quiet", t("leads.state_suppressed"), "ban"
    if "needs_attention" in walks:
        return "attention", t("leads.state_attention"), None
    if walks & ACTIVE:
        return "waiting", t("leads.state_active"), None
    return ("quiet", t("leads.state_contacted"), "mail-check") if line.lead.contacted_at else ("quiet", t("leads.state_fresh"), None)


# Many at once


@blueprint.post("/bulk")
@requires(EDIT)
def bulk() -> ResponseReturnValue:
    """One action for the ticked ones, or for all that fit the filter (``all=1``). What cannot be taken back is asked first."""
    action, everything = request.form.get("action", ""), bool(request.form.get("all"))
    if action not in NEEDS:
        raise Invalid.field("action", t("fields.no_such_action"))
    if not viewer().may(NEEDS[action], g.client):
        raise Forbidden(t("leads.admin_only"))
    found = wanted(request.form)
    back = url_for("leads.index", **_address(found))
    chosen = queries.ids(found, lead_work.AT_ONCE + 1) if everything else wholes(request.form.getlist("ids"))[:1_000]
    if not chosen:
        return after_post(back, toast=t("leads.none_ticked"))
    number = queries.count(found) if len(chosen) > lead_work.AT_ONCE else len(chosen)
    if (action == "remove" or (action == "suppress" and everything)) and request.form.get("typed", "").strip() != str(number):
        again = bool(request.form.get("sure"))
        return page_or_fragment(
            "leads/sure.html", action=action, chosen=[] if everything else chosen, number=number, everything=everything,
            on=_address(found), back=back, again=again, status=422 if again else 200,
        )  # fmt: skip
    if len(chosen) > lead_work.AT_ONCE:
        return after_post(back, toast=_in_background(found, action))
    return after_post(back, toast={"add": _add, "suppress": _suppress, "remove": _remove}[action](chosen))


def _in_background(found: queries.LeadFilter, action: str) -> str:
    """More than a page can wait for: the list shows how far it came and what became of it."""
    campaign_id = whole(request.form.get("to")) if action == "add" else None
    if action == "add" and campaign_id is None:
        return t("leads.no_campaign")
    try:
        if campaign_id is not None:
            campaigns.campaign(g.client.id, campaign_id)
        total = lead_work.start(found, action, campaign_id, by=viewer().id)
    except Conflict as refused:
        return refused.message
    return t(f"leads.work_{action}", n=total)


def _add(chosen: list[int]) -> str:
    campaign_id = whole(request.form.get("to"))
    return add_to(campaign_id, chosen) if campaign_id is not None else t("leads.no_campaign")


def add_to(campaign_id: int, chosen: list[int]) -> str:
    """Put these leads into a campaign; what became of them, in words."""
    added, skipped = 0, Counter[str]()
    try:
        for start in range(0, len(chosen), MAX_AT_ONCE):
            done = campaign_leads.add_leads(g.client.id, campaign_id, lead_ids=chosen[start : start + MAX_AT_ONCE], by=viewer().id)
            added += done.enrolled
            skipped.update(done.skipped)
    except Conflict as refused:
        return refused.message
    words = t("campaigns.added", n=added)
    return words + " " + _left_out(skipped) if skipped else words


def _suppress(chosen: list[int]) -> str:
    if len(chosen) <= suppressions.BATCH:
        return t("leads.suppressed_n", n=leads.suppress_leads(g.client.id, chosen, by=viewer().id))
    emails = queries.addresses(g.client.id, chosen)
    enqueue_after_commit(Job.SUPPRESS_MANY, g.client.id, emails, "manual", "person", viewer().id, "", timeout_s=3_600)
    return t("leads.suppressing", n=len(emails))


def _remove(chosen: list[int]) -> str:
    done = leads.remove_leads(g.client.id, chosen, by=viewer().id)
    words = t("leads.removed_n", n=done.removed)
    return words + " " + t("leads.kept_n", n=done.kept) if done.kept else words


# One lead


@blueprint.get("/new")
@requires(EDIT)
def new() -> Response:
    return _form("leads/new.html", {}, {})


@blueprint.post("/new")
@requires(EDIT)
def create() -> ResponseReturnValue:
    values = typed()
    try:
        lead = leads.create_lead(g.client.id, values, allow_reserved=allow_reserved(), by=viewer().id)
    except (Invalid, Conflict) as refused:
        return _form("leads/new.html", values, _wrong(refused), status=422)
    return after_post(url_for("leads.show", lead_id=lead.id), toast=t("leads.added"))


@blueprint.get("/<int:lead_id>")
@requires(READ)
def show(lead_id: int) -> Response:
    lead = load(Lead, lead_id)
    return _lead(lead, _stored(lead), {})


def _stored(lead: Lead) -> dict[str, Any]:
    return {name: getattr(lead, name) for name in leads.FIELDS} | {"custom": dict(lead.custom)}


@blueprint.post("/<int:lead_id>")
@requires(EDIT)
def save(lead_id: int) -> ResponseReturnValue:
    lead, values = load(Lead, lead_id), typed()
    try:
        leads.change_lead(lead, values, allow_reserved=allow_reserved(), by=viewer().id, seen=request.form.get("version"))
    except (Invalid, Conflict) as refused:
        if refused.code == "changed_meanwhile":
            return _overtaken(lead, values)
        return _lead(lead, values, _wrong(refused), status=422)
    return after_post(url_for("leads.show", lead_id=lead_id), toast=t("frame.saved"))


@blueprint.post("/<int:lead_id>/suppress")
@requires(Permission.SUPPRESSIONS_ADD)
def suppress(lead_id: int) -> ResponseReturnValue:
    lead = load(Lead, lead_id)
    leads.suppress_leads(g.client.id, [lead.id], by=viewer().id)
    return after_post(url_for("leads.show", lead_id=lead_id), toast=t("leads.suppressed_one", name=shown_name(lead)))


@blueprint.post("/<int:lead_id>/remove")
@requires(EDIT)
def remove(lead_id: int) -> ResponseReturnValue:
    lead = load(Lead, lead_id)
    name = shown_name(lead)
    if not leads.remove_leads(g.client.id, [lead.id], by=viewer().id).removed:
        return after_post(url_for("leads.show", lead_id=lead_id), toast=t("leads.stays"))
    return after_post(url_for("leads.index"), toast=t("leads.removed_one", name=name))


def shown_name(lead: Lead) -> str:
    return f"{lead.first_name} {lead.last_name}".strip() or lead.email or t("leads.nameless")


def _lead(lead: Lead, values: dict[str, Any], errors: Mapping[str, Any], status: int = 200) -> Response:
    line = queries.lines([lead])[0]
    return _form(
        "leads/show.html", values, errors, "story", status=status, lead=lead, version=leads.version(lead), loaded=loaded(_flat(_stored(lead))),
        line=line, mark=mark(line), name=shown_name(lead), walks=queries.walks(g.client.id, lead.id), story=queries.story(g.client.id, lead.id),
        source=db.session.get(LeadImport, lead.source_import_id) if lead.source_import_id else None,
    )  # fmt: skip


def _form(template: str, values: dict[str, Any], errors: Mapping[str, Any], block: str = "form", status: int = 200, **more: Any) -> Response:
    values, errors = _new_field_kept(values, errors)
    own = values.get("custom") or {}
    names = list(dict.fromkeys([*own, *queries.custom_names(g.client.id)]))
    return page_or_fragment(
        template, block if status == 200 else None, status=status, values=values, own=own, own_names=names, errors=errors, **more
    )


def _new_field_kept(values: dict[str, Any], errors: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """A new own field that was refused stays where it was typed: among the others its name could not be corrected."""
    name = request.form.get("new-name", "").strip().removeprefix("custom.")
    wrong = errors.get(f"custom.{name[:60]}")
    if not wrong or f"own.{name}" in request.form:
        return values, errors
    others = {other: value for other, value in values["custom"].items() if other != name}
    return {**values, "custom": others, "new-name": name, "new-value": values["custom"].get(name, "")}, {**errors, "new-name": wrong}


def typed() -> dict[str, Any]:
    """What the form says: known fields, and the own ones with a value (empty ones go)."""
    given = request.form
    values: dict[str, Any] = {name: given.get(name, "").strip() for name in leads.FIELDS}
    own = {name[4:]: value.strip() for name, value in given.items() if name.startswith("own.") and value.strip()}
    name, value = given.get("new-name", "").strip(), given.get("new-value", "").strip()
    if name or value:
        own[name.removeprefix("custom.")] = value
    return {**values, "custom": own}


def _overtaken(lead: Lead, values: dict[str, Any]) -> Response:
    flat = [_flat(values), _flat(_stored(lead))]
    names = dict.fromkeys([*flat[0], *flat[1]])
    mine, theirs = ({name: one.get(name, "") for name in names} for one in flat)
    mine = with_untouched(mine, theirs, request.form.get("loaded"))
    errors = {"form": [t("frame.meanwhile")], **stored_now(mine, theirs)}
    own = {name.removeprefix("custom."): value for name, value in mine.items() if name.startswith("custom.") and (value or name in errors)}
    return _lead(lead, {**{name: mine[name] for name in leads.FIELDS}, "custom": own}, errors, status=409)


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """The lead's own fields like the others, under the names their errors have."""
    return {**{name: values[name] for name in leads.FIELDS}, **{f"custom.{name}": value for name, value in values["custom"].items()}}


def _wrong(refused: Invalid | Conflict) -> dict[str, Any]:
    details = dict(refused.details or {})
    if isinstance(refused, Conflict):
        return {"email": [t("leads.known")], "known": details.get("lead_id")}
    return details


# The export


@blueprint.get("/export.csv")
@requires(Permission.EXPORT)
def export() -> Response:
    """What the filter shows, every cell made safe for a spreadsheet; our own import reads it again."""
    names = queries.custom_names(g.client.id)
    header = [*leads.FIELDS, *(f"custom.{name}" for name in names), "bounced_at", "contacted_at", "created_at"]
    rows = list(exported(wanted(request.args), names))
    audit.record("leads.export", "client", g.client.id, client_id=g.client.id, user_id=viewer().id, after={"rows": len(rows)})
    return csv_answer(f"leads-{g.client.slug}.csv", header, rows)


def exported(found: queries.LeadFilter, names: list[str]) -> Iterator[list[object]]:
    for lead in queries.export(found, EXPORT_ROWS):
        times = [at.isoformat() if at else "" for at in (lead.bounced_at, lead.contacted_at, lead.created_at)]
        yield [*(getattr(lead, name) for name in leads.FIELDS), *(lead.custom.get(name, "") for name in names), *times]


def csv_answer(filename: str, header: list[str], rows: list[list[object]]) -> Response:
    """A table to be kept as a file."""
    answer = make_response(write_csv(header, rows))
    answer.headers["Content-Type"] = "text/csv; charset=utf-8"
    answer.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    return answer
