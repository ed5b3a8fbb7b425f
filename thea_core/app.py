"""Thea: the application, which puts the parts together and looks after their life."""

from __future__ import annotations

import logging
import math
import os
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from thea_core.callbacks import CallbackManager, flow
from thea_core.callbacks.forking import watch
from thea_core.callbacks.steps import adrive, drive
from thea_core.errors import LifeCycleError, ReentrancyError, error_text
from thea_core.fsm import Definition, FSMEngine
from thea_core.plugins.waiting import OnThread, Until

if TYPE_CHECKING:
    from datetime import datetime
    from types import TracebackType
    from typing import Self

    from thea_core.callbacks.record_file import RecordWriter
    from thea_core.callbacks.steps import Step, Steps
    from thea_core.callbacks.tape import Tape
    from thea_core.config import Config
    from thea_core.conversation.contexts import ContextManager
    from thea_core.conversation.router import CoreRouter
    from thea_core.conversation.sessions import SessionManager
    from thea_core.plugins.manager import PluginManager
    from thea_core.types import Clock, Reply, Store

__all__ = ["Thea"]

T = TypeVar("T")

logger = logging.getLogger("thea_core.app")

_GRACE = 0.1  # seconds that a part gets to come to its end where the deadline has passed already


class Thea:
    """An assistant: hooks, state machine, plugins, store and router, put together as the configuration says.

    ::

        with Thea({"store": {"url": "memory:"}}) as thea:  # or: async with; or: Thea.from_config("thea.toml")
            text, context = thea.handle_request("ana", "Agendar reunión")

    To make one reads, writes and starts nothing. Local callbacks may be registered on :attr:`callbacks` and :attr:`fsm`
    at once; :attr:`store`, :attr:`router`, :attr:`contexts` and :attr:`sessions` are there from the start on. An
    application is started once, by ``with``, ``async with`` or :meth:`start`, and closed once. Thread-safe; several in
    one process do not know of each other. A forked child goes on with what was started, with threads, loops and
    connections of its own.

    Args:
        config: a :class:`~thea_core.config.Config`, or a mapping of the same shape as ``thea.toml``; all defaults, if
            not given. No file is read: see :meth:`from_config`.
        plugins: plugins made by the application's own code: instances, or modules.
        store: where conversations are kept, in place of ``[store] url``. It is not closed with the application.
        environ: the environment: what ``"${NAME}"`` means, ``THEA_NO_PLUGINS``, ``THEA_WITHOUT_GUARDS``, and
            ``THEA_RECORD`` with its like. The process's own, if not given.
        no_plugins: start without any plugin; refused where a guard is enabled.
        without_guards: start without those guards that are switched off by ``no_plugins`` or cannot be started.
        worker: whether this process also ends expired sessions and delivers durable events; if not, that is left to
            others, such as ``thea worker``.
        clock: where time comes from.

    Raises:
        ConfigError: the configuration is wrong.
        DefinitionError: the state machine is not well formed.

    Attributes:
        config: the configuration.
        callbacks: calls the hooks.
        fsm: takes contexts from state to state.
        plugins: the plugins.
    """

    def __init__(
        self,
        config: Config | Mapping[str, Any] | None = None,
        *,
        plugins: Sequence[object] = (),
        store: Store | None = None,
        environ: Mapping[str, str] | None = None,
        no_plugins: bool = False,
        without_guards: bool = False,
        worker: bool = True,
        clock: Clock | None = None,
    ) -> None:
        from thea_core.config.operator import switch

        environ = os.environ if environ is None else environ
        self.config: Config = _config(config, environ)
        self.callbacks, self.fsm = _engine(self.config, clock)
        self.plugins: PluginManager = _plugins(
            self.config,
            self.fsm,
            plugins,
            no_plugins=no_plugins or switch(environ, "THEA_NO_PLUGINS"),
            without_guards=without_guards or switch(environ, "THEA_WITHOUT_GUARDS"),
        )
        self._tape = _tape(self.callbacks, environ)
        self._worker = worker
        self._given_store = store
        self._store: Store | None = store
        self._router: CoreRouter | None = None
        self._record: RecordWriter | None = None
        self._state = "new"
        self._lock = threading.Lock()
        self._turns: set[flow.Frame] = set()
        watch(self)

    @classmethod
    def from_config(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        plugins: Sequence[object] = (),
        store: Store | None = None,
        environ: Mapping[str, str] | None = None,
        no_plugins: bool = False,
        without_guards: bool = False,
        worker: bool = True,
        clock: Clock | None = None,
    ) -> Self:
        """Make an application from its configuration file.

        Args:
            path: the file; if not given, what ``THEA_CONFIG`` names, else ``thea.toml`` or ``[tool.thea]`` in the
                working directory, else defaults.
            plugins: plugins made by the application's own code.
            store: where conversations are kept, in place of ``[store] url``.
            environ: the environment; also the ``THEA__SECTION__KEY`` overrides.
            no_plugins: start without any plugin.
            without_guards: start without guards that are not to be had.
            worker: whether this process also ends expired sessions and delivers durable events.
            clock: where time comes from.

        Raises:
            ConfigError: the configuration is wrong; every problem is told, with the line and the edit that mends it.
            DefinitionError: the state machine is not well formed.
        """
        from pathlib import Path

        from thea_core.config import load_config

        environ = os.environ if environ is None else environ
        config = load_config(None if path is None else Path(path), environ=environ)
        return cls(
            config,
            plugins=plugins,
            store=store,
            environ=environ,
            no_plugins=no_plugins,
            without_guards=without_guards,
            worker=worker,
            clock=clock,
        )

    # Messages

    def handle_request(
        self, user_id: str, message: str, message_id: str | None = None, *, timestamp: datetime | None = None
    ) -> Reply:
        """Handle one message and return the reply; see :meth:`CoreRouter.handle_request`.

        Raises:
            LifeCycleError: the application is not running, or its plugins were shut down while the message was handled;
                nothing of it is stored then.
            InvalidRequestError, ReentrancyError, StoreError: as there.
        """
        turn = self._begin_turn()
        try:
            return self._running().handle_request(user_id, message, message_id, timestamp=timestamp)
        finally:
            self._end_turn(turn)

    async def ahandle_request(
        self, user_id: str, message: str, message_id: str | None = None, *, timestamp: datetime | None = None
    ) -> Reply:
        """Do the same as :meth:`handle_request`, from async code."""
        turn = self._begin_turn()
        try:
            return await self._running().ahandle_request(user_id, message, message_id, timestamp=timestamp)
        finally:
            self._end_turn(turn)

    # Parts that are there from the start on

    @property
    def store(self) -> Store:
        """Where conversations are kept."""
        return self._there(self._store, "store")

    @property
    def router(self) -> CoreRouter:
        """Takes messages, and gives replies."""
        return self._there(self._router, "router")

    @property
    def contexts(self) -> ContextManager:
        """Reads and writes the contexts of users."""
        return self._there(self._router, "contexts").contexts

    @property
    def sessions(self) -> SessionManager:
        """Begins, prolongs and ends sessions."""
        return self._there(self._router, "sessions").sessions

    # Life

    def start(self) -> None:
        """Open the record of calls, load the plugins, open the store, start the plugins, and the sweeper of sessions.

        Where it fails, all that was started is shut down again before the error is raised.

        Raises:
            LifeCycleError: it was started before.
            GuardRequiredError: a guard is left out, and nothing allows to do without.
            PluginError: a required plugin fails.
            StoreError: the store cannot be opened.
            DefinitionError: the state machine lacks a state that a turn needs.
        """
        drive(self._start())

    def astart(self) -> Coroutine[Any, Any, None]:
        """Do the same as :meth:`start`, from async code."""
        return adrive(self._start())

    def close(self, timeout: float = 5.0) -> None:
        """Bring everything to its end, under one deadline. Idempotent; what fails meanwhile is logged.

        New messages are refused, and those under way get half of the time. Then the sweeper is stopped; durable events
        that are due are handed over for at most half of the rest, and what is left of them stays in the store. The
        plugins are shut down, the last one first, event loops are stopped, and store and record are closed.

        Args:
            timeout: seconds in all.

        Raises:
            ReentrancyError: called within a hook or a turn of this application, for which it would have to wait.
        """
        drive(self._close(timeout))

    def aclose(self, timeout: float = 5.0) -> Coroutine[Any, Any, None]:
        """Do the same as :meth:`close`, from async code.

        A caller that is cancelled is let go; a thread does the rest, and another call waits for it.
        """
        return adrive(self._close(timeout))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await self.astart()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<Thea: {self._state}>"

    def after_fork_in_child(self) -> None:
        """Take a fresh lock, and forget the turns of the parent's threads."""
        self._lock = threading.Lock()
        self._turns = set()

    # Within

    def _begin_turn(self) -> flow.Frame:
        """Note that a message is being handled in this flow, before it is looked whether it may be."""
        turn = flow.enter(self)
        self._turns.add(turn)
        return turn

    def _end_turn(self, turn: flow.Frame) -> None:
        self._turns.discard(turn)
        flow.leave(turn)

    def _start(self) -> Steps[None]:
        with self._lock:
            if self._state != "new":
                raise LifeCycleError(f"this application is {self._state} already; it is started once: make a new one")
            self._state = "starting"
        frame = flow.enter(self)
        try:
            yield from self._bring_up()
            self._arrive()
        except GeneratorExit:  # nobody drives these steps any more
            drive(self._bring_down(0.0))
            raise
        except BaseException:
            yield from _to_the_end(self._bring_down(5.0))
            raise
        finally:
            flow.leave(frame)

    def _arrive(self) -> None:
        with self._lock:
            if self._state == "starting":
                self._state = "running"
                return
        raise LifeCycleError("the application was closed while it was being started")

    def _bring_up(self) -> Steps[None]:
        self._record = _record(self.config, self.callbacks)
        yield from self.plugins.load()
        if self._tape is not None:
            self._tape.attach(self.callbacks)
        if self._store is None:
            self._store = yield from self._open_store(self.config.store.url)
        self._router = _router(self.config, self.fsm, self._store)
        if self._store.outbox is not None:
            self.callbacks.attach_outbox(self._store.outbox)
        yield from self.plugins.start(self)
        if self._worker:
            self._router.sessions.start()
            self.callbacks.start_couriers()
        else:
            self._router.sessions.stop()

    def _open_store(self, url: str) -> Steps[Store]:
        from thea_core.storage import SCHEMES, open_store, scheme_of

        if scheme_of(url) not in SCHEMES:
            made = yield from self.plugins.make_store(url, self)
            if made is not None:
                return made
        return open_store(url, clock=self.callbacks.clock)

    def _close(self, timeout: float) -> Steps[None]:
        self._refuse_within()
        left = self._deadline(timeout)
        yield Until(lambda: self._state != "starting", left() / 2)
        with self._lock:
            before, self._state = self._state, "closed" if self._state == "closed" else "closing"
        if before in ("new", "running"):
            yield from _to_the_end(self._bring_down(left()))
        else:
            yield Until(lambda: self._state == "closed", left())

    def _bring_down(self, timeout: float) -> Steps[None]:
        self._state = "closing"
        left = self._deadline(timeout)
        try:
            if not (yield Until(lambda: not self._in_turns(), left() / 2)):
                _log("messages are still being handled while the application is closed")
            if self._router is not None:
                yield from self._end("the sweeper", self._router.close, left)
            yield from self._end("a delivery", self.callbacks.stop_couriers, lambda: left() / 2)
            if self._router is not None:
                self._router.end()
            yield from self.plugins.shutdown(left())
            yield from self._end("an event loop", lambda rest: self.callbacks.close(rest) == 0, left)
            if self._store is not None and self._given_store is None:
                yield from self._end("the store", lambda _rest: self._close_store(), left)
            if self._record is not None:
                yield from self._end("the record", self._record.close, left)
        finally:
            if self._tape is not None:
                self._tape.close()
            self._state = "closed"

    def _in_turns(self) -> bool:
        """Whether a message is being handled; the caller of one that was cancelled has gone, its turn has not."""
        return bool(self._turns) or (self._router is not None and self._router.running > 0)

    def _close_store(self) -> bool:
        if self._store is not None:
            self._store.close()
        return True

    @staticmethod
    def _end(what: str, function: Callable[[float], bool], left: Callable[[], float]) -> Steps[None]:
        """Bring one part to its end; ``function`` gets the seconds that it may take, and tells whether it was done."""
        rest = max(left(), _GRACE)
        outcome = yield OnThread(lambda: function(rest), rest + _GRACE, "thea-closing")
        done, error = outcome or (False, None)
        if error is not None:
            _log("%s could not be closed: %s: %s", what, type(error).__name__, error_text(error))
        elif not done:
            _log("%s did not come to its end in time; it is left behind", what)

    def _deadline(self, timeout: float) -> Callable[[], float]:
        """Return a function that tells the seconds left, never less than none."""
        now = self.callbacks.clock.monotonic_ns
        end = now() + round(timeout * 1_000_000_000)
        return lambda: max(0.0, (end - now()) / 1_000_000_000)

    def _refuse_within(self) -> None:
        within_turn = self._router is not None and self._router.runs_here
        if within_turn or not {self, self.fsm, *self.callbacks.hooks}.isdisjoint(flow.running_keys()):
            raise ReentrancyError(
                "the application cannot be closed within one of its turns, transitions or hooks, for whose end it "
                "would have to wait: close it from outside"
            )

    def _running(self) -> CoreRouter:
        if self._state != "running" or self._router is None:
            raise LifeCycleError(
                f"no message can be handled: the application is {_told(self._state)}; use it within "
                "'with Thea(...) as thea:', or between start() and close()"
            )
        return self._router

    def _there(self, part: T | None, name: str) -> T:
        if part is None:
            raise LifeCycleError(
                f"there is no {name} yet: the application is {_told(self._state)}; it comes with the start: "
                "'with Thea(...) as thea:'"
            )
        return part


