"""Changes whatever it is given, at every depth, before anybody else sees it."""

from thea_core import hookimpl


def spoil(value):
    """Empty dicts and lists from the inside, and leave in them what is no JSON."""
    if type(value) is dict:
        for each in value.values():
            spoil(each)
        value.clear()
        value["spoiled"] = value
    elif type(value) is list:
        for each in value:
            spoil(each)
        value[:] = [object()]


class Mutates:
    @hookimpl(tryfirst=True)
    def pre_transition(self, context):
        spoil(context)

    post_transition = on_transition_error = pre_transition

    @hookimpl(tryfirst=True)
    def on_error(self, error):
        error.args = ("spoiled",)
        error.__traceback__ = None

    @hookimpl(wrapper=True)
    def detect_intents(self, context):
        spoil(context)
        results = yield
        for each in results:
            spoil(each.value)
        results.clear()

    @hookimpl(wrapper=True)
    def provide_agents(self):
        results = yield
        for each in results:
            spoil(each.value)
