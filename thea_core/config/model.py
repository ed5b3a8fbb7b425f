"""The typed configuration: every key with its kind, its default and its meaning, once.

The loader, the commented ``thea.toml`` of ``thea init`` and ``thea config show`` are all made from these fields.
Times are in seconds; a limit that ``"none"`` switches off is ``math.inf``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, cast

from thea_core.config.kinds import (
    Boolean,
    Choice,
    Duration,
    File,
    Integer,
    Kind,
    Limit,
    Names,
    Number,
    SettingsTable,
    Text,
    TextsTable,
    TransitionsTable,
    Url,
)
from thea_core.config.masking import MASK, KeyPath, masked
from thea_core.config.tree import DEFAULT, Origin

__all__ = [
    "RESERVED_NAMES",
    "CallbacksConfig",
    "Config",
    "ConversationConfig",
    "FSMConfig",
    "Key",
    "PluginConfig",
    "PluginSettings",
    "PluginsConfig",
    "Section",
    "SessionsConfig",
    "StoreConfig",
    "keys_of",
    "sections_of",
]

RESERVED_NAMES = frozenset({"enabled", "modules", "startup_timeout"})
"""The keys of ``[plugins]`` itself; no plugin can have such a name."""


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key.

    Attributes:
        kind: the kind of its values.
        meaning: one or two sentences for the person who writes the file.
    """

    kind: Kind
    meaning: str


def _key(kind: Kind, meaning: str) -> dict[str, Key]:
    return {"key": Key(kind, meaning)}


def _hidden() -> Any:
    return field(default=frozenset(), compare=False, kw_only=True)


class Section:
    """A table of the configuration. Its repr shows no secret; immutable, so safe from any thread.

    Attributes:
        hidden: the paths, counted from this table, of what came from ``"${NAME}"`` and is never shown.
    """

    hidden: frozenset[KeyPath]

    def shown(self, name: str) -> Any:
        """Return the value of one key as it is written in TOML, ``***`` in place of secrets."""
        if (name,) in self.hidden:
            return MASK
        value = getattr(self, name)
        shown = None if value is None else keys_of(type(self))[name].kind.show(value)
        return masked(shown, self.hidden, (name,))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={self.shown(name)!r}" for name in keys_of(type(self)))
        return f"{type(self).__name__}({values})"


def keys_of(section: type[Section]) -> dict[str, Key]:
    """Return the keys of a table, in the order in which they are documented."""
    return {each.name: each.metadata["key"] for each in fields(cast("Any", section)) if "key" in each.metadata}


def _languages() -> Iterable[str]:
    from thea_core.conversation.texts import LANGUAGES

    return LANGUAGES


@dataclass(frozen=True, repr=False)
class StoreConfig(Section):
    """``[store]``: where conversations are kept. Times are in seconds."""

    url: str = field(
        default="sqlite:///thea.db",
        metadata=_key(
            Url(example='"sqlite:///thea.db"'),
            "Where conversations are kept: sqlite:///FILE, postgresql://HOST/DATABASE, memory: (lost with the "
            "process), or what a plugin offers.",
        ),
    )
    message_ids: float = field(
        default=604800.0,
        metadata=_key(
            Duration(example='"7d"'),
            "How long a handled message id is remembered; the same id again gets the same reply and does nothing.",
        ),
    )
    hidden: frozenset[KeyPath] = _hidden()


@dataclass(frozen=True, repr=False)
class SessionsConfig(Section):
    """``[sessions]``: when a session ends. Times are in seconds."""

    timeout: float = field(
        default=1800.0, metadata=_key(Duration(example='"30m"'), "A session ends after this long without a message.")
    )
    sweep_interval: float = field(
        default=30.0, metadata=_key(Duration(example='"30s"'), "How often expired sessions are looked for.")
    )
    hidden: frozenset[KeyPath] = _hidden()


