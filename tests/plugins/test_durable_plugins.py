"""Plugins with durable delivery in an application: refused where the store keeps no events, ended with care."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.plugins.running import MESSAGE, Application, Recording
from thea_core.callbacks.steps import drive
from thea_core.errors import PluginError, PluginLoadError, StoreUnavailableError
from thea_core.markers import hookimpl
from thea_core.plugins.entries import PluginOptions
from thea_core.storage.memory import MemoryStore

PATIENCE = 60.0
NEVER = 3600.0

REFUSED = (
    'asks for the delivery "durable", and the store (Plain) keeps no events for plugins. Choose another delivery: '
    '[plugins.NAME] delivery = "background" or "inline"; or another store: [store] url'
)


class Plain(MemoryStore):
    """A store without an outbox."""

    outbox = None  # type: ignore[assignment]


class Durable(Recording):
    """A plugin that gets its events out of the store; it hangs in the first until it is let go."""

    delivery = "durable"

    def __init__(self, name: str = "durable", notes: list[Any] | None = None, *, hangs: bool = False) -> None:
        super().__init__(name, notes)
        self.heard = threading.Semaphore(0)
        self.go = threading.Event()
        if not hangs:
            self.go.set()

    @hookimpl
    def on_message(self, message: str) -> None:
        self.notes.append(("message", message))
        self.heard.release()
        assert self.go.wait(PATIENCE)


class Maker(Durable):
    """One that makes the store, too."""

    def __init__(self, store: Any) -> None:
        super().__init__("maker")
        self.offer = store

    @hookimpl
    def create_store(self, url: str) -> Any:
        return self.offer


class Stored(Application):
    """An application with a store, whose outbox it attaches as Thea does."""

    def __init__(self, *objects: object, store: type[MemoryStore] = MemoryStore, **options: Any) -> None:
        super().__init__(objects=objects, **options)
        self.store: Any = store(clock=self.clock)
        if self.store.outbox is not None:
            self.callbacks.attach_outbox(self.store.outbox)
            self.callbacks.start_couriers(NEVER)

    def say(self) -> None:
        super().say()
        self.callbacks.wake_couriers()

    @property
    def waiting(self) -> int:
        return len(self.store.outbox.list())


@pytest.fixture
def notes() -> list[Any]:
    return []


class TestStoreWithoutAnOutbox:
    def test_the_plugin_is_left_out_before_it_is_started_and_the_others_run(
        self, notes: list[Any], caplog: pytest.LogCaptureFixture
    ) -> None:
        app = Stored(Durable("shop", notes), Recording("plain"), store=Plain)
        app.start()
        assert app.states() == {"shop": "failed", "plain": "running"}
        assert f"cannot be started: its author {REFUSED.replace('NAME', 'shop')}" in app.reason("shop")
        assert app.reason("shop") in caplog.text
        assert notes == []
        app.close()

    def test_it_says_where_the_operator_has_asked_for_it(self) -> None:
        tables = {"plain": PluginOptions(delivery="durable")}
        app = Stored(Recording("plain"), store=Plain, tables=tables)
        app.start()
        assert "cannot be started: [plugins.plain] asks for the delivery" in app.reason("plain")
        app.close()

    def test_the_operators_word_replaces_the_authors(self, notes: list[Any]) -> None:
        app = Stored(Durable("shop", notes), store=Plain, tables={"shop": PluginOptions(delivery="inline")})
        app.start()
        app.say()
        assert notes == [("start", "shop"), ("message", "hola")]
        app.close()

    def test_one_that_is_required_keeps_the_application_from_starting(self) -> None:
        app = Stored(Durable("shop"), store=Plain, tables={"shop": PluginOptions(required=True)})
        with pytest.raises(PluginError, match="keeps no events for plugins"):
            app.start()
        app.close()

    def test_it_cannot_be_enabled_either(self) -> None:
        app = Stored(Recording("plain"), Durable("shop"), store=Plain)
        app.start()
        with pytest.raises(PluginLoadError, match="keeps no events for plugins"):
            app.plugins.enable("shop")
        assert app.states() == {"plain": "running", "shop": "failed"}
        app.close()

    def test_the_store_that_it_makes_itself_must_keep_its_events(self) -> None:
        app = Stored(Maker(Plain(clock=Application().clock)))
        drive(app.plugins.load())
        with pytest.raises(StoreUnavailableError, match='its delivery is "durable", and the store that it returned'):
            drive(app.plugins.make_store("x:", app))
        app.close()

    def test_one_that_was_started_for_its_store_is_shut_down_where_another_store_is_taken(self) -> None:
        maker = Maker(None)
        app = Stored(maker, store=Plain)
        drive(app.plugins.load())
        assert drive(app.plugins.make_store("x:", app)) is None
        drive(app.plugins.start(app))
        assert app.states() == {"maker": "failed"}
        assert [each[0] for each in maker.notes] == ["start", "stop"]
        app.say()
        assert maker.notes[2:] == []
        app.close()


class TestRunning:
    def test_a_maker_whose_store_keeps_its_events_runs(self) -> None:
        app = Stored()
        maker = Maker(app.store)
        app = Stored(maker)
        drive(app.plugins.load())
        app.store = drive(app.plugins.make_store("x:", app))
        assert app.store is maker.offer
        drive(app.plugins.start(app))
        assert app.states() == {"maker": "running"}
        app.close()

    def test_it_gets_its_events_out_of_the_store(self) -> None:
        shop = Durable("shop")
        app = Stored(shop)
        app.start()
        assert app.callbacks.durable_plugins == ["shop"]
        app.say()
        assert shop.heard.acquire(timeout=PATIENCE)
        assert app.callbacks.flush(PATIENCE) == 0
        assert app.waiting == 0
        app.close()

    def test_the_operator_says_how_often_it_is_tried(self) -> None:
        class Failing(Durable):
            @hookimpl
            def on_message(self) -> None:
                raise ValueError("no")

        app = Stored(Failing("shop"), tables={"shop": PluginOptions(max_attempts=1)})
        app.start()
        app.say()
        app.callbacks.flush(PATIENCE)
        assert [each.parked for each in app.store.outbox.list()] == [True]
        app.close()

    def test_switched_off_it_settles_what_is_under_way_and_keeps_the_rest_for_later(self) -> None:
        shop = Durable("shop", hangs=True)
        app = Stored(shop)
        app.start()
        app.callbacks.trigger("on_message", **{**MESSAGE, "message": "one"})
        app.callbacks.trigger("on_message", **{**MESSAGE, "message": "two"})
        app.callbacks.wake_couriers()
        assert shop.heard.acquire(timeout=PATIENCE)
        ended = threading.Event()

        def disable() -> None:
            app.plugins.disable("shop", timeout=PATIENCE)
            ended.set()

        thread = threading.Thread(target=disable)
        thread.start()
        assert not ended.is_set()
        shop.go.set()
        thread.join(PATIENCE)
        assert ended.is_set()
        assert (app.waiting, app.states()) == (1, {"shop": "disabled"})
        assert [each[0] for each in shop.notes] == ["start", "message", "stop"]
        app.callbacks.trigger("on_message", **MESSAGE)
        assert app.waiting == 1  # who is switched off gets no new ones
        app.plugins.enable("shop")
        assert shop.heard.acquire(timeout=PATIENCE)
        assert shop.notes[-1] == ("message", "two")
        app.close()

    def test_a_delivery_that_hangs_at_the_end_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        shop = Durable("shop", hangs=True)
        app = Stored(shop)
        app.start()
        app.say()
        assert shop.heard.acquire(timeout=PATIENCE)
        drive(app.plugins.shutdown(0.1))
        assert "a delivery to the plugin 'shop' is still under way; its event is delivered again" in caplog.text
        shop.go.set()
        app.callbacks.close(PATIENCE)
