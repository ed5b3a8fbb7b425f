"""Many conversations at once: whose error is whose, and what belongs to the host stays the host's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import sentry_sdk

from thea_core import IntentMatch, hookimpl

USERS = ["ana", "bea", "carla", "dora"]


class Meeting:
    """An agent that fails when all users are within it: their turns interleave."""

    name = "meeting"
    intents = ("meet",)

    @hookimpl
    def provide_agents(self):
        return [self]

    @hookimpl
    def detect_intents(self, message, context):
        return [IntentMatch("meet", 1.0)]


class InThreads(Meeting):
    def __init__(self):
        self.barrier = threading.Barrier(len(USERS), timeout=30)

    def handle(self, message, context, turn):
        self.barrier.wait()
        raise ValueError(turn.user_id)


class InTasks(Meeting):
    def __init__(self):
        self.here = 0
        self.all_here = asyncio.Event()

    async def handle(self, message, context, turn):
        self.here += 1
        if self.here == len(USERS):
            self.all_here.set()
        await asyncio.wait_for(self.all_here.wait(), 30)
        raise ValueError(turn.user_id)


def check(events):
    """Each event is of one user: the length of each one's messages is the number of the user."""
    assert sorted(each.json["user"]["id"] for each in events) == USERS
    for each in events:
        lengths = {
            crumb["data"]["length"]
            for crumb in each.json["breadcrumbs"]["values"]
            if crumb["category"] == "thea.message"
        }
        assert lengths == {USERS.index(each.json["user"]["id"]) + 1}
        assert each.json["exception"]["values"][0]["value"] == each.json["user"]["id"]


def message(user):
    return "x" * (USERS.index(user) + 1)


SETTINGS = {"send_user": "always", "include_error_text": True}


class TestInterleaved:
    def test_in_threads(self, sentry, assistant, host):
        with host(), assistant(InThreads(), **SETTINGS) as thea, ThreadPoolExecutor(len(USERS)) as pool:
            list(pool.map(lambda user: thea.handle_request(user, message(user)), USERS))
        check(sentry.events)

    def test_in_tasks(self, sentry, assistant, host):
        async def talk():
            async with assistant(InTasks(), **SETTINGS) as thea:
                await asyncio.gather(*(thea.ahandle_request(user, message(user)) for user in USERS))

        with host():
            asyncio.run(talk())
        check(sentry.events)

    def test_with_a_client_of_the_plugins_own(self, sentry, assistant):
        with assistant(InThreads(), **SETTINGS) as thea, ThreadPoolExecutor(len(USERS)) as pool:
            list(pool.map(lambda user: thea.handle_request(user, message(user)), USERS))
        check(sentry.events)


