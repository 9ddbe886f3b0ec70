"""When a campaign may write, through which mailboxes, and how much: one form, plain inputs below the painted week."""

from __future__ import annotations

import re
from typing import Any

from flask import Response, g, request, url_for
from flask.typing import ResponseReturnValue

from app.blueprints.access import requires, viewer
from app.blueprints.campaigns.frame import DRAFT, READ, blueprint, campaign_page, demand_editable, find, following
from app.blueprints.digits import whole, wholes
from app.blueprints.htmx import after_post
from app.blueprints.meanwhile import loaded, stored_now, with_untouched
from app.core.errors import Conflict, Invalid
from app.domain.calendar_settings import parse_clock
from app.domain.public_holidays import country_names
from app.models import Campaign
from app.queries import campaigns as reading
from app.services import campaigns
from app.strings import t

OFFICE = "09:00-17:00"
#: Name → the hours of each day from Monday.
PRESETS: dict[str, tuple[str, ...]] = {
    "office": (OFFICE,) * 5 + ("", ""),
    "mornings": ("08:00-12:00",) * 5 + ("", ""),
    "core": ("", "10:00-16:00", "10:00-16:00", "10:00-16:00", "", "", ""),
    "week": ("08:00-20:00",) * 7,
}
FIELDS = ("timezone", "holidays_country", "daily_cap", "daily_new_leads", "closed_days", "weekend", "weekend_percent")
_SPAN = re.compile(r"\s*([\d:.]+)\s*(?:-|–|—|to)\s*([\d:.]+)\s*")
MINUTES = 1440


@blueprint.get("/<int:campaign_id>/schedule")
@requires(READ)
def schedule(campaign_id: int) -> Response:
    campaign = find(campaign_id)
    return _page(campaign, _stored(campaign))


def _page(campaign: Campaign, values: dict[str, Any], *, status: int = 200, **context: Any) -> Response:
    return campaign_page(
        "campaigns/schedule.html", "form", campaign, "schedule", status=status, values=values, presets=PRESETS,
        lanes=[_lane(text) for text in values["days"]], countries=country_names(),
        senders=reading.senders(g.client.id, campaign.id),
        **{"shift": None, "version": campaign.version, "loaded": loaded(_flat(_stored(campaign))), **context},
    )  # fmt: skip


def _stored(campaign: Campaign) -> dict[str, Any]:
    weekend = campaign.weekend or {}
    return {
        "days": _days(campaign.windows or []), "timezone": campaign.timezone, "holidays_country": campaign.holidays_country or "",
        "closed_days": "\n".join(campaign.closed_days or []), "weekend": weekend.get("mode", "closed"),
        "weekend_percent": weekend.get("percent") or 30, "daily_cap": campaign.daily_cap or "",
        "daily_new_leads": campaign.daily_new_leads or "", "allow_elsewhere": campaign.allow_elsewhere,
        "senders": [line.id for line in reading.senders(g.client.id, campaign.id) if line.chosen],
    }  # fmt: skip


def _days(windows: list[dict[str, Any]]) -> list[str]:
    """The hours of each day from Monday, like ``09:00-12:00, 13:00-17:00``; empty: closed."""
    return [", ".join(f"{window['from']}-{window['to']}" for window in windows if window["weekday"] == day) for day in range(7)]


def _lane(text: str) -> list[tuple[float, float]]:
    """(x, width) of a day's open hours in percent, as far as they can be read."""
    spans = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            opens, closes = _span(part)
        except ValueError:
            continue
        if opens < closes:
            spans.append((round(100 * opens / MINUTES, 3), round(100 * (closes - opens) / MINUTES, 3)))
    return spans


def _span(part: str) -> tuple[int, int]:
    """``9-17``, ``09:00 – 12:30`` → minutes of the day; ValueError with a sentence."""
    match = _SPAN.fullmatch(part)
    if match is None:
        raise ValueError(t("hours.spans_shape"))
    opens, closes = (parse_clock(word if ":" in word else f"{word}:00") for word in match.groups())
    return opens, closes


def _typed() -> dict[str, Any]:
    form = request.form
    values: dict[str, Any] = {name: form.get(name, "").strip() for name in FIELDS}
    values["days"] = [form.get(f"day-{day}", "").strip()[:200] for day in range(7)]
    values["senders"] = wholes(form.getlist("senders"))
    values["allow_elsewhere"] = "allow_elsewhere" in form
    return values


