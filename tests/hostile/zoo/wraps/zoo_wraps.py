"""Wraps chains, and fails before their callbacks, after them, or instead of letting them run."""

from thea_core import hookimpl


class Wraps:
    @hookimpl(wrapper=True)
    def on_message(self):
        raise ValueError("before the others")
        yield

    @hookimpl(wrapper=True)
    def on_state_change(self):
        yield
        raise ValueError("after the others")

    @hookimpl(wrapper=True)
    def on_intent_detected(self):
        yield
        yield

    @hookimpl(wrapper=True)
    def on_agent_delegated(self):
        if not self:
            yield

    @hookimpl(wrapper=True)
    def detect_intents(self):
        results = yield
        results.clear()
        return "agenda"
