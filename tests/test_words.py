"""Numbers with their nouns, and the command that installs a package."""

import shlex
import subprocess

from beanwatch.words import count, install_command


def test_only_one_is_singular():
    assert [count(n, "job") for n in (0, 1, 2)] == ["0 jobs", "1 job", "2 jobs"]
    assert count(1, "point was", "points were") == "1 point was"
    assert count(3.0, "point was", "points were") == "3 points were"
    assert count(12_345_678, "job") == "12345678 jobs"


def test_the_command_to_install_an_extra_is_that_of_this_python():
    *pip, package = shlex.split(install_command("web"))
    assert package == "beanwatch[web]"
    assert install_command().endswith(" -m pip install beanwatch")
    subprocess.run([*pip[:-1], "--version"], check=True, capture_output=True, timeout=60)