def _windows(days: list[str]) -> tuple[list[dict[str, Any]], dict[str, list[str]]]:
    """The week as windows, and what cannot be read by field."""
    windows: list[dict[str, Any]] = []
    errors: dict[str, list[str]] = {}
    for day, text in enumerate(days):
        for part in filter(None, (part.strip() for part in text.replace(";", ",").split(","))):
            try:
                opens, closes = _span(part)
                if opens >= closes:
                    raise ValueError(t("hours.end_before"))
            except ValueError as wrong:
                errors.setdefault(f"day-{day}", []).append(str(wrong))
                continue
            windows.append({"weekday": day, "from": f"{opens // 60:02d}:{opens % 60:02d}", "to": f"{closes // 60:02d}:{closes % 60:02d}"})
    return windows, errors


def _shape(values: dict[str, Any], windows: list[dict[str, Any]]) -> dict[str, Any]:
    percent = values["weekend_percent"]
    weekend = {"mode": values["weekend"]}
    if values["weekend"] == "reduced":
        weekend["percent"] = whole(percent, 3) or 0
    return {
        "timezone": values["timezone"], "windows": windows, "closed_days": values["closed_days"].replace(",", " ").split(),
        "weekend": weekend, "holidays_country": values["holidays_country"] or None, "daily_cap": values["daily_cap"],
        "daily_new_leads": values["daily_new_leads"], "allow_elsewhere": values["allow_elsewhere"], "mailbox_ids": values["senders"],
    }  # fmt: skip


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Each day by itself, under the name of its field."""
    others = {name: value for name, value in values.items() if name not in ("days", "senders")}
    return {**others, **{f"day-{day}": text for day, text in enumerate(values["days"])}, "senders": sorted(values["senders"])}


def _overtaken(campaign: Campaign, typed: dict[str, Any]) -> Response:
    """Who saves second: what they changed as typed, and what is stored now below each of those fields that says something else."""
    stored = _stored(campaign)
    flat = with_untouched(_flat(typed), _flat(stored), request.form.get("loaded"))
    values = {**{name: flat[name] for name in stored if name != "days"}, "days": [flat[f"day-{day}"] for day in range(7)]}
    errors = _stored_now(campaign, values, _windows(values["days"])[0])
    return _page(campaign, values, status=409, note=t("frame.meanwhile"), errors=errors)


def _stored_now(campaign: Campaign, typed: dict[str, Any], windows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """What is stored now, below each field that says something else."""
    names = {line.id: line.address for line in reading.senders(g.client.id, campaign.id)}
    mine, theirs = ({**values, **_as_read(values, names)} for values in ({**typed, "days": _days(windows)}, _stored(campaign)))
    return stored_now(mine, {name: value for name, value in theirs.items() if name not in ("days", "senders")})


def _as_read(values: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    """The fields whose stored form is not what the page shows; ``names``: the mailboxes' addresses."""
    modes = {"closed": t("campaigns.weekend_closed"), "reduced": t("campaigns.weekend_reduced")}
    country = values["holidays_country"]
    return {
        **{f"day-{day}": text or t("campaigns.closed") for day, text in enumerate(values["days"])},
        "weekend": modes.get(values["weekend"], ""), "weekend_percent": values["weekend_percent"] if values["weekend"] == "reduced" else "",
        "holidays_country": dict(country_names()).get(country, country), "closed_days": ", ".join(sorted(values["closed_days"].replace(",", " ").split())),
        "mailbox_ids": ", ".join(names[one] for one in sorted(values["senders"]) if one in names),
    }  # fmt: skip


@blueprint.post("/<int:campaign_id>/schedule")
@requires(DRAFT)
def save_schedule(campaign_id: int) -> ResponseReturnValue:
    campaign, values = find(campaign_id), _typed()
    demand_editable(campaign)
    seen = whole(request.form.get("version"))
    # a form that comes back still stands for the campaign it was drawn from
    drawn: dict[str, Any] = {} if seen is None else {"version": seen, "loaded": request.form.get("loaded", "")}
    preset = request.form.get("preset", "")
    if preset in PRESETS:
        return _page(campaign, {**values, "days": list(PRESETS[preset])}, **drawn)
    windows, errors = _windows(values["days"])
    if errors:
        return _page(campaign, values, status=422, errors=errors, **drawn)
    shape = _shape(values, windows)
    try:
        if request.form.get("confirmed") != "1" and (shift := campaigns.calendar_change(g.client.id, campaign_id, shape)):
            return _page(campaign, values, status=409, shift=shift, **drawn)
        campaigns.edit(g.client.id, campaign_id, shape, by=viewer().id, version=seen)
    except Invalid as wrong:
        return _page(campaign, values, status=422, errors=wrong.details, **drawn)
    except Conflict as refused:
        if refused.code == "changed_meanwhile":
            return _overtaken(campaign, values)
        return _page(campaign, values, status=409, note=refused.message)
    if request.form.get("then") == "next":
        return after_post(following(campaign, "schedule"))
    return after_post(url_for("campaigns.schedule", campaign_id=campaign_id), toast=t("frame.saved"))
