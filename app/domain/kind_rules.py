"""What applies to which kind of delivery: a table that the gate reads, and from which the sending statements are written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.domain.statuses import DeliveryKind


@dataclass(frozen=True, slots=True)
class KindRule:
    """`*_count`: adds to the counters; `*_cap`: is held by them; `by_*`: whose stop holds it.

    `gap`: keeps the sender's gap. `calendar` means the campaign's (warm-up has its own hours, planned into its times).
    `sequence`: belongs to an enrollment. `suppression`: the do-not-contact lists cancel it (an answer to somebody who
    wrote to us only warns).
    """

    kind: str
    calendar: bool
    sender_count: bool
    sender_cap: bool
    campaign_cap: bool
    house_count: bool
    house_cap: bool
    gap: bool
    suppression: bool
    by_instance: bool
    by_client: bool
    by_campaign: bool
    by_sender: bool
    sequence: bool
    needs_sender: bool


K = DeliveryKind
_Y, _N = True, False
KIND_RULES: Mapping[DeliveryKind, KindRule] = {
    DeliveryKind(rule.kind): rule
    for rule in (
        #        kind             cal s_cnt s_cap c_cap h_cnt h_cap gap supp inst clnt camp send seq needs
        KindRule(K.CAMPAIGN_STEP, _Y, _Y, _Y, _Y, _Y, _Y, _Y, _Y, _Y, _Y, _Y, _Y, _Y, _Y),
        KindRule(K.WARMUP, _N, _Y, _Y, _N, _Y, _Y, _Y, _N, _Y, _Y, _N, _Y, _N, _Y),
        KindRule(K.REPLY, _N, _Y, _N, _N, _Y, _N, _N, _N, _Y, _N, _N, _Y, _N, _Y),
        KindRule(K.TEST, _N, _Y, _N, _N, _Y, _N, _N, _N, _Y, _N, _N, _Y, _N, _Y),
        KindRule(K.WITHDRAWAL, _N, _N, _N, _N, _N, _N, _Y, _N, _Y, _N, _N, _Y, _N, _Y),
        KindRule(K.NOTICE, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N),
        KindRule(K.DIGEST, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N),
        KindRule(K.ACCOUNT, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N, _N),
    )
}
