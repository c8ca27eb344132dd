"""A journal of 400 entries, and an upload over a copy of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.contract.journal_views import EntryItem
from tests.kit.upload_room import COUNT, UploadRoom, make_journal, open_copy


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EntryItem]]:
    folder = tmp_path_factory.mktemp("journal")
    return folder, make_journal(folder, COUNT)


@pytest.fixture
async def room(journal: tuple[Path, list[EntryItem]], tmp_path: Path) -> AsyncIterator[UploadRoom]:
    one = UploadRoom(open_copy(journal[0], tmp_path / "copy"))
    yield one
    await one.cut()
    one.close()