@dataclass(frozen=True, repr=False)
class ConversationConfig(Section):
    """``[conversation]``: how messages are understood and answered. Times are in seconds; ``math.inf`` is no limit."""

    language: str = field(
        default="en",
        metadata=_key(
            Choice(example='"en"', choices=_languages), "The language of the assistant's own texts: en or es."
        ),
    )
    min_score: float = field(
        default=0.5,
        metadata=_key(Number(example="0.5"), "An intent with a lower score, 0 to 1, is left to the fallback agent."),
    )
    ambiguity_margin: float = field(
        default=0.1,
        metadata=_key(Number(example="0.1"), "Intents whose scores are this close, 0 to 1, make the assistant ask."),
    )
    detect_timeout: float = field(
        default=2.0,
        metadata=_key(Limit(example='"2s"'), "How long a callback may take to find the intents of a message."),
    )
    agent_timeout: float = field(
        default=60.0,
        metadata=_key(Limit(example='"60s"'), "How long an agent may take to answer; then the turn ends in an error."),
    )
    max_message: int = field(
        default=65536,
        metadata=_key(Integer(example="65536", low=1, high=16 * 2**20), "The longest message, in bytes of UTF-8."),
    )
    texts: dict[str, Any] = field(
        default_factory=dict,
        metadata=_key(
            TextsTable(name="table", example='{ apology = "..." }'),
            "The assistant's texts by name, in place of those it comes with; a table en or es holds one language's.",
        ),
    )
    hidden: frozenset[KeyPath] = _hidden()

    def texts_for(self, language: str | None = None) -> dict[str, str]:
        """Return the configured texts for a language (None: the configured one); the language's own table wins."""
        own = self.texts.get(language or self.language, {})
        return {**{name: text for name, text in self.texts.items() if isinstance(text, str)}, **own}


@dataclass(frozen=True, repr=False)
class CallbacksConfig(Section):
    """``[callbacks]``: how callbacks are watched. Times are in seconds; ``math.inf`` is no limit."""

    timeout: float = field(
        default=2.0,
        metadata=_key(
            Limit(example='"2s"'),
            "How long a plugin's callback may take, unless its author or [plugins.NAME] timeout says otherwise; "
            "then the others go on without it.",
        ),
    )
    history_size: int = field(
        default=1000,
        metadata=_key(
            Integer(example="1000", low=0, high=10_000_000), "How many calls of hooks are kept; 0 keeps none."
        ),
    )
    breaker_failures: int = field(
        default=5,
        metadata=_key(
            Integer(example="5", low=1, high=1_000_000),
            "After this many failures in a row, the callbacks that a plugin has of a hook are left out for a while.",
        ),
    )
    breaker_seconds: float = field(
        default=30.0,
        metadata=_key(
            Duration(example='"30s"'),
            "How long they are left out then; after it one call is a try, and each try that fails doubles the time, "
            "up to 10 minutes.",
        ),
    )
    record: str | None = field(
        default=None,
        metadata=_key(
            File(example='"calls.jsonl"'),
            "The file in which the calls of hooks are written down, for thea history and thea plugins list; "
            "without it, they are not.",
        ),
    )
    hidden: frozenset[KeyPath] = _hidden()


@dataclass(frozen=True, repr=False)
class FSMConfig(Section):
    """``[fsm]``: the state machine, where the default one is not wanted."""

    initial: str = field(
        default="initial", metadata=_key(Text(example='"initial"'), "The state in which a conversation begins.")
    )
    error: str = field(
        default="error_handler", metadata=_key(Text(example='"error_handler"'), "The state after an error.")
    )
    final: list[str] = field(
        default_factory=list,
        metadata=_key(
            Names(example="[]", what="the name of a state", pattern=r".*\S.*"),
            "States that may have no transition to another one.",
        ),
    )
    states: list[str] = field(
        default_factory=list,
        metadata=_key(
            Names(example='["initial", "processing"]', what="the name of a state", pattern=r".*\S.*"),
            "All states, where the transitions are to be checked against a list; empty: no such check.",
        ),
    )
    max_callbacks: int = field(
        default=5,
        metadata=_key(
            Integer(example="5", low=1, high=1000), "The most local callbacks for one state, before it and after it."
        ),
    )
    transitions: dict[str, list[str]] | None = field(
        default=None,
        metadata=_key(
            TransitionsTable(example='{ initial = ["processing"] }'),
            'The states that may follow each state, and under "*" those that may follow any; '
            "without it, the default state machine is used.",
        ),
    )
    hidden: frozenset[KeyPath] = _hidden()

    def definition(self) -> dict[str, Any] | None:
        """Return what defines the state machine, as plain values; None where the default one is meant."""
        if self == FSMConfig(max_callbacks=self.max_callbacks):
            return None
        plain: dict[str, Any] = {"initial": self.initial, "error": self.error, "final": list(self.final)}
        if self.states:
            plain["states"] = list(self.states)
        if self.transitions is not None:
            plain["transitions"] = {state: list(targets) for state, targets in self.transitions.items()}
        return plain


