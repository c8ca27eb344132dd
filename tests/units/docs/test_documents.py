"""What is made from the code is what is committed, whole in itself, and complete."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from agent.contract import topics
from agent.contract.command import ReasonCode
from agent.contract.mqtt_api import CHANNELS, PARAMETERS, channel_of
from docs._generate import regions
from docs._generate.__main__ import FOLDER, differing, outputs
from docs._generate.reasons import MEANINGS
from docs._generate.tables import MAKERS
from tests.kit.documents import DOCS, ROOT, document

NAMES = ["asyncapi", *(path.stem for path in sorted(DOCS.glob("openrpc-*.json")))]


def test_the_committed_documents_are_what_the_code_says() -> None:
    assert [path.name for path in differing()] == []


def test_a_changed_document_is_found_and_made_again(tmp_path: Path) -> None:
    for path, text in outputs().items():
        (tmp_path / path.name).write_text(text)
    page = tmp_path / "health.md"
    page.write_text(page.read_text().replace("HW-PRN-002", "HW-PRN-999"))
    (tmp_path / "asyncapi.json").unlink()
    assert {path.name for path in differing(tmp_path)} == {"health.md", "asyncapi.json"}
    assert "HW-PRN-002" in outputs(tmp_path)[page]


def test_checking_by_command_line_exits_0_on_what_is_committed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "docs._generate", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_page_that_asks_for_a_table_nobody_makes_is_an_error() -> None:
    with pytest.raises(regions.UnknownRegion, match="weather"):
        regions.filled("<!-- made from the code: weather -->\n<!-- end -->", MAKERS)


def test_every_table_is_shown_on_some_page_and_every_mark_is_closed() -> None:
    pages = [page.read_text() for page in FOLDER.glob("*.md")]
    assert {name for page in pages for name in regions.names(page)} == set(MAKERS)
    for page in pages:
        assert page.count("<!-- made from the code:") == len(regions.names(page)) == page.count("<!-- end -->")


def test_a_bar_in_a_cell_stays_in_its_cell() -> None:
    assert regions.table(("a",), [("b|c\nd",)]).splitlines()[-1] == r"| b\|c d |"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*FOLDER.glob("*.md"), ROOT / "README.md"]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_reason_code_is_explained() -> None:
    assert set(MEANINGS) == set(ReasonCode)


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_in_a_document_leads_somewhere(name: str) -> None:
    references = [one["$ref"] for one in _objects(document(name)) if isinstance(one.get("$ref"), str)]
    assert references
    for reference in references:
        found: Any = document(name)
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_one_and_its_patterns_are_not_pythons_own(name: str) -> None:
    for schema in document(name)["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for one in _objects(document(name)):
        assert not re.search(r"\\A|\\Z", str(one.get("pattern", ""))), one
        assert "agent." not in str(one.get("$ref", "")), one


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _objects(item)
    elif isinstance(value, list):
        for item in value:
            yield from _objects(item)


# ── the catalogue of channels is complete ──────────────────────────────────────────────────────────────────────
def _published() -> list[tuple[str, ast.expr]]:
    """First argument of every ``Publication(…)`` in the product, with its place."""
    found = []
    for path in sorted((ROOT / "agent").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Publication":
                given = [one.value for one in node.keywords if one.arg == "below"]
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", (node.args or given)[0]))
    return found


READ_BACK = {"agent/store/outbox.py"}
"""Rows that come out of the outbox again were put in by one of the others."""


def test_every_topic_that_the_code_can_publish_is_in_the_catalogue() -> None:
    published = _published()
    assert len(published) >= 10
    for place, below in published:
        match below:
            case ast.Constant(value=str(text)):
                assert channel_of(text), f"{place}: {text}"
            case ast.Attribute(value=ast.Name(id="topics"), attr=name):
                assert channel_of(getattr(topics, name)), f"{place}: topics.{name}"
            case ast.Call(func=ast.Attribute(value=ast.Name(id="topics"), attr=name), args=arguments):
                made = getattr(topics, name)(*(_sample(one) for one in arguments))
                assert channel_of(made), f"{place}: topics.{name}"
            case _:
                assert place.partition(":")[0] in READ_BACK, f"{place}: say which topic, by a name of topics.py"


def _sample(argument: ast.expr) -> str:
    """The argument itself where it is written out; a constant of our own by its name; else any word."""
    if isinstance(argument, ast.Constant):
        return str(argument.value)
    known = {"EVENT_KIND": "security", "UNSENDABLE": "unsendable"}
    return known.get(argument.id, "word") if isinstance(argument, ast.Name) else "word"


def test_topics_have_at_most_seven_slashes_and_known_parameters() -> None:
    for channel in CHANNELS:
        assert f"{topics.ROOT}/s/t/{channel.below}".count("/") <= 7, channel.name
        assert set(re.findall(r"\{([a-z_]+)\}", channel.below)) <= set(PARAMETERS), channel.name


def test_names_of_channels_are_unique_and_no_topic_has_two() -> None:
    assert len({channel.name for channel in CHANNELS}) == len(CHANNELS)
    for channel in CHANNELS:
        sample = re.sub(r"\{[a-z_]+\}", "x", channel.below)
        assert [one.name for one in CHANNELS if one.matches(sample)] == [channel.name]


@pytest.mark.parametrize("below", ["agent", "agent/status/x", "dev//health", "in/req/", "agent/m/", "elsewhere/x"])
def test_what_is_no_channel_is_none(below: str) -> None:
    assert channel_of(below) is None