def _config(config: Config | Mapping[str, Any] | None, environ: Mapping[str, str]) -> Config:
    from thea_core.config import Config

    if isinstance(config, Config):
        return config
    return Config() if config is None else Config.from_mapping(config, environ=environ)


def _engine(config: Config, clock: Clock | None) -> tuple[CallbackManager, FSMEngine]:
    table = config.fsm.definition()
    settings = config.callbacks
    callbacks = CallbackManager(
        history_size=settings.history_size,
        timeout=_limit(settings.timeout),
        timeouts={"detect_intents": _limit(config.conversation.detect_timeout)},
        breaker_failures=settings.breaker_failures,
        breaker_seconds=settings.breaker_seconds,
        clock=clock,
    )
    definition = None if table is None else Definition.from_mapping(table)
    return callbacks, FSMEngine(definition, callbacks=callbacks, max_callbacks=config.fsm.max_callbacks)


def _limit(seconds: float) -> float | None:
    """Return a time limit as the parts take it: None for none."""
    return None if seconds == math.inf else seconds


def _record(config: Config, callbacks: CallbackManager) -> RecordWriter | None:
    """Begin to write down the calls, where the configuration names a file for them."""
    from pathlib import Path

    if config.callbacks.record is None:
        return None
    from thea_core.callbacks.record_file import RecordWriter

    writer = RecordWriter(Path(config.callbacks.record), clock=callbacks.clock, redact=callbacks.failures.redact)
    writer.attach(callbacks)
    return writer


