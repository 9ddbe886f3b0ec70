"""The whole story in a real browser with the keyboard: sign in, watch an answer arrive, answer it, and stop everything.

Told on one page that stays open, in this order; what leaves is counted at the receiver.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from tests.browser.person import CLIENT, Person, Watch, World
from tests.story.house import House, wait_for

ANSWER = "Thank you, that helps.\nShall we say Thursday at ten?"
HTML_LEAD, HTML_NAME = "oliver.marsh@northwind-tooling.test", "Oliver Marsh"
HTML_ANSWER = (
    "<p id='said'>Sounds <b>good</b>, call me.</p><script>parent.document.title = 'taken over'</script>"
    "<img src='http://tracker.example/pixel.png' alt='a picture'>"
    "<blockquote type='cite'><p>The words you wrote to me before</p></blockquote>"
)
TALKER, TALKER_NAME = "grace.whitfield@northwind-tooling.test", "Grace Whitfield"
LIVE_SECONDS = 4.0
NOTE_ARRIVALS = """() => {
    window.stayed = true;
    window.arrived = {};
    const look = () => document.querySelectorAll(".conversation").forEach((row) => { window.arrived[row.dataset.id] ??= Date.now(); });
    look();
    new MutationObserver(look).observe(document.getElementById("inbox-list"), { subtree: true, childList: true });
}"""


@pytest.fixture(scope="module")
def desk(browser: Browser, house: House) -> Iterator[Person]:
    """One window for the whole story."""
    context = browser.new_context(base_url=house.url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(20_000)
    page = context.new_page()
    watch = Watch(page)
    yield Person(page, house)
    watch.assert_quiet()
    context.close()


@pytest.fixture(scope="module")
def world(house: House) -> World:
    return World(house)


def conversations(house: House, token: str) -> dict[int, float]:
    """Conversations as a program sees them now: id to the second at which we asked."""
    answer = requests.get(
        f"{house.url}/api/inbox/conversations?limit=200", headers={"Authorization": f"Bearer {token}"}, timeout=10
    )
    now = time.time()
    return {row["id"]: now for row in answer.json()["items"]}


def token_of(desk: Person) -> str:
    body = {"email": "admin@emberdemo.test", "password": desk.password}
    token: str = requests.post(f"{desk.house.url}/api/auth/login", json=body, timeout=10).json()["access_token"]
    return token


def unread_in_title(page: Page) -> int:
    found = re.match(r"\((\d+)\) ", page.title())
    return int(found.group(1)) if found else 0


def focused_row(page: Page) -> str:
    found: str = page.evaluate("(document.activeElement.closest('.conversation') || {dataset: {id: ''}}).dataset.id")
    return found


def row_after(page: Page, number: str, step: int) -> str:
    script = """([id, step]) => {
        const rows = [...document.querySelectorAll('.conversation')].map((row) => row.dataset.id);
        return rows[rows.indexOf(id) + step];
    }"""
    found: str = page.evaluate(script, [number, step])
    return found


def test_the_printed_link_signs_in_once_and_shows_the_inbox(desk: Person, browser: Browser) -> None:
    link = desk.house.said(r"http\S+/login/link/\S+")
    assert link
    desk.page.goto(link)
    desk.push(desk.page.locator("main button[type=submit]"))
    desk.page.wait_for_url(re.compile(f"{CLIENT}/inbox/"))
    expect(desk.page.get_by_role("heading", name="Inbox")).to_be_visible()
    expect(desk.page.locator(".live-word")).to_contain_text("Live")
    stranger = browser.new_page()
    answer = stranger.goto(link)
    assert answer is not None and answer.status == 404
    stranger.close()


def test_an_answer_appears_on_the_open_inbox_without_a_reload(desk: Person) -> None:
    page, token = desk.page, token_of(desk)
    page.evaluate(NOTE_ARRIVALS)
    before = conversations(desk.house, token)
    unread = unread_in_title(page)
    recorded: dict[int, float] = {}

    def two_more() -> bool:
        for number, at in conversations(desk.house, token).items():
            recorded.setdefault(number, at) if number not in before else None
        return len(recorded) >= 2

    wait_for("two answers of the rehearsal's people", two_more, 240, pause=0.2, logs=desk.house.logs)
    number = str(min(recorded))
    page.locator(f"#c-{number}").wait_for(timeout=LIVE_SECONDS * 1000)
    arrived: dict[str, Any] = page.evaluate("window.arrived")
    assert page.evaluate("window.stayed"), "the page was loaded anew"
    late = arrived[number] / 1000 - recorded[int(number)]
    assert late <= LIVE_SECONDS, f"shown {late:.1f} s after it was recorded"
    page.wait_for_function(
        "before => Number((document.title.match(/^\\((\\d+)\\) /) || [0, 0])[1]) > before", arg=unread
    )
    assert unread_in_title(page) == int(page.locator('[data-count="inbox"]').inner_text())


def test_j_k_and_enter_walk_the_list_and_open(desk: Person) -> None:
    page = desk.page
    page.goto(f"{CLIENT}/inbox/")
    page.locator(".conversation").nth(1).wait_for()
    desk.press("j")
    first = focused_row(page)
    desk.press("j")
    second = focused_row(page)
    assert second == row_after(page, first, 1)
    desk.press("k")
    assert focused_row(page) == row_after(page, second, -1)
    desk.press("Enter")
    page.wait_for_url(re.compile(rf"{CLIENT}/inbox/\d+"))
    page.locator(".thread .message").first.wait_for()
    desk.press("Escape")
    page.locator(".thread-none").wait_for()
    assert page.url.endswith(f"{CLIENT}/inbox/")


#: A conversation's first answer is late, and meanwhile news of it arrive.
_NEWS_WHILE_OPENING = """number => {
    const fetched = window.fetch;
    let first = true;
    window.fetch = async (...asked) => {
        const answer = await fetched(...asked);
        if (first && String(asked[0]).includes('part=thread')) {
            first = false;
            document.body.dispatchEvent(new Event(`conversation-${number}`));
            await new Promise(done => setTimeout(done, 1500));
        }
        return answer;
    };
}"""


def test_a_conversation_that_is_just_opened_is_not_taken_over_by_news_of_it(desk: Person) -> None:
    page = desk.page
    page.goto(f"{CLIENT}/inbox/")
    page.locator(".conversation").first.wait_for()
    desk.press("j")
    number = focused_row(page)
    its_own = re.compile(rf"{CLIENT}/inbox/{number}\b")
    desk.press("Enter")
    page.wait_for_url(its_own)
    page.locator("#thread-scroll").wait_for()
    desk.press("Escape")
    page.evaluate(_NEWS_WHILE_OPENING, number)
    assert focused_row(page) == number
    desk.press("Enter")
    page.wait_for_url(its_own)


def test_quoted_text_is_folded_until_asked_for(desk: Person, world: World) -> None:
    wait_for("an answer of the first person", lambda: _has_conversation(desk, TALKER_NAME), 120)
    desk.open_conversation(TALKER_NAME)
    fold = desk.page.locator(".message-in[id] details.quoted").first
    quoted = desk.page.locator(".message-in .quoted-text").first
    expect(quoted).to_be_hidden()
    desk.push(fold.locator("summary"))
    expect(quoted).to_be_visible()


def _has_conversation(desk: Person, name: str) -> bool:
    found = desk.page.request.get(f"{CLIENT}/inbox/", params={"q": name})
    return 'data-pane="thread"' in found.text()


def test_html_is_shown_in_a_frame_that_can_do_nothing(desk: Person, world: World) -> None:
    page, asked = desk.page, []
    page.on("request", lambda request: asked.append(request.url))
    world.answer(HTML_LEAD, "Sounds good, call me.", HTML_ANSWER)
    wait_for("the HTML answer in the inbox", lambda: _has_conversation(desk, HTML_NAME), 30, logs=desk.house.logs)
    desk.open_conversation(HTML_NAME)
    frame = page.locator(".message-in iframe.message-frame")
    expect(frame).to_have_attribute("sandbox", "allow-same-origin allow-popups")
    inner = frame.content_frame
    expect(inner.locator("body")).to_contain_text("Sounds good, call me.")
    assert inner.locator("script").count() == 0
    page.wait_for_function("() => document.querySelector('iframe.message-frame').offsetHeight > 20")
    assert not [url for url in asked if not url.startswith(desk.house.url)]
    assert "taken over" not in page.title()


def test_an_answer_leaves_when_its_undo_has_passed_and_arrives_once(desk: Person, world: World) -> None:
    page = desk.page
    desk.open_conversation(TALKER_NAME)
    before = len(world.accepted(TALKER))
    desk.press("r")
    expect(page.locator("#answer-text")).to_be_focused()
    page.keyboard.type(ANSWER.replace("\n", " "))
    desk.press("Control+Enter")
    undo = page.locator("#toasts [data-undo]")
    expect(undo).to_have_text(re.compile(r"Undo \((10|9|8)\)"))
    expect(undo).to_have_text(re.compile(r"Undo \([1-6]\)"))
    expect(page.locator(".message-out.message-queued")).to_be_visible()
    assert len(world.accepted(TALKER)) == before, "it left while it could be taken back"
    expect(undo).to_have_count(0)
    wait_for("the answer at its receiver", lambda: len(world.accepted(TALKER)) == before + 1, 20, logs=desk.house.logs)
    expect(page.locator(".message-out.message-sent", has_text="Shall we say Thursday")).to_be_visible()
    expect(page.locator(".message-out.message-queued")).to_have_count(0)
    counts = [one["message_id"] for one in world.accepted(TALKER)]
    assert len(counts) == len(set(counts)) == before + 1


def test_z_takes_an_answer_back_with_its_words(desk: Person, world: World) -> None:
    page = desk.page
    desk.open_conversation(HTML_NAME)
    before = len(world.accepted(HTML_LEAD))
    desk.press("r")
    page.keyboard.type("Something I should not have written.")
    desk.press("Control+Enter")
    page.locator("#toasts [data-undo]").wait_for()
    desk.press("z")
    expect(page.locator("#answer-text")).to_have_value("Something I should not have written.")
    expect(page.locator(".message-out.message-queued")).to_have_count(0)
    page.wait_for_timeout(11_000)
    assert len(world.accepted(HTML_LEAD)) == before
    desk.press("Control+a", "Delete", "Escape")


def test_question_mark_shows_the_keys(desk: Person) -> None:
    desk.press("?")
    keys = desk.page.locator("dialog#keys")
    expect(keys).to_be_visible()
    desk.press("Escape")
    expect(keys).to_be_hidden()
