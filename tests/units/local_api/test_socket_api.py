"""The catalogue of methods is exactly what the sockets of a running agent offer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contract import rpc, socket_api
from agent.contract.socket_api import METHODS, MethodForm, Socket, methods_of
from agent.contract.transaction_form import RecordFields
from agent.errors import BadRequest
from agent.local_api import wire
from agent.local_api.control import ControlMethods
from agent.local_api.events import subscribing
from agent.local_api.payment import PaymentMethods
from agent.local_api.peer import PAYMENT
from agent.local_api.sales import SaleMethods
from agent.local_api.server import Method
from tests.kit.agent_process import AgentProcess, call
from tests.kit.contract_peer import BAD_PARAMS, NO_METHOD, OF_THE_AGENT

NOT_YET = ("maintenance.list", "maintenance.add", "audit.list", "diagnostics.collect")


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("agent")) as agent:
        yield agent


def socket_of(agent: AgentProcess, form: MethodForm) -> Path:
    return agent.run / f"{form.socket}.sock"


def names() -> list[str]:
    return [f"{form.socket}:{form.name}" for form in METHODS]


def table_of(socket: Socket) -> dict[str, Method]:
    """The server's table as the composition root puts it together; nothing is called."""
    nothing: Any = None
    if socket is Socket.CONTROL:
        return ControlMethods(_Subjects()).table()  # type: ignore[arg-type]
    return {
        **PaymentMethods(nothing, bindings=frozenset(), on_card_data=lambda _rule: None).table(),
        **SaleMethods(nothing, nothing).table(),
        "events.subscribe": subscribing(PAYMENT),
    }


class _Subjects:
    def __getattr__(self, _name: str) -> None:
        return None


@pytest.mark.parametrize("socket", Socket)
def test_names_and_rights_are_those_of_the_servers_tables(socket: Socket) -> None:
    table = table_of(socket)
    assert {name: method.right for name, method in table.items()} == {
        name: form.right.value for name, form in methods_of(socket).items()
    }


def test_no_method_stands_twice() -> None:
    assert len({(form.socket, form.name) for form in METHODS}) == len(METHODS)


@pytest.mark.parametrize("form", METHODS, ids=names())
def test_a_running_agent_has_each_method_and_refuses_what_its_form_does_not_know(
    form: MethodForm, agent: AgentProcess
) -> None:
    error = call(socket_of(agent, form), form.name, {"nobody_knows_this": 1})["error"]
    assert (error["code"], error["data"]["code"]) == (BAD_PARAMS, "BAD_PARAMS")
    fields = msgspec.structs.fields(form.params)
    missing = next((field.name for field in fields if field.required), None)
    if missing is not None and form.name not in ("transaction.record", "transaction.record_many"):
        assert call(socket_of(agent, form), form.name)["error"]["data"]["field"] == missing


@pytest.mark.parametrize("form", METHODS, ids=names())
def test_a_method_of_one_socket_is_none_of_the_other_unless_it_stands_there_too(
    form: MethodForm, agent: AgentProcess
) -> None:
    other = next(one for one in Socket if one is not form.socket)
    if form.name not in methods_of(other):
        error = call(agent.run / f"{other}.sock", form.name)["error"]
        assert error["code"] == NO_METHOD


@pytest.mark.parametrize("name", NOT_YET)
def test_methods_whose_subject_does_not_exist_yet_are_none(name: str, agent: AgentProcess) -> None:
    for socket in Socket:
        assert call(agent.run / f"{socket}.sock", name)["error"]["code"] == NO_METHOD


@pytest.mark.parametrize("form", [form for form in METHODS if not msgspec.structs.fields(form.params)], ids=str)
def test_what_needs_no_parameters_answers_what_the_catalogue_says(form: MethodForm, agent: AgentProcess) -> None:
    answer = call(socket_of(agent, form), form.name)
    msgspec.convert(answer["result"], form.result)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
FORMS = sorted({form.params for form in METHODS} - {RecordFields}, key=lambda form: form.__name__)


@given(data=st.data(), form=st.sampled_from(FORMS))
def test_any_parameters_are_taken_or_refused_by_a_field_without_their_values(data: st.DataObject, form: Any) -> None:
    known = st.sampled_from(form.__struct_fields__ or ("x",))
    params = data.draw(st.dictionaries(known | st.text(max_size=12), JSON, max_size=6))
    refusal = _refusal(msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "method": "m", "params": params}), form)
    if refusal is None:
        return
    assert refusal.data.code in ("BAD_PARAMS", "CARD_DATA_REJECTED", "PARSE_ERROR")
    field = (refusal.data.field or "(unknown)").partition(".")[0].partition("[")[0]
    assert field in ("(unknown)", *form.__struct_fields__)
    told = f"{refusal.message} {refusal.data.hint}"
    assert not [value for value in params.values() if isinstance(value, str) and len(value) > 8 and value in told]


def _refusal(line: bytes, form: Any) -> rpc.ErrorObject | None:
    """How a call with this frame would be refused; None when its parameters are of the form."""
    try:
        taken = rpc.decode_params(wire.parse_request(line).params, form)
    except BadRequest as err:
        return rpc.error_object(err)
    except wire.WireFault as fault:
        return fault.error
    assert isinstance(taken, form)
    return None


def test_every_own_error_is_explained_and_none_is_explained_for_nothing() -> None:
    named = {code for form in METHODS for code in form.errors}
    assert named == set(socket_api.OWN_ERRORS)
    assert not named & set(socket_api.COMMON_ERRORS)


def test_lists_of_nothing_answer_their_form(agent: AgentProcess) -> None:
    for name in ("transaction.list", "transaction.summary", "command.list", "health.history", "backup.list"):
        form = methods_of(Socket.CONTROL)[name]
        msgspec.convert(call(socket_of(agent, form), name)["result"], form.result)


def test_a_check_answers_the_state_of_an_order_and_so_does_a_cancel(agent: AgentProcess) -> None:
    control = agent.run / "control.sock"
    state = call(control, "health.check", {"device": "cpu", "level": "internal"})["result"]
    assert (state["name"], len(state)) == ("check_device", 11)
    again = call(control, "health.check", {"device": "cpu", "level": "internal"})["result"]
    assert again["command_id"] != state["command_id"]
    assert call(control, "command.get", {"command_id": state["command_id"]})["result"]["name"] == "check_device"
    cancelled = call(control, "command.cancel", {"command_id": state["command_id"]})["result"]
    assert (cancelled["name"], len(cancelled)) == ("cancel", 11)
    error = call(control, "health.check", {"device": "4111111111111111", "level": "internal"})["error"]
    assert (error["code"], error["data"]["code"]) == (OF_THE_AGENT, "CARD_DATA_REJECTED")
