"""Commands to a page and its replies: order, repetition, and pages that are gone."""

import threading
import time

import numpy as np
import pytest

from benchmarks.browser.exchange import Busy, Command, Exchange, Gone
from benchmarks.browser.facts import Facts
from benchmarks.browser.message import ArrayType, Malformed
from benchmarks.device import Unavailable
from tests.benchmarks.browser.visitor import FACTS

PAGE = Facts.model_validate(FACTS)


def command(name="load", **settings):
    return Command(name=name, argument={}, limit_s=60, **settings)


def ok(*arrays, value=""):
    return {"outcome": "ok", "value": value}, list(arrays)


def test_commands_are_given_one_after_the_other_and_answered(exchange):
    page = exchange.arrive(PAGE, previous=None)
    first, second = command("load"), command("hold")
    exchange.post(page, first)
    exchange.post(page, second)
    assert exchange.turn(page.secret, answered=0, message=None, hold_s=0) is first
    assert exchange.turn(page.secret, answered=first.number, message=ok(value="x"), hold_s=0) is second
    assert exchange.wait(first).value == "x"
    assert exchange.turn(page.secret, answered=second.number, message=ok(), hold_s=0) is None
    assert exchange.wait(second).outcome == "ok"


def test_a_command_whose_answer_was_lost_is_given_again_and_a_repeated_reply_counts_once(exchange):
    page = exchange.arrive(PAGE, previous=None)
    first, second = command("load"), command("hold")
    exchange.post(page, first)
    exchange.turn(page.secret, answered=0, message=None, hold_s=0)
    assert exchange.turn(page.secret, answered=0, message=None, hold_s=0) is first
    exchange.post(page, second)
    exchange.turn(page.secret, answered=first.number, message=ok(value="first"), hold_s=0)
    assert exchange.turn(page.secret, answered=first.number, message=ok(value="again"), hold_s=0) is second
    assert exchange.wait(first).value == "first" and second.reply is None


def test_a_held_request_gets_the_command_when_it_is_posted(exchange):
    page = exchange.arrive(PAGE, previous=None)
    later = command()
    threading.Timer(0.1, exchange.post, (page, later)).start()
    assert exchange.turn(page.secret, answered=0, message=None, hold_s=30) is later


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (({"outcome": "done", "value": ""}, []), "outcome of a reply is one of ok, unavailable, failed"),
        (({"outcome": "ok", "value": 7}, []), "value is a text"),
        (({}, []), "outcome of a reply"),
        (ok(), r"has the arrays \[\]; expected are"),
        (ok(np.zeros(2)), r"expected are \[\('float64', \(3,\)\)\]"),
        (ok(np.zeros(3, "float32")), "expected are"),
        (ok(np.zeros(3), np.zeros(3)), "expected are"),
        (({"outcome": "failed", "value": "x"}, [np.zeros(3)]), r"expected are \[\]"),
    ],
)
def test_a_reply_that_does_not_fit_is_refused_and_the_command_stays_open(exchange, message, reason):
    page = exchange.arrive(PAGE, previous=None)
    timing = command("time_runs", expects=[ArrayType(dtype="float64", shape=(3,))])
    exchange.post(page, timing)
    exchange.turn(page.secret, answered=0, message=None, hold_s=0)
    with pytest.raises(Malformed, match=reason):
        exchange.turn(page.secret, answered=timing.number, message=message, hold_s=0)
    exchange.turn(page.secret, answered=timing.number, message=ok(np.ones(3)), hold_s=0)
    assert (exchange.wait(timing).arrays[0] == 1).all()


def test_one_page_measures_at_a_time_and_a_reload_replaces_it(exchange):
    page = exchange.arrive(PAGE, previous=None)
    for previous in (None, "another", "ä"):
        with pytest.raises(Busy, match="another page is measuring"):
            exchange.arrive(PAGE, previous=previous)
    lost = command()
    exchange.post(page, lost)
    again = exchange.arrive(PAGE, previous=page.secret)
    with pytest.raises(Unavailable, match=r"the page was reloaded; .* \(in 'load'\)"):
        exchange.wait(lost)
    with pytest.raises(Unavailable, match="the page was reloaded"):
        exchange.post(page, command())
    for call in (exchange.leave, exchange.most_bytes):
        with pytest.raises(Gone):
            call(page.secret)
    assert exchange.wait_for_page(0) is again


def test_a_closed_page_costs_its_commands(exchange):
    page = exchange.arrive(PAGE, previous=None)
    waiting, sent = command("load"), command("hold")
    exchange.post(page, sent)
    exchange.turn(page.secret, answered=0, message=None, hold_s=0)
    exchange.post(page, waiting)
    exchange.leave(page.secret)
    for one in (sent, waiting):
        with pytest.raises(Unavailable, match="the page was closed or reloaded"):
            exchange.wait(one)
    with pytest.raises(Unavailable, match="the page was closed or reloaded"):
        exchange.wait_for_page(0)
    assert exchange.arrive(PAGE, previous=None)


@pytest.mark.parametrize(("hidden", "hint"), [(False, "broke$"), (True, "in the background")])
def test_a_silent_page_is_lost(hidden, hint):
    exchange = Exchange(silence_s=0.2)
    page = exchange.arrive(PAGE, previous=None)
    exchange.alive(page.secret, hidden=hidden)
    waiting = command()
    exchange.post(page, waiting)
    with pytest.raises(Unavailable, match=r"the page was silent for 0\.2 s") as raised:
        exchange.wait(waiting)
    assert hint.removesuffix("$") in str(raised.value)


def test_the_end_of_the_browser_is_the_reason():
    ended: list[str] = []
    exchange = Exchange(silence_s=60, ended=lambda: ended[0] if ended else None)
    page = exchange.arrive(PAGE, previous=None)
    waiting = command()
    exchange.post(page, waiting)
    ended.append("the browser was killed by SIGSEGV")
    with pytest.raises(Unavailable, match="killed by SIGSEGV"):
        exchange.wait(waiting)
    with pytest.raises(Unavailable, match="killed by SIGSEGV"):
        exchange.wait_for_page(60)


def test_nobody_opens_the_page(exchange):
    with pytest.raises(Unavailable, match=r"nobody opened the page within 0\.1 s"):
        exchange.wait_for_page(0.1)


def test_the_last_command_ends_the_visit(exchange):
    page = exchange.arrive(PAGE, previous=None)
    farewell = command("end")
    given = []

    def take():
        given.append(exchange.turn(page.secret, answered=0, message=None, hold_s=30))

    taking = threading.Thread(target=take)
    taking.start()
    begin_s = time.monotonic()
    exchange.close(farewell, wait_s=30)
    assert time.monotonic() - begin_s < 30
    taking.join()
    assert given == [farewell]
    with pytest.raises(Gone, match="the measurement is over"):
        exchange.arrive(PAGE, previous=None)
