"""Which arguments a callback gets, and what is refused when it is registered."""

# ruff: noqa: PLW0108 -- a lambda says which arguments it takes; what it calls does not

from __future__ import annotations

import functools
import inspect
import itertools
import types
from collections.abc import Callable
from typing import Any
from unittest.mock import AsyncMock, Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.callbacks.helpers import MESSAGE, NOW, plug, say
from thea_core import CallbackManager, RegistrationError, UnknownHookError, hookimpl, hookspec

Got = list[Any]


def positional(got: Got) -> Callable[..., Any]:
    return lambda user_id, message: got.append((user_id, message))


def in_another_order(got: Got) -> Callable[..., Any]:
    return lambda message, user_id: got.append((user_id, message))


def keyword_only(got: Got) -> Callable[..., Any]:
    return lambda *, message, user_id: got.append((user_id, message))


def positional_only(got: Got) -> Callable[..., Any]:
    return lambda message, user_id, /: got.append((user_id, message))


def mixed(got: Got) -> Callable[..., Any]:
    return lambda message, /, *, user_id: got.append((user_id, message))


def with_defaults(got: Got) -> Callable[..., Any]:
    return lambda user_id="nobody", message="nothing": got.append((user_id, message))


def with_a_default_of_its_own_first(got: Got) -> Callable[..., Any]:
    return lambda own=1, user_id="nobody", *, message: got.append((user_id, message))


def after_stars(got: Got) -> Callable[..., Any]:
    return lambda user_id, *rest, message: got.append((user_id, message, *rest))


def partial(got: Got) -> Callable[..., Any]:
    return functools.partial(lambda own, user_id, message: got.append((user_id, message)), "own")


def partial_by_keyword(got: Got) -> Callable[..., Any]:
    return functools.partial(lambda user_id, message, own: got.append((user_id, message)), own=1)


def method(got: Got) -> Callable[..., Any]:
    class Listener:
        def listen(self, user_id: str, message: str) -> None:
            got.append((user_id, message))

    return Listener().listen


def class_method(got: Got) -> Callable[..., Any]:
    class Listener:
        @classmethod
        def listen(cls, user_id: str, message: str) -> None:
            got.append((user_id, message))

    return Listener.listen


def static_method(got: Got) -> Callable[..., Any]:
    class Listener:
        @staticmethod
        def listen(user_id: str, message: str) -> None:
            got.append((user_id, message))

    return Listener().listen


def instance(got: Got) -> Callable[..., Any]:
    class Listener:
        def __call__(self, user_id: str, message: str) -> None:
            got.append((user_id, message))

    return Listener()


def decorated(got: Got) -> Callable[..., Any]:
    def listen(user_id: str, message: str) -> None:
        got.append((user_id, message))

    @functools.wraps(listen)
    def guarded(*args: Any, **kwargs: Any) -> None:
        listen(*args, **kwargs)

    return guarded


def decorated_asynchronous(got: Got) -> Callable[..., Any]:
    async def listen(user_id: str, message: str) -> None:
        got.append((user_id, message))

    @functools.wraps(listen)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        return listen(*args, **kwargs)

    return guarded


def asynchronous(got: Got) -> Callable[..., Any]:
    async def listen(user_id: str, message: str) -> None:
        got.append((user_id, message))

    return listen


def asynchronous_instance(got: Got) -> Callable[..., Any]:
    class Listener:
        async def __call__(self, user_id: str, message: str) -> None:
            got.append((user_id, message))

    return functools.partial(Listener())


SHAPES = [
    positional,
    in_another_order,
    keyword_only,
    positional_only,
    mixed,
    with_defaults,
    with_a_default_of_its_own_first,
    after_stars,
    partial,
    partial_by_keyword,
    method,
    class_method,
    static_method,
    instance,
    decorated,
    decorated_asynchronous,
    asynchronous,
    asynchronous_instance,
]