class TestHost:
    @pytest.fixture(params=["sync", "async"])
    def talk(self, request):
        """Handle a message in one of both ways."""

        def sync(thea):
            with thea:
                thea.handle_request("ana", "hola")

        def run(thea):
            async def within():
                async with thea:
                    await thea.ahandle_request("ana", "hola")

            asyncio.run(within())

        return {"sync": sync, "async": run}[request.param]

    def test_its_scopes_are_seen_from_the_plugins_thread(self, sentry, assistant, failing, host, talk):
        """The plugin's callbacks have a time limit, and so run on another thread."""
        threads = []
        with host(before_send=lambda event, hint: threads.append(threading.current_thread()) or event):
            sentry_sdk.set_tag("request", "r1")
            sentry_sdk.add_breadcrumb(category="host", message="before")
            with sentry_sdk.new_scope() as scope:
                scope.set_tag("inner", "i1")
                talk(assistant(failing()))
        (event,) = (each.json for each in sentry.events)
        assert event["tags"] == {
            "request": "r1",
            "inner": "i1",
            "thea.event": "error",
            "thea.state": "executing",
        }
        categories = [each["category"] for each in event["breadcrumbs"]["values"]]
        assert categories[:2] == ["host", "thea.message"]
        assert threads
        assert threads[0] is not threading.main_thread()

    def test_its_next_event_knows_nothing_of_thea(self, sentry, assistant, failing, host):
        with host(), assistant(failing()) as thea:
            sentry_sdk.set_tag("request", "r1")
            thea.handle_request("ana", "hola")
            sentry_sdk.capture_message("own")
        own = sentry.events[-1].json
        assert own["tags"] == {"request": "r1"}
        assert "thea" not in own["contexts"]
        assert "user" not in own
        assert "breadcrumbs" not in own or own["breadcrumbs"]["values"] == []

    def test_its_user_stays(self, sentry, assistant, failing, host):
        with host(), assistant(failing()) as thea:
            sentry_sdk.set_user({"username": "operator"})
            thea.handle_request("ana", "hola")
        assert sentry.events[0].json["user"] == {"username": "operator"}

    def test_a_user_of_whom_only_the_address_is_known_is_named(self, sentry, assistant, failing, host):
        with host(data_collection={}), assistant(failing()) as thea:
            sentry_sdk.set_user({"ip_address": "192.0.2.1"})
            thea.handle_request("ana", "hola")
        assert sentry.events[0].json["user"] == {"ip_address": "192.0.2.1", "id": "ana"}

    def test_its_before_breadcrumb_counts(self, sentry, assistant, failing, host):
        def drop(crumb, hint):
            return None if crumb["category"] == "thea.state" else crumb

        with host(before_breadcrumb=drop), assistant(failing()) as thea:
            thea.handle_request("ana", "hola")
        assert {each["category"] for each in sentry.events[0].json["breadcrumbs"]["values"]} == {"thea.message"}

    def test_its_before_breadcrumb_may_fail_and_change_what_it_gets(self, sentry, assistant, failing, host):
        def spoil(crumb, hint):
            crumb["data"].clear()
            raise RuntimeError

        with host(before_breadcrumb=spoil), assistant(failing()) as thea:
            thea.handle_request("ana", "hola")
            thea.handle_request("ana", "hola")
        assert len(sentry.events) == 2

    def test_one_that_takes_for_ever_holds_nobody_up(self, sentry, failing, host):
        """Code of the host runs under the time limit of the plugin."""
        from thea_core import Thea
        from thea_sentry import SentryPlugin

        never = threading.Event()
        config = {"store": {"url": "memory:"}, "callbacks": {"timeout": "200ms"}}
        with host(before_send=lambda event, hint: event if event.get("logger") else never.wait(60) and None):
            with Thea(config, plugins=[SentryPlugin(), failing()]) as thea:
                assert not thea.handle_request("ana", "hola").ok
                outcomes = [each.outcome for each in thea.callbacks.history if each.hook == "on_error"]
            never.set()
        assert outcomes == ["timeout"]


class TestWhoTheUserIs:
    @pytest.mark.parametrize(
        ("send_user", "options", "raw"),
        [
            ("auto", {}, False),
            ("auto", {"data_collection": {}}, True),
            ("auto", {"data_collection": {"user_info": False}}, False),
            ("always", {}, True),
            ("always", {"data_collection": {"user_info": False}}, True),
        ],
    )
    def test_the_client_that_sends_decides(self, sentry, assistant, failing, *, send_user, options, raw):
        with assistant(failing(), send_user=send_user, sentry_options=options) as thea:
            thea.handle_request("ana", "hola")
        (event,) = sentry.events
        assert (event.json["user"] == {"id": "ana"}) is raw
        assert (b'"ana"' in event.body) is raw
        assert len(event.json["user"]["id"]) == (3 if raw else 16)

    def test_nobody_where_none_is_wanted(self, sentry, assistant, failing):
        with assistant(failing(), send_user="never", sentry_options={"data_collection": {}}) as thea:
            thea.handle_request("ana", "hola")
        assert "user" not in sentry.events[0].json

    def test_one_user_has_one_hash_and_another_another(self, sentry, assistant, failing):
        with assistant(failing()) as thea:
            for user in ("ana", "ana", "bea"):
                thea.handle_request(user, "hola")
        first, second, third = (each.json["user"]["id"] for each in sentry.events)
        assert first == second != third
