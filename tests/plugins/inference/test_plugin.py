"""What hub-inference says of itself."""

import re
from pathlib import Path

import hub
from hub_inference.reparameterizing import METHODS

PAGE = Path(__file__).parents[3] / "docs/inference.md"


def test_its_error_is_one_of_hub():
    assert issubclass(hub.OptimizationError, hub.HubError)


def test_page_has_the_table_of_methods():
    rows = re.findall(r"^\| `(\w+)` \| ", PAGE.read_text(), re.MULTILINE)
    assert rows == list(METHODS)
