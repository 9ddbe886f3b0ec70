"""Three sequences to begin with: calm, short, and complete (every value has a fallback or is the sender's own)."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.working_time import DelayUnit
from app.strings import t


@dataclass(frozen=True, slots=True)
class StarterStep:
    """One mail; an empty subject continues the thread. The delay counts from the step before."""

    delay_value: int
    subject: str
    text: str
    delay_unit: DelayUnit = DelayUnit.WORKING_DAYS


@dataclass(frozen=True, slots=True)
class StarterSequence:
    key: str
    name: str
    description: str
    steps: tuple[StarterStep, ...]


_GREETING = '{Hi|Hello} {{ first_name | fallback: "there" }},'
_SIGNATURE = "{Best|Kind} regards\n{{ sender_name }}"
_WAY_OUT = "\n\n--\nIf you would rather not hear from me, one click is enough: {{ unsubscribe_url }}"


def _mail(delay: int, subject: str, *paragraphs: str) -> StarterStep:
    text = "\n\n".join((_GREETING, *paragraphs, _SIGNATURE)) + _WAY_OUT
    return StarterStep(delay, subject, text)


STARTER_SEQUENCES: tuple[StarterSequence, ...] = (
    StarterSequence(
        "first-contact",
        t("sequences.first_contact"),
        t("sequences.first_contact_text"),
        (
            _mail(
                0,
                'A question about {{ company | fallback: "your team" }}',
                'I work at {{ client_name }} and came across {{ company | fallback: "your company" }} '
                "{while reading about your field|while looking into your field}.",
                "May I ask who looks after this topic on your side? If it is you, I would gladly explain in three "
                "sentences why I am writing.",
            ),
            _mail(
                3,
                "",
                "A short note in case my first mail came at a busy moment.",
                "We help teams{% if company %} like the one at {{ company }}{% endif %} to spend less time on work "
                "nobody enjoys. Would a quarter of an hour {next week|in the coming days} be worth it to you?",
            ),
            _mail(
                6,
                "",
                "I do not want to be a nuisance, so only this: if the topic is not on your list at the moment, a short "
                "“later” helps me as much as a “yes”.",
            ),
            _mail(
                9,
                "",
                "This is my last mail on the matter. Should it become interesting one day, simply answer here; "
                "it reaches me directly.",
            ),
        ),
    ),
    StarterSequence(
        "after-an-event",
        t("sequences.after_an_event"),
        t("sequences.after_an_event_text"),
        (
            _mail(
                0,
                "{Good to have met you|After the event}",
                "thank you for the conversation. You said that the topic matters to "
                '{{ company | fallback: "your team" }} this year.',
                "Shall I send you the two pages I mentioned, or would a call be simpler?",
            ),
            _mail(
                3,
                "",
                "I know how full the days after an event are, so here is the question again in one line: "
                "two pages by mail, or ten minutes by phone?",
            ),
            _mail(
                6,
                "",
                "I will leave it at this for now. When the time is right, a short answer to this mail is enough.",
            ),
        ),
    ),
    StarterSequence(
        "quiet-again",
        t("sequences.gone_quiet"),
        t("sequences.gone_quiet_text"),
        (
            _mail(
                0,
                "{Still a topic?|Is this still a topic?}",
                "some time ago we were in touch about {{ client_name }}. Since then a few things have become better on "
                'our side, and I wondered whether the topic is still open at {{ company | fallback: "your company" }}.',
                "Would it help if I told you in five lines what is new?",
            ),
            _mail(
                3,
                "",
                "Perhaps somebody else looks after this now"
                "{% if title %} (I have you in mind as {{ title }}){% endif %}. A name is all I would need.",
            ),
            _mail(
                6,
                "",
                "I take it that now is not the moment, and that is fine. My door stays open: just answer here.",
            ),
        ),
    ),
)


def starter_sequence(key: str) -> StarterSequence | None:
    """The one with this key, or None."""
    return next((sequence for sequence in STARTER_SEQUENCES if sequence.key == key), None)