class TestArguments:
    @pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
    def test_a_callback_of_any_shape_gets_the_arguments_that_it_names(
        self, callbacks: CallbackManager, fire: Callable[..., None], shape: Callable[[Got], Callable[..., Any]]
    ) -> None:
        got: Got = []
        callbacks.register("on_message", shape(got))
        fire("on_message", **MESSAGE)
        assert got == [("ana", "hola")]

    def test_a_callback_may_name_nothing(self, callbacks: CallbackManager) -> None:
        got: Got = []
        callbacks.register("on_message", lambda: got.append("called"))
        say(callbacks)
        assert got == ["called"]

    def test_stars_get_nothing(self, callbacks: CallbackManager) -> None:
        got: Got = []
        callbacks.register("on_message", lambda *rest: got.append(rest))
        say(callbacks)
        assert got == [()]

    def test_double_stars_get_the_hooks_own_arguments_that_are_not_named_and_no_extras(
        self, callbacks: CallbackManager
    ) -> None:
        got: Got = []
        callbacks.register("on_message", lambda user_id, **rest: got.append(rest))
        say(callbacks, event_id="given", session_id="given")
        assert got == [{"message": "hola", "timestamp": NOW}]

    def test_double_stars_beside_a_named_extra_still_get_no_extra(self, callbacks: CallbackManager) -> None:
        got: Got = []
        callbacks.register("on_state_change", lambda event_id, **rest: got.append(sorted(rest)))
        callbacks.trigger("on_state_change", user_id="ana", old_state="idle", new_state="processing")
        assert got == [["new_state", "old_state", "user_id"]]

    def test_a_builtin_that_tells_its_arguments_is_a_callback(self, callbacks: CallbackManager) -> None:
        class Specs:
            @hookspec(collect=True)
            def measure(self, obj: object) -> int: ...

        callbacks.add_hookspecs(Specs)
        callbacks.register("measure", len)
        assert [each.value for each in callbacks.call("measure", obj="four")] == [4]

    @pytest.mark.parametrize("mock", [Mock(), AsyncMock()], ids=["sync", "async"])
    def test_a_mock_is_called_with_every_argument(self, callbacks: CallbackManager, mock: Mock) -> None:
        callbacks.register("on_message", mock)
        say(callbacks)
        mock.assert_called_once_with(**MESSAGE)

    def test_the_arguments_of_a_hook_may_have_the_names_of_builtins(self, callbacks: CallbackManager) -> None:
        class Specs:
            @hookspec(collect=True)
            def odd(self, type: str, len: int, next: int, BaseException: int) -> str: ...  # noqa: A002, N803

        callbacks.add_hookspecs(Specs)
        callbacks.register("odd", lambda type, len: f"{type}{len}")  # noqa: A006
        results = callbacks.call("odd", type="t", len=1, next=2, BaseException=3)
        assert [each.value for each in results] == ["t1"]


NAMES = st.sampled_from([*MESSAGE, "event_id", "own", "another"])


@st.composite
def signatures(draw: st.DrawFn) -> str:
    """Draw the parameters of a function, as Python writes them."""
    names = iter(draw(st.lists(NAMES, unique=True, max_size=6)))
    text = []
    defaults = False
    for kind, mark in (("only by position", "/"), ("either way", draw(st.sampled_from(["*", "*rest"])))):
        part = []
        for name in itertools.islice(names, draw(st.integers(0, 2))):
            defaults = defaults or draw(st.booleans())  # after a default all have one
            part.append(f"{name}='default'" if defaults else name)
        text += [*part, mark] if kind == "either way" or part else []
    by_keyword = [f"{name}='default'" if draw(st.booleans()) else name for name in names]
    if text[-1] == "*" and not by_keyword:
        text.pop()
    return ", ".join([*text, *by_keyword, *(["**more"] if draw(st.booleans()) else [])])


