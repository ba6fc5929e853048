"""Puts exceptions into words: one line for people, and the traceback for the log and the ledger."""

import traceback

MAX_REASON = 1000  # characters
MAX_CAUSES = 5  # exceptions of a group that a reason names
MAX_CAUSE = 160  # characters of each of them
MAX_GROUP = 1000  # exceptions of a group, and of the groups in it, that are looked at
MAX_TRACEBACK = 8192  # characters; the end is kept, because it shows the error


class OwnText:
    """Marks exceptions whose text says everything, so that their class is not named."""


def find_only_cause(error: BaseException) -> BaseException:
    """Return the one exception inside a group, also a nested one; any other error itself."""
    found = _list_causes(error, 2)
    return found[0] if len(found) == 1 else error


def format_exception_line(error: BaseException) -> str:
    """Format an exception as one line; its text is cut to MAX_REASON characters.

    The line begins with the class, except for those with OwnText. For an
    exception group, such as a TaskGroup raises, it ends with the first MAX_CAUSES exceptions in it.
    """
    line = _format_one(error)
    if not isinstance(error, BaseExceptionGroup):
        return line
    causes = _list_causes(error, MAX_CAUSES + 1)
    shown = [_format_one(cause)[:MAX_CAUSE] for cause in causes[:MAX_CAUSES]]
    if len(causes) > MAX_CAUSES:
        shown.append("and more")
    return f"{line[:MAX_CAUSE]}: {'; '.join(shown)}"[:MAX_REASON]


def _list_causes(error: BaseException, limit: int) -> list[BaseException]:
    """Return up to `limit` exceptions that are in a group, in its order; `[error]` for no group.

    It looks at MAX_GROUP exceptions at most. Fewer causes than there are may be returned then.
    """
    causes: list[BaseException] = []
    waiting = [error]
    for _ in range(MAX_GROUP):
        if not waiting or len(causes) == limit:
            break
        one = waiting.pop()
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions[:MAX_GROUP][::-1]
        else:
            causes.append(one)
    return causes


def _format_one(error: BaseException) -> str:
    try:
        text = " ".join(str(error)[:MAX_REASON].split())
    except Exception as wrong:  # __str__ is the application's code and may fail
        text = f"its __str__ raises {type(wrong).__name__}"
    if isinstance(error, OwnText) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def render_traceback(error: BaseException | None) -> str:
    """Format the traceback of a handler's exception, cut to its last MAX_TRACEBACK characters."""
    if error is None or error.__traceback__ is None:
        return ""
    try:
        lines = traceback.format_exception(error)
    except Exception as wrong:  # an application's exception may fail to be formatted
        lines = [*traceback.format_tb(error.__traceback__), f"{format_exception_line(error)}\n"]
        lines.append(f"(formatting the exception failed: {format_exception_line(wrong)})\n")
    return "".join(lines)[-MAX_TRACEBACK:]
