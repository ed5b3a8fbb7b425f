"""A plugin is run on recorded events, and what comes of each is counted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from thea_core import Thea, hookimpl
from thea_core.callbacks.event_json import Event
from thea_core.cli.replaying import player as player_module
from thea_core.cli.replaying.events import Recorded
from thea_core.cli.replaying.player import Failure, Player

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def message(number: int, text: str = "hola", **more: Any) -> Recorded:
    """Return a line of a recording with a message."""
    arguments = {"user_id": "ana", "message": text, "timestamp": NOON, "event_id": f"e-{number}", "session_id": "s-1"}
    return Recorded(f"events.jsonl:{number}", Event("on_message", {**arguments, **more}, 0))


def change(number: int) -> Recorded:
    """Return a line with a change of state."""
    arguments = {"user_id": "ana", "old_state": "idle", "new_state": "processing", "event_id": f"e-{number}"}
    return Recorded(f"events.jsonl:{number}", Event("on_state_change", arguments, 0))


class Shop:
    """Notes what it gets, and fails where it is told to."""

    name = "shop"

    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []

    @hookimpl(timeout=None)
    def on_message(self, message: str, event_id: str, session_id: str | None, timestamp: datetime) -> None:
        self.seen.append((message, event_id, session_id, timestamp))
        if message.startswith("fail"):
            raise ValueError(message)


class Late(Shop):
    """The same, with a queue."""

    delivery = "background"

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.flushed = 0

    @hookimpl(timeout=None)
    def on_message(self, message: str, event_id: str, session_id: str | None, timestamp: datetime) -> None:
        self.gate.wait(60)
        super().on_message(message, event_id, session_id, timestamp)

    @hookimpl
    async def on_state_change(self, new_state: str) -> None:
        raise LookupError(new_state)

    @hookimpl
    def on_flush(self) -> None:
        self.flushed += 1


@contextmanager
def playing(plugin: object, **plugins: Any) -> Iterator[tuple[Player, list[tuple[str, str]]]]:
    """Give a player for a plugin, and what it remarks."""
    remarks: list[tuple[str, str]] = []
    config = {"store": {"url": "memory:"}, "plugins": plugins, "callbacks": {"breaker_failures": 1000}}
    with Thea(config, plugins=[plugin], environ={}) as thea:
        yield Player(thea, "shop", lambda place, text: remarks.append((place, text))), remarks


def on() -> bool:
    return True


class TestEvents:
    def test_the_plugin_gets_them_with_their_own_id_session_and_time(self) -> None:
        shop = Shop()
        with playing(shop) as (player, _):
            player.play(message(1))
            player.play(message(2, session_id=None))
        assert shop.seen == [("hola", "e-1", "s-1", NOON), ("hola", "e-2", None, NOON)]

    def test_what_becomes_of_them_is_counted_by_hook(self) -> None:
        with playing(Shop()) as (player, _):
            for number, text in enumerate(["hola", "fail a", "hola", "fail b"], 1):
                player.play(message(number, text))
            player.play(change(5))
        tally = player.tallies["on_message"]
        assert (tally.events, tally.ok, tally.failed, tally.not_run, tally.calls) == (4, 2, 2, 0, 4)
        assert 0 < tally.slowest <= tally.seconds
        assert (player.tallies["on_state_change"].events, player.tallies["on_state_change"].calls) == (1, 0)
        assert player.failed
        assert player.failures == [
            Failure("events.jsonl:2", "on_message", "e-2", "ValueError: fail a"),
            Failure("events.jsonl:4", "on_message", "e-4", "ValueError: fail b"),
        ]

    def test_of_a_plugin_with_durable_delivery_each_event_is_delivered_once_and_in_order(self) -> None:
        class Sure(Shop):
            delivery = "durable"

        shop = Sure()
        with playing(shop, shop={"max_attempts": 1}) as (player, _):
            for number, text in enumerate(["hola", "fail a", "adios"], 1):
                player.play(message(number, text, user_id=f"user-{number % 2}"))
            assert player.finish(on) == 0
        assert [text for text, *_ in shop.seen] == ["hola", "fail a", "adios"]
        tally = player.tallies["on_message"]
        assert (tally.events, tally.ok, tally.failed, tally.calls) == (3, 2, 1, 3)
        assert player.failures == [Failure("events.jsonl:2", "on_message", "e-2", "ValueError: fail a")]

    def test_failures_of_other_callbacks_are_not_the_plugins(self) -> None:
        def fail() -> None:
            raise ValueError("not the shop's")

        with Thea({"store": {"url": "memory:"}}, plugins=[Shop()], environ={}) as thea:
            player = Player(thea, "shop", lambda place, text: None)
            thea.callbacks.register("on_message", fail)
            player.play(message(1))
        assert not player.failed

    def test_a_callback_that_takes_too_long_has_failed(self) -> None:
        release = threading.Event()

        class Slow:
            name = "shop"

            @hookimpl
            def on_message(self) -> None:
                release.wait(60)

        with playing(Slow(), shop={"timeout": "10ms"}) as (player, _):
            player.play(message(1))
            release.set()
        assert player.tallies["on_message"].failed == 1
        assert player.failures[0].place == "events.jsonl:1"

    def test_a_callback_that_is_left_out_has_not_run(self) -> None:
        with playing(Shop()) as (player, _):
            for number in range(1, 1002):
                player.play(message(number, "fail"))
        tally = player.tallies["on_message"]
        assert (tally.events, tally.failed, tally.not_run) == (1001, 1000, 1)

    def test_events_that_the_plugin_itself_fires_are_none_of_the_recording(self) -> None:
        class Talkative(Shop):
            @hookimpl
            def on_startup(self, app: Any) -> None:
                self.app = app

            @hookimpl(timeout=None)
            def on_state_change(self) -> None:
                self.app.callbacks.trigger("on_message", user_id="ana", message="fail inside", timestamp=NOON)

        with playing(Talkative()) as (player, _):
            player.play(change(1))
        assert player.tallies["on_message"].events == 0
        (failure,) = player.failures
        assert (failure.place, failure.hook) == ("", "on_message")

    def test_only_so_many_failures_are_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(player_module, "_MOST_FAILURES", 2)
        with playing(Shop()) as (player, _):
            for number in range(1, 5):
                player.play(message(number, "fail"))
        assert len(player.failures) == 2
        assert player.tallies["on_message"].failed == 4

    def test_an_event_with_parts_left_out_is_counted(self) -> None:
        with playing(Shop()) as (player, _):
            player.play(message(1)._replace(event=message(1).event._replace(left_out=3)))  # type: ignore[union-attr]
            player.play(message(2))
        assert player.left_out == 1

    def test_where_it_is_can_be_asked_meanwhile(self) -> None:
        places: list[str] = []

        class Asking:
            name = "shop"

            @hookimpl(timeout=None)
            def on_message(self) -> None:
                places.append(player.place)
                asking = threading.Thread(target=lambda: places.append(player.place))
                asking.start()
                asking.join()

        with playing(Asking()) as (player, _):
            player.play(message(7, event_id=5))
            places.append(player.place)
        assert places == ["events.jsonl:7", "", ""]


class TestWhatIsNoEventHere:
    def test_a_line_that_is_none_is_told(self) -> None:
        with playing(Shop()) as (player, remarks):
            player.play(Recorded("events.jsonl:3", problem="the line is not JSON"))
        assert remarks == [("events.jsonl:3", "the line is not JSON")]
        assert player.refused == 1
        assert player.tallies == {}

    @pytest.mark.parametrize(
        ("event", "told"),
        [
            (Event("on_message", {"user_id": "ana"}, 0), "the argument 'message' is missing"),
            (Event("detect_intents", {"message": "", "context": {}}, 0), "which is a result hook"),
            (Event("on_startup", {}, 0), "the application calls it"),
        ],
    )
    def test_one_that_does_not_fit_its_hook_is_told(self, event: Event, told: str) -> None:
        with playing(Shop()) as (player, remarks):
            player.play(Recorded("events.jsonl:3", event))
        ((place, text),) = remarks
        assert place == "events.jsonl:3"
        assert told in text
        assert player.refused == 1

    def test_a_hook_that_is_not_known_is_told_once_and_counted(self) -> None:
        with playing(Shop()) as (player, remarks):
            for number in (1, 2):
                player.play(Recorded(f"events.jsonl:{number}", Event("on_mesage", {}, 0)))
        ((place, text),) = remarks
        assert place == "events.jsonl:1"
        assert text.startswith("there is no hook 'on_mesage' here (did you mean on_message?); another plugin")
        assert (player.unknown, player.refused) == ({"on_mesage": 2}, 0)


class TestQueue:
    def test_each_failure_is_that_of_its_event(self) -> None:
        late = Late()
        with playing(late) as (player, _):
            for number, text in enumerate(["hola", "fail", "hola", "fail"], 1):
                player.play(message(number, text))
                player.play(change(number + 10))
            assert not player.failures
            late.gate.set()
            assert player.finish(on) == 0
        places = {hook: [each.place for each in player.failures if each.hook == hook] for hook in player.tallies}
        assert places["on_message"] == ["events.jsonl:2", "events.jsonl:4"]
        assert places["on_state_change"] == [f"events.jsonl:{number}" for number in (11, 12, 13, 14)]
        assert (player.tallies["on_message"].events, player.tallies["on_message"].ok) == (4, 2)
        assert late.flushed >= 1

    def test_not_too_many_events_wait_in_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(player_module, "IN_FLIGHT", 2)
        late = Late()
        with playing(late) as (player, _):
            player.play(message(1))
            player.wait_for_room(on)
            player.play(message(2))
            asked: list[bool] = []

            def go_on() -> bool:
                asked.append(late.gate.is_set())
                late.gate.set()
                return True

            player.wait_for_room(go_on)
            assert asked[0] is False
            assert player.finish(on) == 0
        assert len(late.seen) == 2

    def test_who_is_stopped_does_not_wait(self) -> None:
        late = Late()
        with playing(late) as (player, _):
            player.play(message(1))
            player.play(message(2))
            assert player.finish(lambda: False) >= 1
            late.gate.set()

    def test_one_that_stands_still_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(player_module, "_PATIENCE", 0.0)
        late = Late()
        with playing(late) as (player, _):
            player.play(message(1))
            assert player.finish(on) == 1
            late.gate.set()

    def test_what_the_plugin_fires_from_its_queue_is_none_of_the_recording(self) -> None:
        class Talkative(Late):
            @hookimpl
            def on_startup(self, app: Any) -> None:
                self.app = app

            @hookimpl(timeout=None)
            def on_agent_delegated(self) -> None:
                self.app.callbacks.trigger("on_message", user_id="ana", message="fail inside", timestamp=NOON)

        talkative = Talkative()
        talkative.gate.set()
        delegated = Event("on_agent_delegated", {"user_id": "ana", "agent": "a", "intent": "i"}, 0)
        with playing(talkative) as (player, _):
            player.play(Recorded("events.jsonl:1", delegated))
            assert player.finish(on) == 0
            player.play(message(2, "fail"))
            assert player.finish(on) == 0
        assert [each.place for each in player.failures] == ["", "events.jsonl:2"]


def test_an_interrupt_passes() -> None:
    class Stopping:
        name = "shop"

        @hookimpl(timeout=None)
        def on_message(self) -> None:
            raise KeyboardInterrupt

    with playing(Stopping()) as (player, _):
        with pytest.raises(KeyboardInterrupt):
            player.play(message(1))
        assert player.place == ""
