"""The circuit breaker by itself: what opens it, who probes, and which calls count."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.support import FakeClock, run_in_child
from thea_core import BreakerState
from thea_core.callbacks.breaker import CLOSED, HALF_OPEN, OPEN, REFUSED, Breaker, BreakerLimits

UNASKED = 0


class Bench:
    """A breaker, with what it tells and where it shows that it is in trouble."""

    def __init__(self, failures: int = 3, seconds: float = 30.0) -> None:
        self.clock = FakeClock()
        self.told: list[BreakerState] = []
        self.troubled: set[Breaker] = set()
        self.breaker = Breaker(
            "shop",
            "on_message",
            BreakerLimits(failures, seconds),
            self.clock,
            tell=self.told.append,
            troubled=self.troubled,
            tickets=itertools.count(1),
        )

    @property
    def states(self) -> list[str]:
        """The states that were told."""
        return [each.state for each in self.told]

    def fail(self, times: int = 1) -> None:
        for _ in range(times):
            self.breaker.fail(self.breaker.admit(), "BrokenError")

    def opened(self) -> Bench:
        self.fail(3)
        return self

    def probing(self) -> int:
        """Open it, wait, and return the ticket of the probe."""
        self.opened().clock.advance(30)
        return self.breaker.admit()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    assert all(before != after for before, after in itertools.pairwise(bench.states)), "a state was told twice"


class TestClosed:
    def test_it_opens_after_so_many_failures_in_a_row(self, bench: Bench) -> None:
        bench.fail(2)
        assert (bench.breaker.state, bench.told) == (CLOSED, [])
        bench.fail()
        assert bench.breaker.state == OPEN
        assert bench.told == [
            BreakerState(
                "shop", "on_message", OPEN, "3 failures in a row, the last: BrokenError; calls are skipped for 30 s"
            )
        ]
        assert bench.breaker.shown == bench.told[0]

    def test_one_failure_may_be_enough(self) -> None:
        bench = Bench(failures=1)
        bench.fail()
        assert bench.breaker.state == OPEN

    def test_a_success_begins_the_count_anew(self, bench: Bench) -> None:
        for _ in range(5):
            bench.fail(2)
            bench.breaker.succeed(bench.breaker.admit())
        assert (bench.breaker.state, bench.told) == (CLOSED, [])

    def test_it_is_in_trouble_from_the_first_failure_to_the_next_success(self, bench: Bench) -> None:
        assert bench.troubled == set()
        bench.fail()
        assert bench.troubled == {bench.breaker}
        bench.breaker.succeed(bench.breaker.admit())
        assert bench.troubled == set()

    def test_calls_for_which_nobody_asked_count(self, bench: Bench) -> None:
        bench.breaker.fail(UNASKED, "x")
        bench.breaker.succeed(UNASKED)
        for _ in range(3):
            bench.breaker.fail(UNASKED, "x")
        assert bench.states == [OPEN]

    def test_a_call_that_was_given_up_counts_neither_way(self, bench: Bench) -> None:
        for _ in range(5):
            bench.breaker.release(bench.breaker.admit())
        bench.fail(2)
        bench.breaker.release(bench.breaker.admit())
        bench.fail()
        assert bench.states == [OPEN]


class TestOpen:
    def test_it_tells_whether_a_call_would_be_let_through_and_changes_nothing(self, bench: Bench) -> None:
        assert bench.breaker.ready
        bench.opened()
        assert not bench.breaker.ready
        bench.clock.advance(30)
        assert bench.breaker.ready
        assert bench.states == [OPEN]
        bench.breaker.admit()
        assert not bench.breaker.ready

    def test_calls_are_refused_until_the_time_has_come(self, bench: Bench) -> None:
        bench.opened()
        assert bench.breaker.admit() == REFUSED
        bench.clock.advance(29.999)
        assert bench.breaker.admit() == REFUSED
        bench.clock.advance(0.001)
        assert bench.breaker.admit() > 0
        assert bench.states == [OPEN, HALF_OPEN]

    def test_the_time_doubles_up_to_ten_minutes(self, bench: Bench) -> None:
        bench.opened()
        waited = []
        for _ in range(8):
            seconds = 0
            while (ticket := bench.breaker.admit()) == REFUSED:
                bench.clock.advance(1)
                seconds += 1
            waited.append(seconds)
            bench.breaker.fail(ticket, "still down")
        assert waited == [30, 60, 120, 240, 480, 600, 600, 600]
        assert bench.told[-1].reason == "the probe failed (still down); calls are skipped for 600 s"

    def test_a_longer_time_than_ten_minutes_stays_what_it_is(self) -> None:
        bench = Bench(failures=1, seconds=1000)
        bench.fail()
        bench.clock.advance(1000)
        bench.fail()
        bench.clock.advance(999)
        assert bench.breaker.admit() == REFUSED
        bench.clock.advance(1)
        assert bench.breaker.admit() > 0

    def test_after_it_has_closed_the_time_is_short_again(self, bench: Bench) -> None:
        bench.breaker.fail(bench.probing(), "x")
        bench.clock.advance(60)
        bench.breaker.succeed(bench.breaker.admit())
        bench.opened().clock.advance(30)
        assert bench.breaker.admit() > 0


class TestHalfOpen:
    def test_a_probe_that_ends_well_closes_it(self, bench: Bench) -> None:
        bench.breaker.succeed(bench.probing())
        assert bench.states == [OPEN, HALF_OPEN, CLOSED]
        assert bench.breaker.shown == BreakerState("shop", "on_message", CLOSED, "the probe ended well")

    def test_one_that_fails_opens_it_at_once(self, bench: Bench) -> None:
        bench.breaker.fail(bench.probing(), "x")
        assert bench.states == [OPEN, HALF_OPEN, OPEN]
        assert bench.breaker.admit() == REFUSED

    def test_all_others_are_refused_meanwhile(self, bench: Bench) -> None:
        bench.probing()
        assert {bench.breaker.admit() for _ in range(10)} == {REFUSED}

    def test_exactly_one_of_32_threads_probes(self) -> None:
        bench = Bench()
        barrier = threading.Barrier(32)
        rounds: list[list[int]] = [[] for _ in range(20)]

        def call() -> None:
            for tickets in rounds:
                if barrier.wait() == 0:
                    bench.fail(3)  # of an old one that is closed; the probe of the round before has failed
                    bench.clock.advance(600)
                barrier.wait()
                tickets.append(bench.breaker.admit())
                barrier.wait()
                for ticket in tickets if barrier.wait() == 0 else ():
                    bench.breaker.fail(ticket, "x")

        threads = [threading.Thread(target=call) for _ in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [sum(ticket != REFUSED for ticket in tickets) for tickets in rounds] == [1] * 20
        assert bench.states == [OPEN, *[HALF_OPEN, OPEN] * 20]

    @pytest.mark.parametrize("end", ["succeed", "fail"])
    def test_a_probe_decides_once(self, bench: Bench, end: str) -> None:
        ticket = bench.probing()
        bench.breaker.fail(ticket, "x")
        for _ in range(5):
            if end == "fail":
                bench.breaker.fail(ticket, "again")
            else:
                bench.breaker.succeed(ticket)
        assert bench.states == [OPEN, HALF_OPEN, OPEN]
        bench.clock.advance(60)
        assert bench.breaker.admit() > 0


class TestStaleCalls:
    """A call that began before a change of state decides nothing any more."""

    def test_neither_end_of_an_older_call_decides_for_the_probe(self, bench: Bench) -> None:
        old = [bench.breaker.admit() for _ in range(4)]
        bench.probing()
        for ticket in old:
            bench.breaker.succeed(ticket)
            bench.breaker.fail(ticket, "x")
            bench.breaker.release(ticket)
        assert bench.states == [OPEN, HALF_OPEN]

    def test_failures_that_began_before_the_opening_do_not_open_it_again(self, bench: Bench) -> None:
        bench.fail()  # so that calls ask
        asked = [bench.breaker.admit() for _ in range(10)]
        bench.breaker.succeed(bench.probing())
        for ticket in asked + [UNASKED] * 10:
            bench.breaker.fail(ticket, "late")
        assert bench.breaker.state == CLOSED
        bench.fail(3)
        assert bench.states == [OPEN, HALF_OPEN, CLOSED, OPEN]

    def test_successes_that_began_before_the_opening_do_not_begin_the_count_anew(self, bench: Bench) -> None:
        bench.breaker.succeed(bench.probing())
        bench.fail(2)
        bench.breaker.succeed(UNASKED)
        bench.fail()
        assert bench.states == [OPEN, HALF_OPEN, CLOSED, OPEN]

    def test_as_long_as_it_was_open_it_is_not_as_good_as_new(self, bench: Bench) -> None:
        bench.breaker.succeed(bench.probing())
        bench.clock.advance(29)
        bench.breaker.succeed(bench.breaker.admit())
        assert bench.troubled == {bench.breaker}  # so that every call asks, and its ticket tells when it began
        bench.clock.advance(1)
        bench.breaker.succeed(bench.breaker.admit())
        assert bench.troubled == set()
        for _ in range(3):
            bench.breaker.fail(UNASKED, "x")
        assert bench.breaker.state == OPEN

    def test_of_an_older_probe_nothing_counts(self, bench: Bench) -> None:
        old = bench.probing()
        bench.clock.advance(30)
        new = bench.breaker.admit()
        bench.breaker.succeed(old)
        bench.breaker.release(old)
        bench.breaker.fail(old, "x")
        assert bench.breaker.state == HALF_OPEN
        assert bench.breaker.admit() == REFUSED
        bench.breaker.succeed(new)
        assert bench.breaker.state == CLOSED


class TestLostProbes:
    def test_one_that_hangs_gives_up_its_turn_after_the_same_time(self, bench: Bench) -> None:
        bench.probing()
        bench.clock.advance(29.9)
        assert bench.breaker.admit() == REFUSED
        bench.clock.advance(0.1)
        assert bench.breaker.admit() > 0
        assert bench.breaker.admit() == REFUSED
        assert bench.states == [OPEN, HALF_OPEN]

    def test_one_that_is_given_back_leaves_its_turn_to_the_next_call(self, bench: Bench) -> None:
        bench.breaker.release(bench.probing())
        assert bench.breaker.state == HALF_OPEN
        ticket = bench.breaker.admit()
        assert ticket > 0
        assert bench.breaker.admit() == REFUSED
        bench.breaker.succeed(ticket)
        assert bench.breaker.state == CLOSED

    def test_many_that_are_given_back_are_told_once(self, bench: Bench) -> None:
        """Where there is no thread for any of a thousand calls, nobody wants to read two lines of each."""
        ticket = bench.probing()
        for _ in range(1000):
            bench.breaker.release(ticket)
            ticket = bench.breaker.admit()
        assert bench.states == [OPEN, HALF_OPEN]

    def test_one_that_was_given_back_closes_nothing_afterwards(self, bench: Bench) -> None:
        ticket = bench.probing()
        bench.breaker.release(ticket)
        bench.breaker.succeed(ticket)
        bench.breaker.fail(ticket, "x")
        assert bench.states == [OPEN, HALF_OPEN]

    @pytest.mark.parametrize("ticket", [REFUSED, UNASKED])
    def test_who_is_no_probe_gives_nothing_back(self, bench: Bench, ticket: int) -> None:
        bench.probing()
        bench.breaker.release(ticket)
        assert bench.breaker.admit() == REFUSED


class TestTrip:
    def test_it_opens_whatever_the_count_until_a_probe_is_allowed(self, bench: Bench) -> None:
        bench.breaker.trip("too many hang")
        bench.clock.advance(10_000)
        assert bench.breaker.admit() == REFUSED
        assert bench.told == [BreakerState("shop", "on_message", OPEN, "too many hang")]
        bench.breaker.let_probe()
        bench.breaker.succeed(bench.breaker.admit())
        assert bench.states == [OPEN, HALF_OPEN, CLOSED]

    def test_calls_that_were_under_way_decide_nothing(self, bench: Bench) -> None:
        ticket = bench.breaker.admit()
        bench.breaker.trip("too many hang")
        bench.breaker.fail(ticket, "x")
        bench.breaker.succeed(ticket)
        bench.breaker.let_probe()
        bench.breaker.fail(bench.breaker.admit(), "x")
        assert bench.states == [OPEN, HALF_OPEN, OPEN]
        bench.clock.advance(60)
        assert bench.breaker.admit() > 0

    def test_one_that_is_open_has_another_reason_which_is_not_told(self, bench: Bench) -> None:
        bench.opened().breaker.trip("too many hang")
        assert bench.breaker.shown == BreakerState("shop", "on_message", OPEN, "too many hang")
        assert bench.states == [OPEN]

    def test_one_that_is_open_stays_so_for_its_time(self, bench: Bench) -> None:
        bench.opened().breaker.trip("too many hang")
        bench.breaker.let_probe()
        assert bench.breaker.admit() == REFUSED
        bench.clock.advance(30)
        assert bench.breaker.admit() > 0

    def test_a_probe_that_is_itself_what_hangs_has_failed(self, bench: Bench) -> None:
        """Its time is up, it is one too many, and then it is told to have failed: the next one waits the longer."""
        ticket = bench.probing()
        bench.breaker.trip("too many hang")
        bench.breaker.fail(ticket, "timeout")
        bench.breaker.let_probe()
        bench.clock.advance(59)
        assert bench.breaker.admit() == REFUSED
        bench.clock.advance(1)
        assert bench.breaker.admit() > 0
        assert bench.states == [OPEN, HALF_OPEN, OPEN, HALF_OPEN]

    def test_a_probe_that_ends_well_after_all_closes_nothing(self, bench: Bench) -> None:
        ticket = bench.probing()
        bench.breaker.trip("too many hang")
        bench.breaker.succeed(ticket)
        assert bench.breaker.admit() == REFUSED
        bench.breaker.let_probe()
        assert bench.breaker.admit() > 0

    def test_a_probe_is_allowed_only_where_it_was_tripped(self, bench: Bench) -> None:
        bench.breaker.let_probe()
        assert bench.breaker.state == CLOSED
        bench.opened().breaker.let_probe()
        assert bench.breaker.admit() == REFUSED


class TestReset:
    @pytest.mark.parametrize("state", [OPEN, HALF_OPEN, "tripped"])
    def test_it_closes(self, bench: Bench, state: str) -> None:
        if state == "tripped":
            bench.breaker.trip("too many hang")
        elif state == OPEN:
            bench.opened()
        else:
            bench.probing()
        bench.breaker.reset("enabled anew")
        assert bench.told[-1] == BreakerState("shop", "on_message", CLOSED, "enabled anew")
        assert bench.breaker.admit() >= 0
        bench.fail(2)
        assert bench.breaker.state == CLOSED

    def test_of_a_closed_one_it_forgets_the_failures(self, bench: Bench) -> None:
        bench.fail(2)
        bench.breaker.reset("enabled anew")
        bench.fail(2)
        assert (bench.breaker.state, bench.told) == (CLOSED, [])

    def test_the_probe_under_way_decides_nothing(self, bench: Bench) -> None:
        ticket = bench.probing()
        bench.breaker.reset("enabled anew")
        for _ in range(5):
            bench.breaker.fail(ticket, "x")
        assert bench.breaker.state == CLOSED


class TestWhoIsGone:
    def test_the_breaker_of_a_callback_that_is_gone_troubles_nobody(self, bench: Bench) -> None:
        bench.fail()
        bench.breaker.belong_to(set())
        assert bench.troubled == set()
        bench.fail(2)
        assert (bench.troubled, bench.breaker.state) == (set(), OPEN)

    def test_where_it_comes_back_it_does_again(self, bench: Bench) -> None:
        bench.opened()
        bench.breaker.belong_to(set())
        bench.breaker.belong_to(bench.troubled)
        assert bench.troubled == {bench.breaker}

    def test_one_that_is_as_good_as_new_stays_out(self, bench: Bench) -> None:
        bench.breaker.belong_to(set())
        bench.breaker.belong_to(bench.troubled)
        assert bench.troubled == set()

    def test_for_good_it_is_closed_and_tells_no_more(self, bench: Bench) -> None:
        bench.opened().breaker.retire("switched off")
        assert bench.told[-1] == BreakerState("shop", "on_message", CLOSED, "switched off")
        assert bench.troubled == set()
        bench.fail(3)
        assert (bench.breaker.state, bench.states) == (OPEN, [OPEN, CLOSED])


class TestLock:
    @pytest.mark.parametrize("opened", [False, True])
    def test_it_is_not_held_during_a_call(self, bench: Bench, opened: bool) -> None:
        if opened:
            bench.probing()
        else:
            bench.fail()
            bench.breaker.admit()
        done = []

        def others() -> None:
            bench.breaker.succeed(UNASKED)
            bench.breaker.release(UNASKED)
            bench.breaker.fail(bench.breaker.admit(), "x")
            done.append(bench.breaker.shown.state)

        thread = threading.Thread(target=others, daemon=True)
        thread.start()
        thread.join(10)
        assert done == [HALF_OPEN if opened else CLOSED]

    def test_what_is_told_may_look_at_the_breaker(self) -> None:
        seen: list[tuple[str, int]] = []
        breaker = Breaker(
            "shop",
            "on_message",
            BreakerLimits(1, 30),
            FakeClock(),
            tell=lambda change: seen.append((breaker.state, breaker.admit())),
            troubled=set(),
            tickets=itertools.count(1),
        )
        breaker.fail(UNASKED, "x")
        assert seen == [(OPEN, REFUSED)]

    def test_a_child_process_has_its_own_and_need_not_wait_for_the_probe_of_another_thread(self, bench: Bench) -> None:
        bench.probing()
        held, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            with bench.breaker._lock:  # noqa: SLF001
                held.set()
                go_on.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()

        def check() -> bool:
            bench.breaker.after_fork_in_child()
            return bench.breaker.admit() > 0

        try:
            assert run_in_child(check)
        finally:
            go_on.set()
            thread.join()


@dataclass
class Model:
    """What a breaker must do, written down as plainly as possible.

    Of a call only ``period`` matters: since when the breaker is as it is. Calls for which nobody asked have none.
    """

    failures: int
    first: float
    state: str = CLOSED
    count: int = 0
    seconds: float = 0.0
    until: float = 0.0
    tripped: bool = False
    as_good_as_new: bool = True
    period: object | None = None
    told: list[str] = field(default_factory=list)

    def change(self, state: str) -> None:
        self.period = object()
        if state != self.state:
            self.told.append(state)
        self.state = state

    def admit(self, now: float) -> tuple[bool, object | None]:
        if self.state != CLOSED:
            if self.tripped or now < self.until:
                return False, None
            self.change(HALF_OPEN)
            self.until = now + self.seconds
        return True, self.period

    def succeed(self, call: object | None, now: float) -> None:
        if call is not self.period:
            return
        if self.state == HALF_OPEN:
            self.close(now)
        elif self.state == CLOSED:
            self.forgive(now)

    def fail(self, call: object | None, now: float) -> None:
        if call is not self.period:
            return
        if self.state == CLOSED:
            self.count += 1
            if self.count < self.failures:
                return
            self.seconds = self.first
        else:
            self.seconds = min(600.0, self.seconds * 2)
        self.change(OPEN)
        self.as_good_as_new = False
        self.until = now + self.seconds

    def release(self, call: object | None, now: float) -> None:
        if call is self.period and self.state == HALF_OPEN:
            self.change(HALF_OPEN)
            self.until = now

    def trip(self, now: float) -> None:
        if self.state == CLOSED:
            self.seconds = self.first
            self.change(OPEN)
            self.until = now
        elif self.state == HALF_OPEN:  # the probe may still fail
            self.state = OPEN
            self.told.append(OPEN)
            self.until = now
        self.tripped, self.as_good_as_new = True, False

    def reset(self, now: float) -> None:
        if self.state == CLOSED:
            self.forgive(now)
        else:
            self.close(now)

    def close(self, now: float) -> None:
        self.change(CLOSED)
        self.count, self.tripped, self.until = 0, False, now + self.seconds

    def forgive(self, now: float) -> None:
        self.count = 0
        if self.as_good_as_new or now >= self.until:
            self.as_good_as_new, self.period = True, None


class BreakerMachine(RuleBasedStateMachine):
    """Calls begin and end in any order while time goes by; the breaker must do what the model does."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(failures=2, seconds=30.0)
        self.model = Model(failures=2, first=30.0)
        self.calls: list[tuple[int, object | None]] = []

    @property
    def now(self) -> float:
        return self.bench.clock.monotonic_ns() / 1e9

    def take(self, data: st.DataObject) -> tuple[int, object | None]:
        return self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))

    @rule()
    def begin(self) -> None:
        ticket = self.bench.breaker.admit()
        allowed, call = self.model.admit(self.now)
        assert (ticket != REFUSED) == allowed
        if allowed:
            self.calls.append((ticket, call))

    @precondition(lambda self: not self.bench.troubled)
    @rule()
    def begin_without_asking(self) -> None:
        self.calls.append((UNASKED, None))

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def end_well(self, data: st.DataObject) -> None:
        ticket, call = self.take(data)
        self.bench.breaker.succeed(ticket)
        self.model.succeed(call, self.now)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def end_badly(self, data: st.DataObject) -> None:
        ticket, call = self.take(data)
        self.bench.breaker.fail(ticket, "x")
        self.model.fail(call, self.now)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        ticket, call = self.take(data)
        self.bench.breaker.release(ticket)
        self.model.release(call, self.now)

    @rule(seconds=st.sampled_from([1, 29, 30, 31, 60, 240, 600]))
    def wait(self, seconds: int) -> None:
        self.bench.clock.advance(seconds)

    @rule()
    def trip(self) -> None:
        self.bench.breaker.trip("too many hang")
        self.model.trip(self.now)

    @rule()
    def let_probe(self) -> None:
        self.bench.breaker.let_probe()
        self.model.tripped = False

    @rule()
    def reset(self) -> None:
        self.bench.breaker.reset("enabled anew")
        self.model.reset(self.now)

    @invariant()
    def it_does_what_the_model_does(self) -> None:
        assert self.bench.breaker.state == self.bench.breaker.shown.state == self.model.state
        assert self.bench.states == self.model.told

    @invariant()
    def it_is_in_trouble_unless_it_is_as_good_as_new(self) -> None:
        assert bool(self.bench.troubled) == (not self.model.as_good_as_new or self.model.count > 0)

    @invariant()
    def at_most_one_call_decides_whether_it_closes(self) -> None:
        if self.model.state == HALF_OPEN:
            assert sum(call is self.model.period for _, call in self.calls) <= 1


TestBreakerMachine = BreakerMachine.TestCase
