"""``posctl fleet keys new | show | policy``: keys of people, and the signed policy that says what each may order."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from agent.contract.policy import PolicyKey
from agent.errors import BadRequest
from agent.fleet.key_file import ROLES, KeyFile, check_roles, is_private, read_private, read_public, write_new
from agent.fleet.orders import life
from agent.fleet.policy_text import read_rules, signed_policy
from agent.fleet.screen import ReadArguments, Screen
from agent.fleet.signing import new_key

DEFAULT_POLICY_LIFE = "365d"


def add_arguments(parser: argparse.ArgumentParser, _read_arguments: ReadArguments) -> None:
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    new = verbs.add_parser("new", help="make a key pair for one person")
    new.add_argument(
        "--out", required=True, type=Path, metavar="DIR", help="where; gets PERSON.key.json and PERSON.pub.json"
    )
    new.add_argument("--person", required=True, metavar="P", help="whose; one person counts once, however many keys")
    new.add_argument("--organisation", required=True, metavar="O")
    new.add_argument("--roles", required=True, metavar="R,…", help=f"of {', '.join(ROLES)}")
    _common(new).set_defaults(run=_new)
    show = verbs.add_parser("show", help="what is in key files, never the private part")
    show.add_argument("files", nargs="+", type=Path, metavar="FILE")
    _common(show).set_defaults(run=_show)
    policy = verbs.add_parser(
        "policy", help="make and sign a policy", epilog="A terminal takes it as its [trust] policy."
    )
    policy.add_argument("--out", required=True, type=Path, metavar="FILE")
    policy.add_argument(
        "--keys", required=True, nargs="+", type=Path, metavar="FILE", help="every key, public or private"
    )
    policy.add_argument(
        "--sign", nargs="+", type=Path, metavar="FILE", help="private keys of role root (else those among --keys)"
    )
    policy.add_argument("--rules", type=Path, metavar="FILE", help="JSON: who may order what, where not as by default")
    policy.add_argument("--root-threshold", type=int, default=1, metavar="N", help="how many root people must sign (1)")
    policy.add_argument(
        "--version", type=int, default=1, metavar="N", help="greater than that of the policy it replaces"
    )
    policy.add_argument(
        "--expires", default=DEFAULT_POLICY_LIFE, metavar="LIFE", help=f"as 365d ({DEFAULT_POLICY_LIFE})"
    )
    policy.add_argument(
        "--lock-unit", action="append", default=[], metavar="UNIT", help="stopped while locked; repeat it"
    )
    _common(policy).set_defaults(run=_policy)


def _common(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--json", action="store_true", dest="as_json", help="print JSON")
    parser.add_argument("--socket", help=argparse.SUPPRESS)  # every verb takes it; these need no agent
    return parser


def _new(args: argparse.Namespace, screen: Screen) -> int:
    roles = check_roles([role.strip() for role in args.roles.split(",")])
    key = new_key(args.person, args.organisation, roles)
    try:
        args.out.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as err:
        raise BadRequest(f"cannot make {args.out}: {err.strerror}", field="--out") from err
    private, public = args.out / f"{key.person}.key.json", args.out / f"{key.person}.pub.json"
    write_new(private, _json(key), 0o600)
    write_new(public, _json(key.public()), 0o644)
    if screen.as_json:
        screen.document({"private": str(private), "public": str(public), **msgspec.to_builtins(key.public())})
    else:
        screen.line(f"{private}  private: keep it, and keep it secret")
        screen.line(f"{public}  public: for the policy")
        screen.line(f"keyid {key.keyid}")
    return 0


def _show(args: argparse.Namespace, screen: Screen) -> int:
    keys = [read_public(path) for path in args.files]
    if screen.as_json:
        screen.document({"keys": keys})
    else:
        for key in keys:
            screen.line(f"{key.person} of {key.organisation}: {', '.join(key.roles)}")
            screen.line(f"  keyid {key.keyid}")
    return 0


def _policy(args: argparse.Namespace, screen: Screen) -> int:
    signers = [read_private(path) for path in args.sign] if args.sign else _private_roots(args.keys)
    keys = list({key.keyid: key for key in [*map(read_public, args.keys), *(k.public() for k in signers)]}.values())
    _check_roots(keys, [key.public() for key in signers], args.root_threshold)
    try:
        policy_life: timedelta = life(args.expires)
    except ValueError as err:
        raise BadRequest(str(err), field="--expires") from err
    rules = read_rules(args.rules) if args.rules else {}
    envelope = signed_policy(
        version=args.version,
        issued_at=datetime.now(UTC),
        life=policy_life,
        root_threshold=args.root_threshold,
        keys=keys,
        signers=signers,
        rules=rules,
        lock_units=args.lock_unit,
    )
    write_new(args.out, envelope + b"\n", 0o644)
    many = f"{len(keys)} key{'' if len(keys) == 1 else 's'}"
    expires = screen.local(datetime.now(UTC) + policy_life)[:10]
    if screen.as_json:
        screen.document({"policy": str(args.out), "version": args.version, "keys": keys})
    else:
        screen.line(f"{args.out}  policy version {args.version}: {many}, good until {expires}")
        screen.line("put it where [trust] policy of the terminal points, owned by root")
    return 0


def _private_roots(paths: list[Path]) -> list[KeyFile]:
    """The private files among ``paths`` whose keys have the role root."""
    return [key for path in paths if is_private(path) for key in [read_private(path)] if "root" in key.roles]


def _check_roots(keys: list[PolicyKey], signers: list[PolicyKey], threshold: int) -> None:
    """A terminal takes a first policy only when it is signed by its own threshold of root people."""
    strangers = [key.person for key in signers if "root" not in key.roles]
    if strangers:
        raise BadRequest(f"only keys of role root sign a policy, not that of {', '.join(strangers)}", field="--sign")
    people = {key.person for key in signers}
    if not 1 <= threshold <= len(people):
        raise BadRequest(
            f"the policy asks for {threshold} root people and {len(people)} sign it", field="--root-threshold"
        )


def _json(key: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(key), indent=2) + b"\n"
