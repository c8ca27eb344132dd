"""DSSE envelopes against the specification's own example, and Ed25519 against RFC 8032."""

from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contract.signed import Envelope
from agent.errors import BadRequest
from agent.trust.envelope import (
    MAX_BYTES,
    Sealed,
    open_envelope,
    pae,
    parse_leniently,
    parse_object,
    sign,
    verified_keys,
)
from agent.trust.keys import SigningKey, keyid, verifies

TYPE = "http://example.com/HelloWorld"
# The example of the DSSE specification, "Test Vectors" of protocol.md; its signature is ECDSA, which is not ours.
PUBLISHED = (
    b'{"payload": "aGVsbG8gd29ybGQ=",\n "payloadType": "http://example.com/HelloWorld",\n "signatures": [{"sig": '
    b'"A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="}]}'
)
# RFC 8032, section 7.1: secret key, public key, message, signature.
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]
ONE, TWO = SigningKey(b"\x01" * 32), SigningKey(b"\x02" * 32)
BOTH = [(ONE.keyid, ONE.public_bytes), (TWO.keyid, TWO.public_bytes)]


def test_the_published_pre_authentication_encoding() -> None:
    assert pae(TYPE, b"hello world") == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"


def test_the_published_envelope_is_taken_apart() -> None:
    sealed = open_envelope(PUBLISHED, TYPE)
    assert (sealed.payload_type, sealed.payload) == (TYPE, b"hello world")
    ((hint, signature),) = sealed.signatures
    assert (hint, len(signature)) == ("", 64)
    assert verified_keys(sealed, BOTH) == frozenset()


def test_lengths_count_bytes_not_characters() -> None:
    assert pae("tÿpe", "ö".encode()) == b"DSSEv1 5 t\xc3\xbfpe 2 \xc3\xb6"


@pytest.mark.parametrize(("secret", "public", "message", "signature"), RFC_8032)
def test_the_vectors_of_rfc_8032(secret: str, public: str, message: str, signature: str) -> None:
    key = SigningKey(bytes.fromhex(secret))
    assert key.public_bytes.hex() == public
    assert key.sign(bytes.fromhex(message)).hex() == signature
    assert verifies(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature))
    assert not verifies(bytes.fromhex(public), bytes.fromhex(message) + b"x", bytes.fromhex(signature))
    assert not verifies(ONE.public_bytes, bytes.fromhex(message), bytes.fromhex(signature))
    assert not verifies(bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)[:-1])


def test_a_signature_with_a_scalar_beyond_the_order_is_refused() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    signature = ONE.sign(b"x")
    scalar = int.from_bytes(signature[32:], "little") + order
    assert not verifies(ONE.public_bytes, b"x", signature[:32] + scalar.to_bytes(32, "little"))


def test_a_public_key_of_small_order_verifies_nothing() -> None:
    identity = (1).to_bytes(32, "little")
    assert not verifies(identity, b"anything", identity + bytes(32))


def test_a_key_shows_nothing_of_its_secret() -> None:
    assert ONE.seed.hex() not in repr(ONE)
    assert SigningKey(ONE.seed).public_bytes == ONE.public_bytes
    assert len(keyid(ONE.public_bytes)) == 64
    assert SigningKey.generate().public_bytes != SigningKey.generate().public_bytes
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey(b"short")


def test_who_signed_is_whose_key_verifies_whatever_the_hint_says() -> None:
    envelope = msgspec.json.decode(sign(TYPE, b"x", [ONE]), type=Envelope)
    lying = msgspec.structs.replace(
        envelope, signatures=[msgspec.structs.replace(envelope.signatures[0], keyid=TWO.keyid)]
    )
    assert verified_keys(open_envelope(msgspec.json.encode(lying), TYPE), BOTH) == {ONE.keyid}


def test_two_signatures_of_one_key_are_one_signer() -> None:
    assert verified_keys(open_envelope(sign(TYPE, b"x", [ONE, ONE]), TYPE), BOTH) == {ONE.keyid}
    assert verified_keys(open_envelope(sign(TYPE, b"x", [TWO, ONE]), TYPE), BOTH) == {ONE.keyid, TWO.keyid}


def test_a_bad_signature_beside_a_good_one_takes_nothing_away() -> None:
    values = msgspec.json.decode(sign(TYPE, b"x", [ONE]))
    values["signatures"].insert(0, {"keyid": "", "sig": "AAAA"})
    assert verified_keys(open_envelope(msgspec.json.encode(values), TYPE), BOTH) == {ONE.keyid}


