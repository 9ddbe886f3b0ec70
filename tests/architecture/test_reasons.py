"""Every reason that something built can produce is reached by a test through the product's own door (RULES of the product, 7)."""

from __future__ import annotations

import re

from app.domain.reasons import Reason
from tests.conftest import ROOT

#: Names kept for what is not built yet: warm-up and LinkedIn.
RESERVED = {
    Reason.WARMUP_RESERVE, Reason.WAITING_ACCEPTANCE, Reason.INVITE_WEEK_CAP, Reason.NOTES_USED_UP, Reason.WITHDRAWN_COOLDOWN,
    Reason.ACCOUNT_NOT_OK,
}  # fmt: skip
PERMIT = "engine/test_permit.py::test_whatever_came_between_claim_and_dot_refuses_with_its_reason"
#: Reasons that the table OBSTACLES of the permit's test does not hold.
DOORS = {
    Reason.DOMAIN_BULK_GATE: "engine/test_permit.py::test_near_the_bulk_limit_a_domain_waits_for_the_next_day_unless_it_is_marked_ready",
    Reason.DELAY_NOT_OVER: "services/test_campaigns.py::test_progress_counts_come_from_the_rows_with_their_denominators",
    Reason.FINISHED: "services/test_sequencing.py::test_a_sequence_walks_to_its_end_and_the_campaign_finishes",
    Reason.NO_SENDER: "services/test_campaigns.py::test_leads_nobody_has_written_to_follow_to_a_new_mailbox_silently_and_the_others_wait_for_a_person",
    Reason.REPLIED_ELSEWHERE: "services/test_receiving.py::test_a_reply_stops_every_campaign_of_the_client_and_cancels_what_has_not_left",
    Reason.BOUNCED: "services/test_sequencing.py::test_suppressed_and_bounced_leads_end_and_one_without_an_address_waits_for_a_person",
    Reason.UNSUBSCRIBED: "services/test_suppressions.py::test_a_suppression_ends_every_walk_and_cancels_what_has_not_left",
    Reason.DUPLICATE_IN_OTHER_CAMPAIGN: "services/test_enrollments.py::test_every_refused_lead_is_counted_under_its_reason",
    Reason.NEEDS_ATTENTION_VARIABLE: "engine/test_outcomes.py::test_a_missing_value_holds_the_lead_and_a_correction_sends_the_same_row",
    Reason.NEEDS_ATTENTION_ADDRESS: "services/test_sequencing.py::test_suppressed_and_bounced_leads_end_and_one_without_an_address_waits_for_a_person",
    Reason.IN_FLIGHT: "services/test_campaigns.py::test_a_message_past_its_permit_says_that_it_is_on_its_way",
    Reason.SKIPPED: "services/test_enrollments.py::test_a_skipped_lead_is_over",
    Reason.RESENT: "engine/test_outcomes.py::test_sent_again_by_a_person_is_a_new_row_and_a_late_acceptance_of_the_old_one_shows_as_a_double",
    Reason.UNDONE: "services/test_inbox_reply.py::test_taking_back_cancels_hides_and_restores_what_was_said_before",
    Reason.REFUSED: "engine/test_outcomes.py::test_a_refused_recipient_fails_the_row_and_the_lead_and_gives_the_counter_back",
}


def _function(place: str) -> str:
    """The source of a test, or of what it calls the table of."""
    path, _, name = place.partition("::")
    source = (ROOT / "tests" / path).read_text()
    found = re.search(rf"^def {name}\(.*?(?=^(?:def|class|@)|\Z)", source, re.S | re.M)
    assert found, f"there is no test {place}"
    return found.group(0)


def test_every_reason_is_reached_or_reserved() -> None:
    table = (ROOT / "tests" / "engine" / "test_permit.py").read_text()
    listed = {Reason[name] for name in re.findall(r"^    Reason\.([A-Z_]+): ", table, re.M)}
    assert _function(PERMIT)
    assert listed | set(DOORS) | RESERVED == set(Reason), set(Reason) - listed - set(DOORS) - RESERVED
    for reason, place in DOORS.items():
        words = _function(place)
        assert f'"{reason}"' in words or f"Reason.{reason.name}" in words, f"{place} does not name {reason}"


def test_a_reserved_reason_is_produced_by_nothing() -> None:
    code = "".join(path.read_text() for folder in ("app", "jobs") for path in (ROOT / folder).rglob("*.py") if path.name != "reasons.py")
    assert [reason for reason in RESERVED if f"Reason.{reason.name}" in code or f"'{reason}'" in code or f'"{reason}"' in code] == []
