"""Every reason that something built can produce is reached by a test through the product's own door (RULES of the product, 7)."""

from __future__ import annotations

import ast

from app.domain.reasons import Reason
from tests.conftest import ROOT

#: Names kept for what is not built yet: warm-up and LinkedIn.
RESERVED = {
    Reason.WARMUP_RESERVE, Reason.WAITING_ACCEPTANCE, Reason.INVITE_WEEK_CAP, Reason.NOTES_USED_UP, Reason.WITHDRAWN_COOLDOWN,
    Reason.ACCOUNT_NOT_OK,
}  # fmt: skip
PEOPLE = "engine/test_reasons.py::test_what_a_person_does_holds_what_is_claimed_already_and_the_list_of_leads_says_why"
LIMIT = "engine/test_reasons.py::test_a_limit_that_a_person_sets_lets_one_leave_and_holds_the_next_with_its_reason"
#: Each reason → one test that reaches it by what people, servers or the product's own jobs do, not by rows made for it.
DOORS = {
    **dict.fromkeys((
        Reason.STOPPED_INSTANCE, Reason.STOPPED_CLIENT, Reason.CAMPAIGN_PAUSED, Reason.STOPPED_CAMPAIGN, Reason.STOPPED_SENDER, Reason.SENDER_PAUSED,
        Reason.SENDER_CONNECTING, Reason.LEAD_PAUSED, Reason.SUPPRESSED_CLIENT, Reason.SUPPRESSED_GLOBAL, Reason.OUTSIDE_WINDOW, Reason.WEEKEND,
        Reason.CLOSED_DAY, Reason.HOLIDAY,
    ), PEOPLE),
    **dict.fromkeys((
        Reason.SENDER_DAY_CAP, Reason.SENDER_HOUR_CAP, Reason.MIN_GAP, Reason.CAMPAIGN_DAY_CAP, Reason.NEW_LEADS_CAP, Reason.CLIENT_HOUR_CAP,
        Reason.INSTANCE_MINUTE_CAP, Reason.INSTANCE_HOUR_CAP,
    ), LIMIT),
    Reason.DRAFT: "engine/test_reasons.py::test_leads_of_a_draft_wait_for_its_start",
    Reason.PROVIDER_BACKOFF: "engine/test_reasons.py::test_a_server_that_asks_us_to_wait_is_given_time",
    Reason.SENDER_AUTH_FAILED: "engine/test_outcomes.py::test_a_wrong_password_pauses_the_mailbox_and_leaves_every_lead_untouched",
    Reason.CIRCUIT_OPEN: "engine/test_outcomes.py::test_five_silences_in_a_row_rest_the_mailbox",
    Reason.PREVIOUS_UNCERTAIN: "engine/test_outcomes.py::test_a_server_that_dies_after_the_dot_leaves_an_uncertain_row_that_no_timer_sends_again",
    Reason.REPLIED: "services/test_receiving.py::test_a_reply_stops_every_campaign_of_the_client_and_cancels_what_has_not_left",
    Reason.ANSWERED_ELSEWHERE: "services/test_receiving.py::test_what_we_wrote_from_outside_joins_the_thread_and_pauses_the_lead",
    Reason.OUT_OF_OFFICE_UNTIL: "services/test_receiving.py::test_out_of_office_holds_until_one_working_day_after_the_return",
    Reason.DIRECTION_UNKNOWN: "services/test_receiving.py::test_a_colleague_with_a_new_mail_waits_for_a_person_with_candidates",
    Reason.DOMAIN_BULK_GATE: "engine/test_permit.py::test_near_the_bulk_limit_a_domain_waits_for_the_next_day_unless_it_is_marked_ready",
    Reason.DELAY_NOT_OVER: "services/test_campaigns.py::test_progress_counts_come_from_the_rows_with_their_denominators",
    Reason.FINISHED: "services/test_sequencing.py::test_a_sequence_walks_to_its_end_and_the_campaign_finishes",
    Reason.NO_SENDER: "services/test_campaigns.py::test_leads_nobody_has_written_to_follow_to_a_new_mailbox_silently_and_the_others_wait_for_a_person",
    Reason.REPLIED_ELSEWHERE: "services/test_receiving.py::test_a_reply_stops_every_campaign_of_the_client_and_cancels_what_has_not_left",
    Reason.BOUNCED: "engine/test_outcomes.py::test_an_address_that_does_not_exist_is_suppressed_for_the_client",
    Reason.UNSUBSCRIBED: "services/test_suppressions.py::test_a_suppression_ends_every_walk_and_cancels_what_has_not_left",
    Reason.DUPLICATE_IN_OTHER_CAMPAIGN: "services/test_enrollments.py::test_every_refused_lead_is_counted_under_its_reason",
    Reason.NEEDS_ATTENTION_VARIABLE: "engine/test_outcomes.py::test_a_missing_value_holds_the_lead_and_a_correction_sends_the_same_row",
    Reason.NEEDS_ATTENTION_ADDRESS: "services/test_sequencing.py::test_suppressed_and_bounced_leads_end_and_one_without_an_address_waits_for_a_person",
    Reason.IN_FLIGHT: LIMIT,
    Reason.SKIPPED: "services/test_enrollments.py::test_a_skipped_lead_is_over",
    Reason.RESENT: "engine/test_outcomes.py::test_sent_again_by_a_person_is_a_new_row_and_a_late_acceptance_of_the_old_one_shows_as_a_double",
    Reason.UNDONE: "services/test_inbox_reply.py::test_taking_back_cancels_hides_and_restores_what_was_said_before",
    Reason.REFUSED: "engine/test_outcomes.py::test_a_refused_recipient_fails_the_row_and_the_lead_and_gives_the_counter_back",
}


def _said_by(place: str) -> str:
    """The source of a test, with the tables its parameters come from."""
    path, _, name = place.partition("::")
    source = (ROOT / "tests" / path).read_text()
    tree = ast.parse(source)
    test = next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)
    assert test is not None and name.startswith("test_"), f"there is no test {place}"
    named = {node.id for decorator in test.decorator_list for node in ast.walk(decorator) if isinstance(node, ast.Name)}
    tables = [node for node in tree.body if isinstance(node, ast.Assign | ast.AnnAssign) and named & {
        target.id for target in (node.targets if isinstance(node, ast.Assign) else [node.target]) if isinstance(target, ast.Name)}]  # fmt: skip
    return "\n".join(ast.get_source_segment(source, node) or "" for node in (*tables, test))


def test_every_reason_is_reached_or_reserved() -> None:
    assert not set(DOORS) & RESERVED
    assert set(DOORS) | RESERVED == set(Reason), set(Reason) - set(DOORS) - RESERVED
    for reason, place in DOORS.items():
        words = _said_by(place)
        assert f'"{reason}"' in words or f"Reason.{reason.name}" in words, f"{place} does not name {reason}"


def test_a_reserved_reason_is_produced_by_nothing() -> None:
    code = "".join(path.read_text() for folder in ("app", "jobs") for path in (ROOT / folder).rglob("*.py") if path.name != "reasons.py")
    assert [reason for reason in RESERVED if f"Reason.{reason.name}" in code or f"'{reason}'" in code or f'"{reason}"' in code] == []
