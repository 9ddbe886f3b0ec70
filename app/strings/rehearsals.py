"""Rehearsals of a campaign: why none begins, and how one ended."""

TEXTS = {
    "rehearsals.never_ended": "This rehearsal never ended: its process was stopped. Ask for another.",
    "rehearsals.nothing_ahead": "This campaign is {status}: nothing of it is ahead. Duplicate it and rehearse the copy.",
    "rehearsals.under_way": "A rehearsal of this campaign is under way. Wait for it, it takes two minutes at most.",
    "rehearsals.ended_finished": "Every lead's sequence has ended.",
    "rehearsals.ended_nothing_due": "Nothing more becomes due by itself: what is left waits for a person.",
    "rehearsals.ended_days": "The rehearsal ended at its last day; the campaign goes on.",
    "rehearsals.ended_messages": "The rehearsal ended at its limit of messages; the campaign goes on.",
    "rehearsals.ended_time": "The rehearsal ended at its limit of machine time; the campaign goes on.",
    "rehearsals.no_campaign": "There is no such campaign. Its number stands in the address of its page.",
    "rehearsals.not_at_version": "The database is not at this version of the product. Run `flask db upgrade`, then rehearse again.",
    "rehearsals.no_database": (
        "A rehearsal needs a throw-away database, and the database login {login} may make none. Run as a superuser: ALTER ROLE {login} "
        "CREATEDB; then try again."
    ),
    "rehearsals.unexpected": (
        "Something unexpected stopped this rehearsal; the log says what. Nothing left, and no row of the campaign changed."
    ),
}
