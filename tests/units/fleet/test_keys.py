"""Keys of people and the policies they sign, by files; checked by an independent reading of DSSE and by the agent's."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from agent.ctl.__main__ import main
from agent.trust.policy import read_policy
from tests.units.fleet.fake_terminal import open_envelope, public_keys

POLICY_TYPE = "application/vnd.pos-agent.policy.v1+json"


def new_key(folder: Path, person: str, roles: str, organisation: str = "acquirer-a") -> Path:
    words = ["--out", str(folder), "--person", person, "--organisation", organisation, "--roles", roles]
    assert main(["fleet", "keys", "new", *words]) == 0
    return folder / f"{person}.key.json"


def test_a_key_pair_is_what_the_contract_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = new_key(tmp_path / "keys", "li-wei", "operator,support")
    public = tmp_path / "keys" / "li-wei.pub.json"
    assert private.stat().st_mode & 0o777 == 0o600
    key, secret = json.loads(public.read_text()), json.loads(private.read_text())
    raw = base64.b64decode(key["public_key"])
    assert key == {
        "keyid": hashlib.sha256(raw).hexdigest(),
        "public_key": base64.b64encode(raw).decode(),
        "person": "li-wei",
        "organisation": "acquirer-a",
        "roles": ["operator", "support"],
    }
    assert bytes(SigningKey(base64.b64decode(secret["private_key"])).verify_key) == raw
    assert secret["private_key"] not in capsys.readouterr().out


def test_two_keys_are_never_the_same(tmp_path: Path) -> None:
    files = [new_key(tmp_path, person, "operator") for person in ("a", "b")]
    assert len({json.loads(file.read_text())["private_key"] for file in files}) == 2


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    private = new_key(tmp_path, "li-wei", "operator")
    before = private.read_bytes()
    words = ["--out", str(tmp_path), "--person", "li-wei", "--organisation", "o", "--roles", "root"]
    assert main(["fleet", "keys", "new", *words]) == 2
    assert private.read_bytes() == before


def test_show_prints_everything_but_the_private_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private = new_key(tmp_path, "li-wei", "root")
    capsys.readouterr()
    for words in ([str(private)], [str(private), "--json"]):
        assert main(["fleet", "keys", "show", *words]) == 0
        out = capsys.readouterr().out
        assert json.loads(private.read_text())["keyid"] in out
        assert json.loads(private.read_text())["private_key"] not in out


def make_policy(tmp_path: Path, *words: str) -> int:
    return main(["fleet", "keys", "policy", "--out", str(tmp_path / "policy.json"), *words])


def test_a_policy_is_signed_by_its_own_roots(tmp_path: Path) -> None:
    root, other = new_key(tmp_path, "li-wei", "root,operator"), new_key(tmp_path, "ana", "support", "bank-b")
    public = tmp_path / "ana.pub.json"
    assert (
        make_policy(tmp_path, "--keys", str(root), str(public), "--expires", "30d", "--lock-unit", "pay.service") == 0
    )
    envelope = (tmp_path / "policy.json").read_bytes()
    policy, signed = open_envelope(envelope, public_keys([root]), POLICY_TYPE)
    assert signed == 1
    assert open_envelope(envelope, public_keys([other]), POLICY_TYPE)[1] == 0
    assert set(policy) == {"version", "issued_at", "expires_at", "root_threshold", "keys", "commands", "lock_units"}
    assert (policy["version"], policy["root_threshold"], policy["lock_units"]) == (1, 1, ["pay.service"])
    assert [key["person"] for key in policy["keys"]] == ["li-wei", "ana"]
    assert all("private_key" not in key for key in policy["keys"])
    life = datetime.fromisoformat(policy["expires_at"]) - datetime.fromisoformat(policy["issued_at"])
    assert life == timedelta(days=30)
    assert read_policy(tmp_path / "policy.json") is not None  # and the terminal's own reading of it agrees


def test_a_policy_of_two_people_has_both_signatures(tmp_path: Path) -> None:
    roots = [new_key(tmp_path, person, "root") for person in ("li-wei", "ana")]
    words = ["--keys", *map(str, roots), "--sign", *map(str, roots), "--root-threshold", "2", "--version", "7"]
    assert make_policy(tmp_path, *words) == 0
    policy, signed = open_envelope((tmp_path / "policy.json").read_bytes(), public_keys(roots), POLICY_TYPE)
    assert (policy["version"], policy["root_threshold"], signed) == (7, 2, 2)


def test_rules_of_ones_own_are_taken_and_checked(tmp_path: Path) -> None:
    root = new_key(tmp_path, "li-wei", "root")
    rules = tmp_path / "rules.json"
    rules.write_text('{"reset": {"roles": ["operator"], "people": 2, "local": null}}')
    assert make_policy(tmp_path, "--keys", str(root), "--rules", str(rules)) == 0
    policy, _signed = open_envelope((tmp_path / "policy.json").read_bytes(), [], POLICY_TYPE)
    assert policy["commands"] == {"reset": {"roles": ["operator"], "people": 2, "organisations": 1, "local": None}}
    (tmp_path / "policy.json").unlink()
    rules.write_text('{"reset": {"roles": ["king"]}}')
    assert make_policy(tmp_path, "--keys", str(root), "--rules", str(rules)) == 2


def test_a_policy_that_no_terminal_would_take_is_not_made(tmp_path: Path) -> None:
    root, operator = new_key(tmp_path, "li-wei", "root"), new_key(tmp_path, "ana", "operator")
    elsewhere = new_key(tmp_path / "b", "li-wei", "operator", "bank-b")
    for words in (
        ["--keys", str(root), "--root-threshold", "2"],  # one person cannot be two
        ["--keys", str(operator)],  # nobody of role root signs
        ["--keys", str(operator), "--sign", str(operator)],
        ["--keys", str(root), "--version", "0"],
        ["--keys", str(root), "--lock-unit", "pay"],
        ["--keys", str(root), str(elsewhere)],  # one person cannot speak for two organisations
        ["--keys", str(root), "--expires", "soon"],
        ["--keys", str(tmp_path / "none.json")],
    ):
        assert make_policy(tmp_path, *words) == 2, words
    assert not (tmp_path / "policy.json").exists()


def test_a_private_key_that_others_may_read_is_not_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = new_key(tmp_path, "li-wei", "root")
    root.chmod(0o640)
    assert make_policy(tmp_path, "--keys", str(root)) == 4
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"private_key": "AAAA"}', "\x00"])
def test_a_file_that_is_no_key_is_refused_without_showing_it(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key.json"
    file.write_text(content)
    file.chmod(0o600)
    assert make_policy(tmp_path, "--keys", str(file)) == 2
    assert "AAAA" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("person", "roles"), [("li wei", "root"), ("../x", "root"), ("a", "king"), ("a", ""), ("", "root")]
)
def test_a_key_that_no_policy_could_hold_is_not_made(person: str, roles: str, tmp_path: Path) -> None:
    words = ["--out", str(tmp_path), "--person", person, "--organisation", "o", "--roles", roles]
    assert main(["fleet", "keys", "new", *words]) == 2
    assert os.listdir(tmp_path) == []


def test_a_key_file_whose_halves_do_not_belong_together_signs_nothing(tmp_path: Path) -> None:
    root, other = new_key(tmp_path, "li-wei", "root"), new_key(tmp_path, "ana", "root")
    mixed = {**json.loads(root.read_text()), "private_key": json.loads(other.read_text())["private_key"]}
    root.write_text(json.dumps(mixed))
    assert make_policy(tmp_path, "--keys", str(root)) == 2
