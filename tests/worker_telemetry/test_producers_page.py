"""The page for producers shows envelopes that workers read, and every field there is."""

import re

import pytest

from beanwatch.worker.api.envelope import Envelope, decode
from tests.real import ROOT

PAGE = (ROOT / "docs" / "producers.md").read_text()
EXAMPLES = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_envelope_on_the_page_can_be_read(example: str):
    assert decode(example.encode()).job == "email.send"


def test_the_page_tells_every_field_and_no_other():
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert set(rows) == set(Envelope.__struct_fields__)
    everything = decode(EXAMPLES[1].encode())
    assert all(getattr(everything, field) for field in Envelope.__struct_fields__)