def _plugins(
    config: Config, fsm: FSMEngine, objects: Sequence[object], *, no_plugins: bool, without_guards: bool
) -> PluginManager:
    from thea_core.config.operator import Operator
    from thea_core.plugins.manager import PluginManager
    from thea_core.plugins.status import StatusFile

    operator = Operator(config)
    fsm.callbacks.failures.redact = partial(operator.redact, "")
    return PluginManager(
        fsm.callbacks,
        enabled=config.plugins.enabled,
        modules=config.plugins.modules,
        objects=objects,
        tables=operator.tables(),
        settings=operator.settings,
        redact=operator.redact,
        states=fsm.definition.states,
        no_plugins=no_plugins,
        without_guards=without_guards,
        startup_timeout=_limit(config.plugins.startup_timeout),
        status_file=None if config.source is None else StatusFile(config.source.parent),
    )


def _tape(callbacks: CallbackManager, environ: Mapping[str, str]) -> Tape | None:
    """Return what keeps the events, where the environment asks for it."""
    from thea_core.config.recording import recording

    wanted = recording(environ)
    if wanted is None:
        return None
    from thea_core.callbacks.privacy import Redaction
    from thea_core.callbacks.tape import Tape

    redaction = Redaction(
        key=wanted.key, messages=wanted.messages, user_ids=wanted.user_ids, secrets=callbacks.failures.redact
    )
    return Tape(wanted.path, redaction, wanted.limit)


