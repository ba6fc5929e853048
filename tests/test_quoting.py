"""Every reader of quoted text, itself, takes it as nothing but text."""

import email
import email.policy
import json
import string
import subprocess
from email.message import EmailMessage
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beanwatch import quoting
from beanwatch.checks.lib.output import perf
from beanwatch.quoting import QuoteError
from tests.checks.conftest import parse_perfdata
from tests.checks.test_remote import Nrpe, can_be_somebody_else
from tests.real import Nagios, wait_until

PRINTABLE = "".join(map(chr, range(32, 127)))
INJECTIONS = [
    "a'; touch PWNED; echo '",
    "$(touch PWNED)`touch PWNED`",
    '"; touch PWNED; "',
    "$USER1$",
    "$ARG1$",
    "$$",
    "pay$usd",
    "pay$",
    "a!b\\!c",
    "\\",
    "'",
    "!",
    "a\\\\b;c#d",
    "größe",
    "\u6771\u4eac",
]
CONTROLS = [chr(code) for code in (*range(32), *range(127, 160), 0x202E, 0x2066, 0x2028, 0xDC80)]
anything = st.text(st.characters(exclude_categories=()), max_size=40)


def test_a_shell_reads_every_byte_as_text(tmp_path: Path):
    texts = [*(bytes([code]).decode("utf-8", "surrogateescape") for code in range(1, 256))]
    texts += [*INJECTIONS, "", "-n"]
    script = f"printf '%s\\0' {' '.join(map(quoting.shell_word, texts))}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, check=True, cwd=tmp_path)
    assert done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1] == texts
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(QuoteError):
        quoting.shell_word("a\0b")


NAGIOS_OBJECTS = """\
define command {{
  command_name show
  command_line $USER1$/show $ARG1$ '$ARG2$' $_HOSTWORD$ '$_HOSTQUOTED$'
}}
define timeperiod {{
  timeperiod_name always
  alias always
  {days}
}}
define contact {{
  contact_name me
  service_notification_period always
  host_notification_period always
  service_notification_commands show
  host_notification_commands show
}}
"""
NAGIOS_SERVICE = """\
define host {{
  host_name {number}
  max_check_attempts 1
  contacts me
  notification_period always
  check_period always
  notes_url {url}
  _WORD {word}
  _QUOTED {quoted}
}}
define service {{
  host_name {number}
  service_description depth of {name}
  max_check_attempts 1
  check_interval 60
  notification_interval 0
  retry_interval 60
  contacts me
  check_period always
  notification_period always
  check_command show!{number}!{argument}
}}
"""


def or_plain(quote, text: str) -> str:
    """The quoted text, or that of `x` where the reader has no way to write it."""
    try:
        return quote(text)
    except QuoteError:
        return quote("x")


def test_nagios_reads_every_character_as_text(tmp_path: Path):
    texts = [PRINTABLE, *INJECTIONS, " a ", "/a b/beanwatch's.toml", "/a (b)/c#;d\\e.toml"]
    texts += [*(f"{char}a" for char in string.punctuation), *(f"a{c}" for c in string.punctuation)]
    shown = tmp_path / "shown"
    shown.mkdir()
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    show = plugins / "show"
    show.write_text(
        f"#!/bin/sh\ncd {shown}\nn=$1\nshift\nprintf '%s\\0' \"$@\" > .$n\nmv .$n $n\necho OK\n"
    )
    show.chmod(0o755)
    days = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
    objects = NAGIOS_OBJECTS.format(days="\n  ".join(f"{day} 00:00-24:00" for day in days))
    for number, text in enumerate(texts):
        objects += NAGIOS_SERVICE.format(
            number=number,
            name=quoting.nagios_name(text),
            argument=quoting.nagios_argument(text),
            word=or_plain(quoting.nagios_word, text),
            quoted=or_plain(quoting.nagios_quoted, text),
            url=quoting.nagios_value(quoting.quote_url(f"http://h/{text}")),
        )
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "all.cfg").write_text(objects)
    macros = {"USER1": str(plugins)}
    with Nagios(tmp_path / "nagios", [tmp_path / "objects"], macros=macros) as nagios:
        nagios.verify()
        wait_until(lambda: len(list(shown.glob("[0-9]*"))) == len(texts), timeout=60)
    for number, text in enumerate(texts):
        argument, word, quoted, _ = (shown / str(number)).read_text().split("\0")
        assert argument == text
        assert word in (text, "x"), text
        assert quoted in (text, "x"), text
        is_removed = any(char in "`~$&|'\"<>" for char in text)
        assert (word == "x") == (is_removed or text.endswith((" ", "\\"))), text
    assert not list(tmp_path.rglob("PWNED"))


