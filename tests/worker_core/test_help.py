"""The help of `beanwatch worker` shows the default of each option."""

import re

import click

from beanwatch.cli.worker import command
from beanwatch.config import Config
from beanwatch.config.keys import WORKER

WITHOUT_DEFAULT = ("--queue", "--name", "--verbose", "--check", "--help")  # required, or flags


def test_the_help_shows_every_default_and_each_is_the_right_one():
    defaults = Config()
    for option in command.params:
        if not isinstance(option, click.Option) or option.opts[-1] in WITHOUT_DEFAULT:
            continue
        shown = re.search(r"\((?:default: )?([^()]+)\)$", option.help or "")
        assert shown, f"{option.opts[-1]} shows no default"
        name = option.name or ""
        text = re.split("[:;]", shown[1])[0]
        if (
            name in WORKER
            and getattr(defaults.worker, name) != ""
            and option.type.name != "boolean"
        ):
            assert WORKER[name](text) == getattr(defaults.worker, name), name
        elif name in ("prefix", "log_format"):
            assert text == getattr(defaults, name)
