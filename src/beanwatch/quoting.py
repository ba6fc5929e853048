"""Quotes foreign text for the program that reads it: one function for each reader.

Names, reasons and numbers come from servers, jobs and records that anybody may have written. Each
function returns text that its reader takes as nothing but text. If the reader cannot take a text at
all, the function raises QuoteError. tests/test_quoting.py gives every byte to each real reader.

This module imports no other module of beanwatch, so checks start fast.
"""

import re

# Compiled at first use, because most texts need neither.
_UNPRINTABLE = r"[\x00-\x1f\x7f|\s]+"
_NOT_IN_A_LABEL = r"[\x00-\x1f\x7f|'=]"


class QuoteError(ValueError):
    """The reader has no way to write this text; the message says which reader, and what it is."""


# -- people: terminals, plugin output, mails, chats


def terminal_text(text: str) -> str:
    """Escape everything that a terminal could obey, and line ends, so that the text is one line.

    These are control characters (C0, DEL and C1), the invisible characters that change the
    direction of text, and bytes that are not UTF-8.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_text(line: bytes) -> bytes:
    r"""Escape in JSON what a terminal could obey and JSON leaves as it is: U+009B as `\u009b`.

    The line is JSON in UTF-8. Such characters occur only inside its strings, where JSON itself
    escapes C0 controls, so a raw NUL or line end is not text.
    """
    if line.isascii() and b"\x7f" not in line:
        return line
    text = line.decode("utf-8", "replace")
    if text.isprintable():
        return line
    return "".join(
        c if c.isprintable() or c in "\0\t\n" else _json_escape(c) for c in text
    ).encode()


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def plugin_text(text: str) -> str:
    """Return a line of a plugin's output: `|`, which starts performance data, becomes a space.

    So does everything that `terminal_text` escapes, because the output is shown in a browser, a
    mail and a terminal.
    """
    if text.isprintable() and "|" not in text:
        return text.strip()
    text = re.sub(_UNPRINTABLE, " ", text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    return text.strip()


def perf_label(text: str) -> str:
    """Return the quoted label of an item of performance data: `'email.bulk'`.

    Labels have no escapes, so `_` replaces `'`, `=`, `|` and everything unprintable. A label with
    such a `_` ends with a hash of the text, so that no two texts have the same label.
    """
    if not text.isidentifier():
        label = re.sub(_NOT_IN_A_LABEL, "_", text) or "_"
        if not label.isprintable():
            label = "".join(c if c.isprintable() else "_" for c in label)
        text = label if label == text else f"{label}_{_hash(text)}"
    return f"'{text}'"


def header_text(text: str) -> str:
    """Return the value of a mail header: one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def chat_text(text: str) -> str:
    """Return a text for a message of Slack or Mattermost that mentions nobody and hides no link.

    Slack reads `<...>` as a link or a mention, Mattermost also `@all` and `[text](url)`. Neither
    program has an escape for the last two. So a zero-width space is put into them; it is not seen.
    """
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text.replace("@", "@\u200b").replace("](", "]\u200b(")


def chat_link(url: str, name: str) -> str:
    """Return a link for a message of Slack or Mattermost: `<url|name>`."""
    return f"<{quote_url(url)}|{name}>"


def quote_url(url: str) -> str:
    """Percent-encode in a URL what no URL has (RFC 3986), quotes, and `$`, a macro's start."""
    from urllib.parse import quote  # here, because checks have no need of it

    return quote(url, safe="%:/?#[]@!&()*+,;=-._~", errors="replace")


# -- browsers


def html_text(text: str, limit: int, *, keep_lines: bool = False) -> str:
    """Return a text for HTML, also for a quoted attribute: escaped, cut, and all visible.

    Control characters, invisible ones and those that change the direction of text become escapes,
    as in `terminal_text`. With `keep_lines`, line ends and tabs stay. A text that is longer than
    `limit` characters is cut, and says how many are missing.
    """
    missing = len(text) - limit
    if missing > 0:
        text = text[:limit]
    if keep_lines:
        text = text.replace("\r\n", "\n")
        parts = re.split("([\n\t])", text)
        text = "".join(one if one in ("\n", "\t") else terminal_text(one) for one in parts)
    else:
        text = terminal_text(text)
    for char, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;")):
        text = text.replace(char, entity)
    text = text.replace("'", "&#39;")
    return f"{text} … ({missing:,} more characters)" if missing > 0 else text


# -- the shell

_NEEDS_NO_QUOTES = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-"
)


def shell_word(text: str) -> str:
    """Return the text as one word for sh, in single quotes if needed. Raises QuoteError for NUL.

    It is for a configuration file, and also for a command that a message proposes to a person.
    """
    if "\0" in text:
        raise QuoteError(f"a command line cannot contain the text {text!r}")
    if text and _NEEDS_NO_QUOTES.issuperset(text):
        return text
    return "'" + text.replace("'", "'\\''") + "'"


# -- Nagios

# What Nagios removes from the values of custom variables ($_HOST...$). This is
# illegal_macro_output_chars of the nagios.cfg that Nagios installs.
_REMOVED_FROM_MACROS = frozenset("`~$&|'\"<>")
# What Nagios forbids in names (illegal_object_name_chars), or splits lists of names at.
_FORBIDDEN_IN_NAMES = frozenset("`~!$%^&*|'\"<>?,()=;\\{}")
MAX_NAME = 110  # bytes; NSCA cuts the description of a service after 127, with `consumers of `