@given(signature=signatures())
def test_any_signature_is_either_refused_or_called_with_what_it_names(signature: str) -> None:
    callbacks, got = CallbackManager(history_size=0), []
    function = eval(f"lambda {signature}: got.append(locals())", {"got": got})
    parameters = inspect.signature(function).parameters
    offered = {**MESSAGE, "event_id": "e"}
    refused = ""
    try:
        callbacks.register("on_message", function)
    except RegistrationError as error:
        refused = str(error)
    if refused:
        needed = {name for name, each in parameters.items() if each.default is each.empty} - {"rest", "more"}
        assert needed - set(offered) or "only by position" in refused
        return
    say(callbacks, event_id="e")
    named = {name: offered.get(name, "default") for name in parameters if name not in ("rest", "more")}
    expected = dict(named)
    if "rest" in parameters:
        expected["rest"] = ()
    if "more" in parameters:
        expected["more"] = {name: value for name, value in MESSAGE.items() if name not in named}
    assert got == [expected]


def own_argument(user_id: str, colour: str) -> None: ...


def near_miss(userid: str) -> None: ...


async def async_generator(user_id: str) -> Any:
    yield


def generator(user_id: str) -> Any:
    yield


def by_position_after_its_own(own: int = 1, user_id: str = "", /) -> None: ...


class Listener:
    def listen(self, user_id: str) -> None: ...

    def without_self(user_id: str) -> None: ...  # noqa: N805

    def without_anything() -> None: ...


class GeneratorObject:
    def __call__(self, user_id: str) -> Any:
        yield


class AsyncGeneratorObject:
    async def __call__(self, user_id: str) -> Any:
        yield


REFUSED = [
    (own_argument, "asks for 'colour', which the hook has not", "name only arguments of the hook"),
    (near_miss, "asks for 'userid', which the hook has not (did you mean user_id?)", "name only arguments"),
    (async_generator, "is an async generator", "make it an 'async def' without 'yield'"),
    (AsyncGeneratorObject(), "is an async generator", "make it an 'async def' without 'yield'"),
    (functools.partial(async_generator), "is an async generator", "make it an 'async def' without 'yield'"),
    (generator, "is a generator, so its body would never run", "remove the 'yield', or mark it wrapper=True"),
    (GeneratorObject(), "is a generator, so its body would never run", "remove the 'yield'"),
    (Listener, "test_binding.Listener> is a class", "give an instance or a function (have you forgotten the '()'?"),
    (Listener.listen, "asks for 'self', which the hook has not", "name only arguments of the hook"),
    (Listener().without_self, "is a method without self", "write 'self' as its first argument"),
    (Listener().without_anything, "is a method without self", "write 'self' as its first argument"),
    (by_position_after_its_own, "takes 'user_id' only by position", "put the arguments of the hook first"),
    (dict.fromkeys, "asks for 'iterable', which the hook has not", "name only arguments of the hook"),
    (type("Silent", (), {"__call__": print, "__signature__": 3})(), "does not tell its arguments", "wrap it"),
    (17, "is no function but 17", "give a function, a method or another callable"),
]