@pytest.mark.parametrize(
    "quote",
    [
        *(quoting.nagios_value, quoting.nagios_argument, quoting.nagios_word),
        *(quoting.nagios_quoted, quoting.nagios_glob, quoting.nrpe_word),
    ],
)
@pytest.mark.parametrize("char", CONTROLS)
def test_what_a_configuration_file_cannot_hold_is_refused(quote, char: str):
    with pytest.raises(QuoteError):
        quote(f"a{char}b")


@given(anything)
def test_a_name_for_nagios_or_nrpe_has_nothing_that_ends_it(text: str):
    name = quoting.nagios_name(text)
    assert name.isprintable()
    assert len(name.encode()) <= quoting.MAX_NAME
    assert not set(name) & set("`~!$%^&*|'\"<>?,()=;\\{}")
    assert not set(quoting.nrpe_name(text)) - set(f"{string.ascii_letters}{string.digits}_.+/:@-")


def test_long_names_for_nagios_stay_different():
    names = {quoting.nagios_name("x" * 150 + end) for end in ("a", "b")}
    assert len(names) == 2


@pytest.mark.skipif(not can_be_somebody_else(), reason="this machine allows no user namespaces")
def test_nrpe_reads_every_character_as_text(tmp_path: Path):
    texts = [PRINTABLE, *INJECTIONS, " a ", "$a$b$", "x" * 600]
    folder = tmp_path / "etc/nagios/nrpe.d"
    folder.mkdir(parents=True)
    lines = [
        f"command[{quoting.nrpe_name(f'c{number}')}]=/usr/bin/printf %s {quoting.nrpe_word(text)}\n"
        for number, text in enumerate(texts)
    ]
    (folder / "all.cfg").write_text("".join(lines))
    site = SimpleNamespace(root=tmp_path, plugins="/usr/lib/nagios/plugins", config="")
    with Nrpe(tmp_path / "nrpe", site) as nrpe:
        for number, text in enumerate(texts):
            assert nrpe.run("-c", f"c{number}").stdout == f"{text}\n"
    assert not list(tmp_path.rglob("PWNED"))


def test_icinga_reads_every_character_as_text():
    texts = ["".join(map(chr, range(1, 0x2FF))), *INJECTIONS, *(c for c in CONTROLS[1:-1])]
    code = f"[ {', '.join(map(quoting.icinga_string, texts))} ]"
    argv = ["icinga2", "console", "--eval", code]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(done.stdout) == texts
    with pytest.raises(QuoteError):
        quoting.icinga_string("a\0b")


def test_icinga_takes_no_text_for_a_macro():
    assert quoting.icinga_macro_string("pay$usd") == '"pay$$usd"'


@given(anything)
def test_a_terminal_gets_one_line_of_plain_text(text: str):
    shown = quoting.terminal_text(text)
    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=20)))
def test_json_for_a_terminal_is_the_same_json(tree: dict[str, str]):
    line = json.dumps(tree, ensure_ascii=False).encode()
    shown = quoting.json_text(line)
    assert json.loads(shown) == tree
    assert shown.decode().isprintable()


@given(anything)
def test_a_mail_header_is_one_line_as_it_was(text: str):
    mail = EmailMessage()
    mail["Subject"] = quoting.header_text(text)
    mail["X-Other"] = "other"
    mail.set_content("body")
    read = email.message_from_bytes(mail.as_bytes(), policy=email.policy.default)
    assert str(read["Subject"]).split() == quoting.header_text(text).split()
    assert len(read.keys()) == len(mail.keys())
    assert read.get_content() == "body\n"


@given(anything)
def test_a_chat_gets_no_mention_and_no_hidden_link(text: str):
    shown = quoting.chat_text(text)
    assert "<" not in shown
    assert ">" not in shown
    assert "](" not in shown
    assert "@" not in shown.replace("@\u200b", "")


@given(anything)
def test_a_link_in_a_chat_ends_where_it_should(url: str):
    link = quoting.chat_link(url, "Runbook")
    assert link.endswith("|Runbook>")
    assert not set(link[1:-9]) & set("<>|\n ")


@given(anything, st.integers(0, 10))
def test_performance_data_have_one_item_for_each_label(text: str, value: int):
    ((label, shown),) = parse_perfdata(perf(text, value)).items()
    assert label.isprintable()
    assert shown == str(value)
    line = quoting.plugin_text(text)
    assert line.isprintable()
    assert "|" not in line