def nagios_value(text: str) -> str:
    r"""Return the value of a directive in an object file: `$` is doubled, `;` becomes `\;`.

    `$` starts a macro, `;` a comment. A line ends a value, a `\` before it joins two lines, and
    blanks at the ends are lost: raises QuoteError for each of these.
    """
    if not _fits_in_a_value(text):
        raise QuoteError(f"Nagios cannot read the text {text!r} in a configuration file")
    return text.replace("$", "$$").replace(";", r"\;")


def nagios_argument(text: str) -> str:
    r"""Return an argument after `!` in check_command, for a command that has it as `'$ARG1$'`.

    So these quotes of the shell are around it, and `!` ends an argument unless it is `\!`.
    Raises QuoteError for a control character.
    """
    inner = text.replace("'", "'\\''")
    # Empty quotes at the ends, because Nagios strips blanks, and joins lines after a `\`.
    inner = f"''{inner}" if inner[:1].isspace() else inner
    inner = f"{inner}''" if inner[-1:].isspace() or inner.endswith("\\") else inner
    return nagios_value(inner).replace("!", r"\!")


def nagios_option(text: str) -> str:
    r"""Return one word in an argument of check_command that a command has without quotes.

    It is a word of the shell. `!` ends an argument unless it is `\!`. Raises QuoteError for a
    control character.
    """
    return nagios_value(shell_word(text)).replace("!", r"\!")


def nagios_word(text: str) -> str:
    r"""Return one word of a custom variable that a command has without quotes around it.

    A `\` stands before each special character. Nagios removes quotes and some other characters
    from such variables: raises QuoteError for these, and for control characters.
    """
    if not _REMOVED_FROM_MACROS.isdisjoint(text) or text.endswith(" "):
        raise QuoteError(_describe_removed(text))
    return nagios_value("".join(c if c.isalnum() or c in "/._-+:@%," else f"\\{c}" for c in text))


def nagios_quoted(text: str) -> str:
    """Return the value of a custom variable that a command has in single quotes.

    Raises QuoteError for a character that Nagios removes, and for a control character.
    """
    if not _REMOVED_FROM_MACROS.isdisjoint(text):
        raise QuoteError(_describe_removed(text))
    return nagios_value(text)


def nagios_glob(text: str) -> str:
    """Return the name of a queue for a custom variable that a command has in single quotes.

    `?` replaces each character that Nagios removes: the result is a glob, and never the name of
    another queue.
    """
    return nagios_value("".join("?" if c in _REMOVED_FROM_MACROS else c for c in text))


def nagios_name(text: str, *, with_hash: bool = False) -> str:
    """Return a part of a service's name: `_` replaces all that Nagios forbids in names.

    It also replaces blanks at both ends, which Nagios removes. A longer name than MAX_NAME bytes
    ends with a hash of the whole, and so does each one if `with_hash`.
    """
    name = "".join("_" if c in _FORBIDDEN_IN_NAMES or not c.isprintable() else c for c in text)
    left = len(name) - len(name.lstrip(" "))
    name = "_" * left + name[left:]
    name = name.rstrip(" ").ljust(len(name), "_")
    if len(name.encode()) <= MAX_NAME and not with_hash:
        return name
    return f"{name.encode()[: MAX_NAME - 9].decode(errors='ignore')}_{_hash(text)}"


def _hash(text: str) -> str:
    from hashlib import blake2b  # imported here because it loads slowly and is rarely needed

    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()


def _fits_in_a_value(text: str) -> bool:
    return text.isprintable() and text == text.strip() and not text.endswith("\\")


def _describe_removed(text: str) -> str:
    return (
        f"Nagios cannot give a check the text {text!r}: it removes the characters "
        "` ~ $ & | ' \" < > from macros"
    )


# -- NRPE


def nrpe_word(text: str) -> str:
    """Return one word of a command line in NRPE's configuration: for sh, with `$` doubled.

    Raises QuoteError for a control character, because a line end would start another command.
    """
    if not text.isprintable():
        raise QuoteError(f"NRPE cannot read the text {text!r} in a configuration file")
    return shell_word(text).replace("$", "$$")


def nrpe_name(text: str, *, hashed: str = "") -> str:
    """Return the name of an NRPE command. `_` replaces what would end it, or check_nrpe refuses.

    If `hashed` is given, a hash of it follows.
    """
    name = re.sub(r"[^A-Za-z0-9_.+/:@-]", "_", text)
    return f"{name}_{_hash(hashed)}" if hashed else name


# -- Icinga 2


def icinga_string(text: str) -> str:
    """Return the text as a string literal of Icinga's configuration language."""
    text = text.replace("\\", "\\\\").replace('"', '\\"')
    # Escapes have up to three octal digits. Icinga's strings end at NUL.
    if "\0" in text:
        raise QuoteError(f"Icinga cannot read the text {text!r}")
    return '"' + "".join(c if c >= " " and c != "\x7f" else f"\\{ord(c):03o}" for c in text) + '"'


def icinga_macro_string(text: str) -> str:
    """Return a string literal for a value in which Icinga replaces macros, such as a variable.

    `$` starts a macro, so it is doubled.
    """
    return icinga_string(text.replace("$", "$$"))