class TestRefusals:
    @pytest.mark.parametrize(("function", "problem", "fix"), REFUSED, ids=[each[1] for each in REFUSED])
    def test_a_local_callback_that_does_not_fit_is_refused_with_place_hook_and_fix(
        self, callbacks: CallbackManager, function: Any, problem: str, fix: str
    ) -> None:
        with pytest.raises(RegistrationError) as caught:
            callbacks.register("on_message", function)
        text = str(caught.value)
        assert text.startswith("local callback: ")
        assert problem in text
        assert "the hook is: on_message(user_id, message, timestamp)\n" in text
        assert f"to do: {fix}" in text
        assert caught.value.plugin == "local"
        assert callbacks.chain("on_message") == []

    @pytest.mark.parametrize("function", [own_argument, functools.partial(own_argument), Listener().without_self])
    def test_it_names_file_and_line(self, callbacks: CallbackManager, function: Any) -> None:
        code = getattr(function, "func", function).__code__
        with pytest.raises(RegistrationError, match=f"at {__file__}:{code.co_firstlineno} "):
            callbacks.register("on_message", function)

    def test_it_names_file_and_line_of_a_callable_object(self, callbacks: CallbackManager) -> None:
        line = GeneratorObject.__call__.__code__.co_firstlineno
        with pytest.raises(RegistrationError, match=f"GeneratorObject at {__file__}:{line} "):
            callbacks.register("on_message", GeneratorObject())

    def test_a_plugins_callback_that_does_not_fit_names_plugin_and_distribution(
        self, callbacks: CallbackManager
    ) -> None:
        class Plugin:
            @hookimpl
            def on_message(self, userid: str) -> None: ...

        with pytest.raises(RegistrationError) as caught:
            plug(callbacks, Plugin())
        text = str(caught.value)
        assert text.startswith("plugin 'shop' (distribution thea-shop): ")
        assert f"Plugin.on_message at {__file__}:" in text
        assert "(did you mean user_id?)" in text
        assert caught.value.plugin == "shop"

    def test_a_plugins_method_without_self_is_refused(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl
            def on_message(user_id: str, message: str) -> None: ...  # noqa: N805

        with pytest.raises(RegistrationError, match=r"(?s)shop.*is a method without self.*make it a staticmethod"):
            plug(callbacks, Plugin())

    def test_a_plugins_async_generator_is_refused(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl
            async def on_message(self, user_id: str) -> Any:
                yield

        with pytest.raises(RegistrationError, match=r"shop.*is an async generator"):
            plug(callbacks, Plugin())

    def test_a_wrapper_that_is_no_generator_is_refused(self, callbacks: CallbackManager) -> None:
        class Plugin:
            @hookimpl(wrapper=True)
            def on_message(self, user_id: str) -> None: ...

        with pytest.raises(RegistrationError, match=r"(?s)shop.*is a wrapper but no generator.*to do: write one"):
            plug(callbacks, Plugin())

    @pytest.mark.parametrize("hook", ["pre_transition", "post_transition", "on_transition_error", "on_startup"])
    def test_wrappers_are_refused_for_transition_and_life_cycle_hooks(
        self, callbacks: CallbackManager, hook: str
    ) -> None:
        class Plugin:
            @hookimpl(wrapper=True, specname=hook)
            def around(self) -> Any:
                yield

        with pytest.raises(RegistrationError, match=r"(?s)is a wrapper of a .* hook.*only events and result hooks"):
            plug(callbacks, Plugin())

    def test_an_unknown_hook_is_refused_with_a_suggestion(self, callbacks: CallbackManager) -> None:
        with pytest.raises(UnknownHookError, match=r"no hook 'on_mesage' \(did you mean on_message\?\)") as caught:
            callbacks.register("on_mesage", print)
        assert caught.value.hook == "on_mesage"

    @pytest.mark.parametrize("priority", ["1", 1.0, None, True])
    def test_a_priority_is_a_whole_number(self, callbacks: CallbackManager, priority: Any) -> None:
        with pytest.raises(RegistrationError, match="priority must be a whole number"):
            callbacks.register("on_message", lambda: None, priority=priority)

    def test_a_transition_hook_takes_no_local_callback_and_names_the_engines_decorators(
        self, callbacks: CallbackManager
    ) -> None:
        with pytest.raises(RegistrationError, match=r"belongs to one engine; use @fsm\.pre_transition"):
            callbacks.register("pre_transition", lambda context: None)

    def test_a_life_cycle_hook_takes_no_local_callback(self, callbacks: CallbackManager) -> None:
        with pytest.raises(RegistrationError, match="only plugins have it"):
            callbacks.register("on_startup", lambda app: None)

    @pytest.mark.parametrize("limit", [0, -1, "2s", True, float("inf"), float("nan")])
    def test_a_time_limit_is_a_number_of_seconds(self, callbacks: CallbackManager, limit: Any) -> None:
        with pytest.raises(RegistrationError, match="register: timeout must be a number of seconds greater than 0"):
            callbacks.register("on_message", lambda: None, timeout=limit)


def test_a_module_may_be_a_plugin(callbacks: CallbackManager) -> None:
    got: Got = []
    module = types.ModuleType("hooks")
    module.on_message = hookimpl(lambda user_id: got.append(user_id))
    plug(callbacks, module)
    say(callbacks)
    assert got == ["ana"]