def _router(config: Config, fsm: FSMEngine, store: Store) -> CoreRouter:
    from thea_core.conversation.router import CoreRouter

    conversation = config.conversation
    return CoreRouter(
        fsm,
        store=store,
        language=conversation.language,
        texts=conversation.texts_for(),
        min_score=conversation.min_score,
        ambiguity_margin=conversation.ambiguity_margin,
        max_message=conversation.max_message,
        agent_timeout=_limit(conversation.agent_timeout),
        session_timeout=config.sessions.timeout,
        sweep_interval=config.sessions.sweep_interval,
        message_ids=config.store.message_ids,
    )


def _to_the_end(steps: Steps[None], step: Step | None = None) -> Steps[None]:
    """Run steps, from ``step`` on; where whoever waits for them is cancelled or interrupted, a thread does the rest."""
    try:
        step = step or next(steps)
        while True:
            try:
                result = yield step
            except Exception as error:
                step = steps.throw(error)
            except BaseException:
                rest = partial(copy_context().run, drive, _to_the_end(steps, step))
                threading.Thread(target=rest, name="thea-closing", daemon=True).start()
                raise
            else:
                step = steps.send(result)
    except StopIteration:
        return


def _told(state: str) -> str:
    return {"new": "not started", "starting": "still being started", "closing": "being closed"}.get(state, state)


def _log(text: str, *arguments: object) -> None:
    with suppress(Exception):  # a handler or filter of the host's that raises stops nothing
        logger.warning(text, *arguments)