def test_a_signature_for_another_type_does_not_count() -> None:
    values = msgspec.json.decode(sign("a/b", b"x", [ONE]))
    values["payloadType"] = TYPE
    assert verified_keys(open_envelope(msgspec.json.encode(values), TYPE), BOTH) == frozenset()


def test_fields_that_are_not_known_are_passed_over() -> None:
    values = msgspec.json.decode(sign(TYPE, b"x", [ONE]))
    values["future"] = 1
    values["signatures"][0]["extension"] = {"kind": "k"}
    assert verified_keys(open_envelope(msgspec.json.encode(values), TYPE), BOTH) == {ONE.keyid}


@pytest.mark.parametrize("alphabet", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
@settings(max_examples=50, deadline=None)
@given(body=st.binary(max_size=40))
def test_either_alphabet_is_taken_padded_or_not(alphabet: object, padded: bool, body: bytes) -> None:
    assert callable(alphabet)
    text = alphabet(body).decode()
    values = {"payload": text if padded else text.rstrip("="), "payloadType": "t", "signatures": [{"sig": "AA=="}]}
    assert open_envelope(msgspec.json.encode(values), "t").payload == body


@pytest.mark.parametrize(
    "text", ["=", "A", "AA=", "AAA==", "AA===", "A A=", "AA=A", "AAAA====", "\n", "Ä", "A" * 5, "$$$$"]
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    values = {"payload": text, "payloadType": "t", "signatures": [{"sig": "AA=="}]}
    with pytest.raises(BadRequest):
        open_envelope(msgspec.json.encode(values), "t")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b"{" * 60_000,
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"payload":"","payloadType":"t"}',
        b'{"payload":"","payloadType":"t","signatures":[]}',
        b'{"payload":"","payloadType":"t","signatures":{}}',
        b'{"payload":"","payloadType":"t","signatures":[{}]}',
        b'{"payload":1,"payloadType":"t","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"u","signatures":[{"sig":""}]}',
        b'{"payload":"","payload":"","payloadType":"t","signatures":[{"sig":""}]}',
        b'{"payload":"","payloadType":"t","signatures":[{"sig":"","sig":""}]}',
        b'{"n":' + b"9" * 5_000 + b',"payload":"","payloadType":"t","signatures":[{"sig":""}]}',
        b" " * (MAX_BYTES + 1),
    ],
)
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        open_envelope(data, "t")


def test_nine_signatures_are_refused_and_never_made() -> None:
    values = msgspec.json.decode(sign("t", b"x", [ONE] * 8))
    assert open_envelope(msgspec.json.encode(values), "t").payload == b"x"
    values["signatures"].append(values["signatures"][0])
    with pytest.raises(BadRequest):
        open_envelope(msgspec.json.encode(values), "t")
    for keys in ([], [ONE] * 9):
        with pytest.raises(BadRequest):
            sign("t", b"x", keys)


@settings(max_examples=150, deadline=None)
@given(kind=st.text(max_size=20).filter(lambda text: text.isprintable()), body=st.binary(max_size=200))
def test_what_is_signed_verifies_and_any_changed_byte_does_not(kind: str, body: bytes) -> None:
    sealed = open_envelope(sign(kind, body, [ONE, TWO]), kind)
    assert sealed.payload == body
    assert verified_keys(sealed, BOTH) == {ONE.keyid, TWO.keyid}
    changed = Sealed(kind, body + b"\0", sealed.signatures)
    assert verified_keys(changed, BOTH) == frozenset()


_NAMES = st.sampled_from(["payload", "payloadType", "signatures", "sig", "x"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
).map(msgspec.json.encode)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | _JSON)
def test_any_bytes_are_an_envelope_or_a_bad_request(data: bytes) -> None:
    try:
        sealed = open_envelope(data, "t")
    except BadRequest:
        return
    assert 1 <= len(sealed.signatures) <= 8


def test_repeated_names_are_found_at_any_depth() -> None:
    parsed = parse_leniently(b'{"a":[{"b":1,"b":2}],"c":1}')
    assert parsed is not None
    assert parsed.repeated == {"b"}
    with pytest.raises(BadRequest):
        parse_object(b'{"a":{"b":1,"b":1}}', "x")
    assert parse_object(b'{"a":1}', "x") == {"a": 1}
