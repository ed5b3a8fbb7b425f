"""What is wrong with plugins, and what to do: findings about one plugin, about the record of calls, about both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from thea_core.cli.output import duration, moment
from thea_core.cli.plugins.figures import is_running

if TYPE_CHECKING:
    from thea_core.callbacks.record_reader import PluginSummary, Trouble
    from thea_core.cli.plugins.figures import Figures
    from thea_core.cli.plugins.survey import Row, Survey
    from thea_core.plugins.inspection import HookInfo

__all__ = ["Finding", "findings_of", "general_findings"]

_NOT_LOADED = {"not installed": "not-installed", "conflict": "conflict", "does not fit": "does-not-fit"}
_OFTEN = 2  # slow calls; one may be the first, which imports what all others find


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was found.

    Attributes:
        plugin: the plugin's name; empty where it is about none.
        code: what kind of thing, in one word.
        text: what was found.
        todo: what to do; empty where the text says it, or nothing needs to be done.
        wrong: whether it is a problem; else it is only worth knowing.
    """

    plugin: str
    code: str
    text: str
    todo: str = ""
    wrong: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; what is empty is null."""
        return {name: value or None for name, value in asdict(self).items() if name != "wrong"}


def general_findings(survey: Survey) -> Iterator[Finding]:
    """Give what is to be said of no single plugin: of the configuration, the installation and the record."""
    if survey.known.error is not None:
        yield Finding(
            "",
            "configuration",
            f"no application starts with this configuration:\n{survey.known.error}",
            "mend it first: no plugin was loaded",
        )
    for problem in survey.found.problems:
        yield Finding("", "metadata", problem, wrong=False)
    if survey.known.config is not None:
        yield from _of_record(survey.figures)


def findings_of(row: Row, survey: Survey) -> Iterator[Finding]:
    """Give what is to be said of one plugin: whether it can run, what became of it, and what the record says."""
    yield from _of_configuration(row, survey)
    yield from _of_loading(row)
    yield from _of_last_run(row)
    yield from _of_breakers(row)
    if row.figures.summary is not None:
        yield from _of_calls(row, row.figures.summary)
    yield from _of_limits(row)


def _of_record(figures: Figures) -> Iterator[Finding]:
    if figures.error:
        yield Finding(
            "", "record", f"the record {figures.path} cannot be read: {figures.error}", "let this user read that file"
        )
    elif figures.path is None:
        yield Finding(
            "",
            "record",
            "no record is configured, so nothing is known of any call",
            '[callbacks] record = "calls.jsonl"',
            wrong=False,
        )
    elif figures.summary is None:
        yield Finding("", "record", f"the application has not written {figures.path} yet", wrong=False)
    if figures.summary is not None and figures.summary.lost:
        yield Finding(
            "",
            "lost",
            f"{_counted(figures.summary.lost, 'call')} missing in {figures.path}: they came faster than they could "
            "be written, or the file could not be written",
            "look for thea_core.callbacks in the application's log, and for room on the disk",
        )
    if figures.unreadable:
        yield Finding(
            "",
            "record",
            f"{_counted(figures.unreadable, 'line')} of {figures.path} not of a record: something else writes "
            "into it, or it is damaged",
            f"remove {figures.path}, and let nothing else write there",
        )


def _of_configuration(row: Row, survey: Survey) -> Iterator[Finding]:
    enabled = [each for each in survey.known.enabled if each in _names(row)]
    if len(enabled) > 1:
        yield Finding(
            row.name,
            "listed-twice",
            f"it is in [plugins] enabled under two names: {' and '.join(enabled)}",
            f"take {enabled[-1]!r} out",
        )
    namesakes = sorted(each.candidate.origin for each in survey.rows if each.name == row.name and each.source)
    if row.source and len(namesakes) > 1:
        yield Finding(
            row.name,
            "conflict",
            f"several plugins of this name are enabled: {' and '.join(namesakes)}",
            "rename one, or leave one out",
        )
    guard = row.entry is not None and row.entry.on_failure == "veto"
    if row.source and guard and survey.figures.path is None:
        yield Finding(
            row.name,
            "guard-without-record",
            'it is a guard (on_failure = "veto"): when it fails transitions are refused, and no record tells how often',
            '[callbacks] record = "calls.jsonl"',
        )
    if not row.source and row.candidate.value:
        yield Finding(row.name, "not-enabled", "it is not enabled", f"thea plugins enable {row.name}", wrong=False)


def _of_loading(row: Row) -> Iterator[Finding]:
    if row.inspection is not None:
        if row.inspection.error is not None:
            yield Finding(row.name, "does-not-load", row.inspection.error)
    elif row.status in _NOT_LOADED:
        todo = f"or switch it off: {_switch_off(row)}" if row.source else ""
        yield Finding(row.name, _NOT_LOADED[row.status], row.reason, todo)


def _of_last_run(row: Row) -> Iterator[Finding]:
    last = row.recorded
    if last is None or not row.source or row.inspection is None or row.inspection.error is not None:
        return
    if last.state == "failed":
        yield Finding(
            row.name,
            "left-out",
            f"the application has left it out at {moment(last.when)}: {last.reason}",
            f"it can be loaded now: start the application again to see whether it runs; {_blame(row)}",
        )
    elif last.state == "stopped" and last.reason:
        todo = "" if _switch_off(row) in last.reason else _blame(row)
        yield Finding(row.name, "shutdown", f"it was shut down badly at {moment(last.when)}: {last.reason}", todo)
    elif last.state == "disabled":
        text = f"the application runs without it, since {moment(last.when)}"
        yield Finding(row.name, "disabled", f"{text}: {last.reason}" if last.reason else text, wrong=False)


def _of_breakers(row: Row) -> Iterator[Finding]:
    for each in row.figures.breakers:
        where = "" if is_running(each.pid) else f", in process {each.pid}, which does not run on this machine now"
        yield Finding(
            row.name,
            "breaker",
            f"its circuit breaker for {each.hook} is {each.state} since {moment(each.time)}{where}: {each.reason}",
            _see_and_blame(row),
        )


def _of_calls(row: Row, summary: PluginSummary) -> Iterator[Finding]:
    calls = _counted(summary.calls, "call")
    if summary.failures:
        text = f"{summary.failures:,} of its {calls} failed; the last, {_told(summary.last['error'])}"
        yield Finding(row.name, "failures", text, _see_and_blame(row))
    if summary.timeouts:
        last = summary.last["timeout"]
        text = f"{summary.timeouts:,} of its {calls} took too long; the last, {_told(last)}"
        yield Finding(row.name, "timeouts", text, _against_timeouts(row, last))
    if summary.skipped:
        text = f"{_counted(summary.skipped, 'call')} left out; the last, {_told(summary.last['skipped'])}"
        todo = "" if summary.failures or summary.timeouts else _see_and_blame(row)  # it follows from them
        yield Finding(row.name, "skipped", text, todo)
    if summary.dropped:
        now = "" if row.entry is None else f" (now {row.entry.queue_size:,})"
        text = f"{_counted(summary.dropped, 'event')} dropped; the last, {_told(summary.last['dropped'])}"
        slow = f"see what makes it slow: thea history --slowest --plugin {row.name}"
        todo = f"raise [plugins.{row.name}] queue_size{now}, or give the application more time to close; or {slow}"
        yield Finding(row.name, "drops", text, todo)
    yield from _of_times(row, summary)


def _of_times(row: Row, summary: PluginSummary) -> Iterator[Finding]:
    from thea_core.callbacks.record_reader import SLOW

    for (hook, callback), times in sorted(summary.times.items(), key=lambda each: -each[1].worst):
        if times.worst <= SLOW or _in_background(row, hook, callback):
            continue
        often = times.slow >= _OFTEN and times.mean > SLOW
        yield Finding(
            row.name,
            "slow",
            f"{_named(callback, hook)} makes its caller wait for {duration(times.mean)} on average, and for "
            f"{duration(times.worst)} at worst; {times.slow:,} of {_counted(times.calls, 'call')} took longer than "
            f"{duration(SLOW)}",
            _against_slowness(row, hook, callback) if often else "",
            wrong=often,
        )


def _of_limits(row: Row) -> Iterator[Finding]:
    hooks = () if row.inspection is None else row.inspection.hooks
    unlimited = [each for each in hooks if each.limited is False]
    if not row.source or not unlimited:
        return
    wrappers = [each for each in unlimited if each.wrapper]
    others = [each for each in unlimited if not each.wrapper]
    if others:
        yield Finding(
            row.name,
            "unlimited",
            f"these run without a time limit: {_listed(others)}",
            f'to give all of its callbacks one: [plugins.{row.name}] timeout = "2s"',
            wrong=False,
        )
    if wrappers:
        text = f"these run without a time limit, for they are wrappers: {_listed(wrappers)}"
        yield Finding(row.name, "unlimited", text, wrong=False)


def _told(trouble: Trouble) -> str:
    error = f": {trouble.error}" if trouble.error else ""
    return f"{_named(trouble.callback, trouble.hook)} at {moment(trouble.time)}{error}"


def _named(callback: str, hook: str) -> str:
    """Return a callback with its hook, where its name does not say it."""
    return callback if callback.rpartition(".")[2] == hook else f"{callback} ({hook})"


def _against_timeouts(row: Row, last: Trouble) -> str:
    info = _info(row, last.hook, last.callback)
    now = "" if info is None or info.timeout is None else f" (now {duration(info.timeout)})"
    todo = f"where it needs longer, raise [plugins.{row.name}] timeout{now}"
    if _may_wait(row, last.hook) and not _in_background(row, last.hook, last.callback):
        todo += f'; where nobody needs to wait for its events, [plugins.{row.name}] delivery = "background"'
    return f"{todo}; else {_blame(row)}"


def _against_slowness(row: Row, hook: str, callback: str) -> str:
    info = _info(row, hook, callback)
    if info is not None and info.wrapper:
        return _blame(row)
    if _may_wait(row, hook):
        return f'let nobody wait for its events: [plugins.{row.name}] delivery = "background"'
    return f"bound the wait: [plugins.{row.name}] timeout; or {_blame(row)}"


def _in_background(row: Row, hook: str, callback: str) -> bool:
    """Whether nobody waits for a callback when an event is fired, as far as that is known."""
    info = _info(row, hook, callback)
    if info is not None and info.kind:
        return info.delivery != "inline"
    return row.entry is not None and row.entry.delivery in ("background", "durable")


def _may_wait(row: Row, hook: str) -> bool:
    """Whether calls of a hook can go to a queue of the plugin: those of events can, where it has no wrapper of one."""
    from thea_core.plugins.inspection import EVENT

    hooks = () if row.inspection is None else row.inspection.hooks
    events = [each for each in hooks if each.kind == EVENT]
    return any(each.hook == hook for each in events) and not any(each.wrapper for each in events)


def _info(row: Row, hook: str, callback: str) -> HookInfo | None:
    hooks = () if row.inspection is None else row.inspection.hooks
    return next((each for each in hooks if (each.hook, each.callback) == (hook, callback)), None)


def _names(row: Row) -> set[str]:
    """Return what the plugin may be called in ``[plugins] enabled``."""
    from thea_core.plugins.discovery import normalised

    distribution = row.candidate.distribution
    return {row.name} if distribution is None else {row.name, distribution, normalised(distribution)}


def _blame(row: Row) -> str:
    """Return what always helps against a plugin that misbehaves."""
    if not row.candidate.value and not row.source:
        return "mend it, or take it out of Thea(plugins=[...]); if it is gone, --since leaves out its old calls"
    if row.source == "modules":
        return f"mend it, or take {row.candidate.value!r} out of [plugins] modules"
    return f"tell its author, or switch it off: {_switch_off(row)}"


def _see_and_blame(row: Row) -> str:
    return f"see what happens: thea history --failures --plugin {row.name}; then {_blame(row)}"


def _switch_off(row: Row) -> str:
    return f"thea plugins disable {row.name}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _listed(hooks: Iterable[HookInfo]) -> str:
    return ", ".join(_named(each.callback, each.hook) for each in hooks)
