"""A session that ends in between costs no word, and two windows share one live stream."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.person import CLIENT, Person
from tests.story.house import House

WRITER = "Grace Whitfield"
TYPED = "Half of an answer, and then the session ended"


@pytest.fixture
def visitor(browser: Browser, house: House) -> Person:
    """Somebody with a session of his own, which may end."""
    context = browser.new_context(base_url=house.url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(30_000)
    visitor = Person(context.new_page(), house)
    visitor.log_in()
    return visitor


def log_in_again(visitor: Person) -> None:
    page = visitor.page
    page.wait_for_url(re.compile("/login"))
    visitor.fill(page.get_by_label("E-mail"), "admin@emberdemo.test")
    visitor.fill(page.get_by_label("Password"), visitor.password)
    visitor.press("Enter")


def test_a_fragment_without_a_session_leads_to_the_login_and_back_to_the_typed_answer(visitor: Person) -> None:
    page = visitor.page
    page.goto(f"{CLIENT}/inbox/?q={WRITER.partition(' ')[0]}")
    page.locator(".conversation", has_text=WRITER).first.wait_for(timeout=120_000)
    visitor.open_conversation(WRITER)
    page.locator("#answer-text").wait_for()
    thread = page.url
    visitor.press("r")
    page.keyboard.type(TYPED)
    page.context.clear_cookies()
    visitor.press("Control+Enter")
    log_in_again(visitor)
    page.wait_for_url(lambda url: url.split("?")[0] == thread.split("?")[0])
    expect(page.locator("#answer-text")).to_have_value(TYPED)
    page.context.close()


def test_a_fragment_asked_for_before_a_conversation_was_opened_leads_back_to_the_conversation(visitor: Person) -> None:
    page = visitor.page
    page.goto(f"{CLIENT}/inbox/?q={WRITER.partition(' ')[0]}")
    page.locator(".conversation", has_text=WRITER).first.wait_for(timeout=120_000)
    late: list[Route] = []
    page.route("**/live-card", lambda route: late.append(route))
    page.evaluate("() => document.body.dispatchEvent(new CustomEvent('counters'))")
    while not late:
        page.wait_for_timeout(50)
    visitor.press("j", "Enter")
    page.locator(".thread-who", has_text=WRITER).wait_for()
    visitor.press("r")
    page.keyboard.type(TYPED)
    thread = page.url
    page.context.clear_cookies()
    answer = late[0].fetch(headers={**late[0].request.headers, "cookie": ""})
    assert answer.status == 401
    late[0].fulfill(response=answer)  # what the server says to a request that still names the list as its page
    log_in_again(visitor)
    page.wait_for_url(lambda url: url == thread)
    expect(page.locator("#answer-text")).to_have_value(TYPED)
    page.context.close()


def test_a_form_sent_without_a_session_is_still_filled_in_afterwards(visitor: Person) -> None:
    page = visitor.page
    page.goto(f"{CLIENT}/campaigns/new")
    visitor.fill(page.get_by_label("Name"), "Spring greetings")
    page.context.clear_cookies()
    visitor.press("Enter")
    log_in_again(visitor)
    page.wait_for_url(re.compile("/campaigns/new"))
    expect(page.get_by_label("Name")).to_have_value("Spring greetings")
    page.context.close()


def test_two_windows_share_one_stream(visitor: Person) -> None:
    first = visitor.page
    expect(first.locator("#live-dot")).to_have_attribute("data-state", "live")  # until then its own stream may be still to come
    second = first.context.new_page()
    opened: list[str] = []
    second.on("request", lambda request: opened.append(request.url) if request.url.endswith("/stream") else None)
    second.goto(f"{CLIENT}/inbox/")
    expect(second.locator("#live-dot")).to_have_attribute("data-state", "live")
    assert hears(second, first), "what the first window's stream said did not reach the second"
    assert not opened, "the second window opened a stream of its own"
    first.close()
    for _ in range(300):  # the dot goes on saying live until the browser has handed the lock over
        if opened:
            break
        second.wait_for_timeout(100)
    expect(second.locator("#live-dot")).to_have_attribute("data-state", "live")
    second.wait_for_timeout(1500)
    assert len(opened) == 1, "the second window took over with another number of streams than one"
    second.context.close()


def hears(listening: Page, leading: Page) -> bool:
    """An event told by the leading window's channel is raised on the listening window's body."""
    listening.evaluate(
        "() => { window.heard = new Promise((found) => document.body.addEventListener('counters', () => found(true), { once: true })); }"
    )
    leading.evaluate(
        "() => { window.own = new Promise((found) => document.body.addEventListener('counters', () => found(true), { once: true })); }"
    )
    touch(leading.context.new_page())
    wait = "() => Promise.race([window.{name}, new Promise((found) => setTimeout(() => found(false), 60000))])"
    return bool(leading.evaluate(wait.replace("{name}", "own"))) and bool(
        listening.evaluate(wait.replace("{name}", "heard"))
    )


def touch(page: Page) -> None:
    """Something happens in the inbox: a conversation is marked unread, and the window that did it is closed."""
    page.goto(f"{CLIENT}/inbox/")
    page.locator(".conversation a").first.click()
    page.locator(".thread").wait_for()
    page.keyboard.press("u")
    page.wait_for_timeout(1_000)
    page.close()


def test_a_refused_profile_is_not_typed_again_on_the_next_visit(tab: Page) -> None:
    tab.goto("/profile")
    zone = tab.locator("main [name=timezone]")
    stored = zone.input_value()
    zone.fill("Mars")
    zone.press("Enter")
    expect(tab.locator("main .form-errors")).to_be_focused()
    expect(zone).to_have_value("Mars")
    tab.goto("/profile")
    expect(zone).to_have_value(stored)


@pytest.mark.parametrize("height", [480, 1600])  # lower than any thread (the page scrolls behind the answer), and higher than most
def test_nothing_shows_between_the_answer_and_the_bar_of_a_phone(tab: Page, height: int) -> None:
    tab.set_viewport_size({"width": 390, "height": height})
    tab.goto(f"{CLIENT}/inbox/")
    tab.locator(".conversation a").first.click(timeout=120_000)
    tab.locator("#answer-text").wait_for()
    places = "() => [document.querySelector('.composer').getBoundingClientRect().bottom, document.querySelector('.nav-list').getBoundingClientRect().top]"
    composer, bar = tab.evaluate(places)
    assert composer >= bar - 0.5, (composer, bar)