class PluginSettings(Mapping[str, Any]):
    """The raw settings of one plugin: a mapping whose repr shows no text, for which is secret only the plugin knows."""

    __slots__ = ("_data", "hidden")

    def __init__(self, data: Mapping[str, Any], hidden: Collection[KeyPath] = ()) -> None:
        self._data = dict(data)
        self.hidden = frozenset(hidden)

    def __getitem__(self, key: str) -> Any:
        return self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __repr__(self) -> str:
        return repr(self.outline())

    def plain(self) -> dict[str, Any]:
        """Return the values as they are, secrets and all; to be validated, not to be printed."""
        return dict(self._data)

    def shown(self, hidden: Collection[KeyPath] = ()) -> dict[str, Any]:
        """Return a copy with ``***`` for each secret; ``hidden`` are paths of more secrets."""
        return cast("dict[str, Any]", masked(self._data, self.hidden | set(hidden), by_name=True))

    def outline(self) -> dict[str, Any]:
        """Return a copy with ``***`` for all but numbers and booleans, whether or not it is known to be a secret."""
        return {key: _outline(value) for key, value in self.shown().items()}


def _outline(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _outline(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_outline(each) for each in value]
    return value if isinstance(value, int | float) else MASK


@dataclass(frozen=True, repr=False)
class PluginConfig(Section):
    """``[plugins.NAME]``: what the core needs to know of one plugin. Times are in seconds.

    Where ``timeout`` or ``delivery`` is None, nothing is said of it; a ``timeout`` of ``math.inf`` is no limit.
    """

    priority: int | None = field(
        default=None,
        metadata=_key(
            Integer(example="100"), "Replaces the priority of all of the plugin's callbacks; higher runs first."
        ),
    )
    timeout: float | None = field(
        default=None,
        metadata=_key(
            Limit(example='"500ms"'),
            "How long each of the plugin's callbacks may take, whatever its author and [callbacks] timeout say.",
        ),
    )
    delivery: str | None = field(
        default=None,
        metadata=_key(
            Choice(example='"background"', choices=lambda: ("inline", "background", "durable")),
            "How the plugin gets events: inline runs it in the call, background on a queue of its own, for which "
            "nobody waits, durable out of the store, after the commit, at least once; without it, as the plugin's "
            "author chose.",
        ),
    )
    required: bool = field(
        default=False,
        metadata=_key(
            Boolean(example="true"), "Whether the application refuses to start when the plugin cannot be loaded."
        ),
    )
    on_failure: str = field(
        default="contain",
        metadata=_key(
            Choice(example='"contain"', choices=lambda: ("contain", "veto")),
            "What a failure in a transition hook does: contain goes on without the plugin, veto refuses the transition "
            "(the plugin is a guard, and required).",
        ),
    )
    queue_size: int = field(
        default=2048,
        metadata=_key(
            Integer(example="2048", low=1, high=10_000_000),
            "The most events that wait in its queue; a full queue drops the newest, and counts it.",
        ),
    )
    flush_interval: float = field(
        default=5.0,
        metadata=_key(
            Duration(example='"5s"'),
            "How often a plugin with a queue is told to send what it has gathered (on_flush); and how long a plugin "
            "with durable delivery may take for that, where it has no time limit.",
        ),
    )
    max_attempts: int = field(
        default=20,
        metadata=_key(
            Integer(example="20", low=1, high=1_000_000),
            "After so many failed deliveries an event of a durable plugin is set aside; thea outbox shows and retries "
            "those.",
        ),
    )
    settings: PluginSettings | None = field(
        default=None,
        metadata=_key(
            SettingsTable(example='{ dsn = "${SENTRY_DSN}" }'),
            "The plugin's own settings; its documentation names them.",
        ),
    )
    hidden: frozenset[KeyPath] = _hidden()

    def __post_init__(self) -> None:
        """Make a guard required, and settings given as a plain dict safe to print."""
        if self.on_failure == "veto":
            object.__setattr__(self, "required", True)
        if isinstance(self.settings, dict):
            object.__setattr__(self, "settings", PluginSettings(self.settings))

    def shown(self, name: str) -> Any:
        """Return the value of one key as it is written in TOML, ``***`` in place of secrets; settings in outline."""
        return self.settings.outline() if name == "settings" and self.settings is not None else super().shown(name)


@dataclass(frozen=True, repr=False)
class PluginsConfig(Section):
    """``[plugins]``: which plugins are enabled, and what is configured for each. Times are in seconds.

    Attributes:
        entries: what ``[plugins.NAME]`` says, by name; of disabled plugins too.
    """

    enabled: list[str] = field(
        default_factory=list,
        metadata=_key(
            Names(example='["logging"]', what="the name of a plugin", reserved=RESERVED_NAMES),
            "The plugins that run, by name; nothing else is imported.",
        ),
    )
    modules: list[str] = field(
        default_factory=list,
        metadata=_key(
            Names(example='["myapp.hooks"]', what="the dotted name of a module", pattern=r"[^\W\d]\w*(\.[^\W\d]\w*)*"),
            "Modules with hooks of one's own, without building a distribution.",
        ),
    )
    startup_timeout: float = field(
        default=10.0,
        metadata=_key(
            Limit(example='"10s"'),
            "How long a plugin may take to load, and to start; one that takes longer is left out.",
        ),
    )
    entries: dict[str, PluginConfig] = field(default_factory=dict)
    hidden: frozenset[KeyPath] = _hidden()

    def entry(self, name: str) -> PluginConfig:
        """Return what is configured for a plugin; the defaults where nothing is."""
        return self.entries.get(name) or PluginConfig()

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}, entries={self.entries!r})"


