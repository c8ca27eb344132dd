"""Payloads that have ended programs: what no decoder of JSON may be trusted to refuse in one and the same way."""

from __future__ import annotations

from hypothesis import strategies as st

HOSTILE = (
    *(b"", b"null", b"[]", b"17", b"\xff\xfe", b"\x00", b'{"online":1e999}', b'{"a":1,"a":2}', b"{" * 10),
    *(b"[" * 100_000, b'{"online":' + b"[" * 50_000, b'{"data":' + b"[" * 50_000, b'{"reasons":' + b"[" * 50_000),
    b'{"online":true,"conn":1,"boot_id":"\xff","journal_id":"a","at":"b"}',
    b'{"ready":true,"reasons":[{"code":"\xed\xa0\x80"}],"at":"x"}',
    *(b'{"conn":' + b"9" * 5000 + b"}", b'{"' + b"a" * 100_000 + b'":1}', b'"' + b"\\u0000" * 1000 + b'"'),
)
"""Each in full; `payloads` adds any bytes."""

payloads = st.sampled_from(HOSTILE) | st.binary(max_size=200)
