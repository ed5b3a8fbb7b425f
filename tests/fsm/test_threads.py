"""One engine serves every thread, task and user, whatever is registered meanwhile."""

from __future__ import annotations

import asyncio
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.fsm.machine import BrokenError, Machine, context, plug
from thea_core import CallbackLimitError, Context, FSMEngine, ValidationError, hookimpl

PATH = ("processing", "executing", "completion", "idle")


ENDINGS = {0: BrokenError("shared by all"), 1: ValidationError("shared by all")}


class Stamp:
    """A plugin that leaves its name in each context."""

    def __init__(self, name: str) -> None:
        self.name = name

    @hookimpl
    def pre_transition(self, context: Context) -> Context:
        return {**context, "stamps": [*context.get("stamps", ()), self.name]}

    @hookimpl
    async def post_transition(self, context: Context) -> Context:
        await asyncio.sleep(0)
        return {**context, "stamps": [*context.get("stamps", ()), self.name]}


def walk(fsm: FSMEngine, number: int, rounds: int) -> Context:
    """Take one user through the states; every step must be whole, and only of this user."""
    mine = {"user_id": f"user {number}", "state": "initial", "deep": {"steps": []}}
    for _ in range(rounds):
        for target in PATH:
            steps = list(mine["deep"]["steps"])
            before = mine
            mine = fsm.handle(target, before)
            assert before["deep"]["steps"] == steps
            assert mine["deep"]["steps"] == [*steps, f"user {number}"]
            assert (mine["user_id"], mine["state"]) == (f"user {number}", target)
        mine["deep"]["steps"].clear()
    return mine


def test_eight_threads_handle_while_callbacks_come_and_go() -> None:
    fsm = Machine(max_callbacks=200)
    fsm.pre_transition()(lambda ctx: ctx["deep"]["steps"].append(ctx["user_id"]))
    stop = threading.Event()
    start = threading.Barrier(9)
    changes = []

    def meddle() -> None:
        start.wait()
        dice = random.Random(7)
        for number in range(60):
            if stop.is_set() and changes:  # the others may be through before this thread has its first turn
                return
            fsm.callbacks.publish_plugins(
                fsm.callbacks.bind_plugin(Stamp(f"{number}{one}"), f"{number}{one}", source=3, position=0)
                for one in "ab"
            )
            fsm.post_transition(dice.choice(PATH))(lambda ctx: ctx.update(late=True))
            with fsm.callbacks.register("on_state_change", lambda: None):
                changes.append(number)
            for one in "ab":
                fsm.callbacks.withdraw_plugin(f"{number}{one}")

    def run(number: int) -> Context:
        start.wait()
        return walk(fsm, number, 40)

    with ThreadPoolExecutor(9) as pool:
        meddler = pool.submit(meddle)
        users = [pool.submit(run, number) for number in range(8)]
        assert [user.result()["state"] for user in users] == ["idle"] * 8
        stop.set()
        meddler.result()
    assert changes
    assert len(fsm.changes) == 8 * 40 * len(PATH)
    assert {(user, old, new) for user, old, new in fsm.changes if new == "executing"} == {
        (f"user {number}", "processing", "executing") for number in range(8)
    }
    fsm.callbacks.close()


def test_several_plugins_are_published_in_one_step() -> None:
    """No transition sees one of them without the other."""
    fsm = FSMEngine()
    stop = threading.Event()
    seen: set[tuple[str, ...]] = set()

    class Plain:
        def __init__(self, name: str) -> None:
            self.name = name

        @hookimpl
        def pre_transition(self, context: Context) -> Context:
            return {**context, "stamps": [*context["stamps"], self.name]}

    def watch() -> None:
        while not stop.is_set():
            seen.add(tuple(fsm.handle("processing", context(stamps=[]))["stamps"]))

    with ThreadPoolExecutor(2) as pool:
        watchers = [pool.submit(watch) for _ in range(2)]
        pairs = [(f"{number}a", f"{number}b") for number in range(30)]
        for pair in pairs:
            fsm.callbacks.publish_plugins(
                [fsm.callbacks.bind_plugin(Plain(name), name, source=3, position=0) for name in pair]
            )
        stop.set()
        for watcher in watchers:
            watcher.result()
    assert all(len(each) % 2 == 0 for each in seen)


def test_five_of_many_that_register_at_once_are_taken() -> None:
    fsm = FSMEngine()
    start = threading.Barrier(8)

    def register(_: int) -> int:
        start.wait()
        try:
            fsm.pre_transition("processing")(lambda ctx: ctx.update(count=ctx.get("count", 0) + 1))
        except CallbackLimitError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(register, range(8))) == 5
    assert fsm.handle("processing", context())["count"] == 5


def test_tasks_of_one_loop_do_not_mix(fsm: Machine) -> None:
    @fsm.pre_transition()
    async def slow(ctx: Context) -> None:
        number = ctx["number"]
        for _ in range(number % 3):
            await asyncio.sleep(0)
        if number % 5 in ENDINGS:
            raise ENDINGS[number % 5]
        ctx["deep"]["seen"].append(ctx["number"])

    async def turn(number: int) -> Context:
        given = context(number=number, deep={"seen": []})
        try:
            return await fsm.ahandle("processing", given)
        except BrokenError as error:
            return await fsm.aon_error(error, given)
        except ValidationError:
            return given

    async def main() -> list[Context]:
        return await asyncio.gather(*map(turn, range(60)))

    states = {0: "error_handler", 1: "initial"}
    assert asyncio.run(main()) == [
        context(
            states.get(number % 5, "processing"), number=number, deep={"seen": [number] * (number % 5 not in ENDINGS)}
        )
        for number in range(60)
    ]
    assert len(fsm.errors) == 12


def test_an_engine_is_shared_by_a_plugin_that_is_used_twice() -> None:
    one, other = Machine(), Machine()
    stamp = Stamp("both")
    plug(one.callbacks, stamp, "stamp")
    plug(other.callbacks, stamp, "stamp")
    assert one.handle("processing", context())["stamps"] == ["both", "both"]
    assert other.handle("processing", context())["stamps"] == ["both", "both"]
    one.callbacks.close()
    other.callbacks.close()


@pytest.mark.parametrize("kind", ["shared", "own"])
def test_threads_with_loops_of_their_own_share_an_engine(fsm: Machine, kind: str) -> None:
    @fsm.pre_transition()
    async def note(ctx: Context) -> None:
        await asyncio.sleep(0)
        ctx["seen"] = ctx["user_id"]

    fsm.plug(Stamp("plugin"))

    def run(number: int) -> str:
        given = {"user_id": f"user {number if kind == 'own' else 0}", "state": "initial"}
        result = asyncio.run(fsm.ahandle("processing", given))
        return str(result["seen"])

    with ThreadPoolExecutor(6) as pool:
        seen = list(pool.map(run, range(24)))
    assert seen == [f"user {number if kind == 'own' else 0}" for number in range(24)]