@dataclass(frozen=True)
class Config:
    """The whole configuration; ``Config()`` is all defaults. Immutable, safe from any thread; its repr shows no secret.

    Attributes:
        source: the file it was read from, absolute; None where there was none.
        origins: where each value that is no default came from; ask :meth:`origin`.
        deferred: what is wrong with the settings of plugins that are not enabled; told when one is enabled after all.
    """

    store: StoreConfig = field(default_factory=StoreConfig)
    sessions: SessionsConfig = field(default_factory=SessionsConfig)
    conversation: ConversationConfig = field(default_factory=ConversationConfig)
    callbacks: CallbacksConfig = field(default_factory=CallbacksConfig)
    fsm: FSMConfig = field(default_factory=FSMConfig)
    plugins: PluginsConfig = field(default_factory=PluginsConfig)
    source: Path | None = field(default=None, compare=False, kw_only=True)
    origins: Mapping[KeyPath, Origin] = field(default_factory=dict, repr=False, compare=False, kw_only=True)
    deferred: Mapping[str, list[str]] = field(default_factory=dict, repr=False, compare=False, kw_only=True)

    @classmethod
    def from_mapping(cls, data: Mapping[str, Any], *, environ: Mapping[str, str] | None = None) -> Config:
        """Make a configuration from plain values, of the shape of ``thea.toml``.

        ``Config.from_mapping({"plugins": {"enabled": ["logging"]}})``. No file is read and no ``THEA__`` variable
        counts; ``"${NAME}"`` is looked up in ``environ`` (None: the process's environment).

        Raises:
            ConfigError: with every problem found.
        """
        from thea_core.config.load import config_from_mapping

        return config_from_mapping(data, environ)

    def origin(self, *path: str | int) -> Origin:
        """Return where a value came from: ``config.origin("store", "url")``."""
        return self.origins.get(path, DEFAULT)


def sections_of() -> dict[str, type[Section]]:
    """Return the tables of a configuration, by name."""
    made: dict[str, Any] = {each.name: each.default_factory for each in fields(Config)}
    return {name: make for name, make in made.items() if isinstance(make, type) and issubclass(make, Section)}
