"""``--user``: whose messages they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

__all__ = ["user_option"]

F = TypeVar("F", bound=Callable[..., Any])


def user_option(text: str, default: str | None = None) -> Callable[[F], F]:
    """Add ``--user`` to a verb; a name that no user can have is an error of usage."""
    return click.option("--user", metavar="NAME", default=default, show_default=True, callback=_checked, help=text)


def _checked(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    from thea_core.conversation.requests import check_user_id
    from thea_core.errors import InvalidRequestError

    try:
        return None if value is None else check_user_id(value)
    except InvalidRequestError as error:
        raise click.BadParameter(str(error)) from None
