"""What a sandbox may reach."""

import pytest
from daytona import DaytonaBadRequestError

GATEWAY = "$(awk '/nameserver/ {print $2}' /etc/resolv.conf)"


def resolver_answers(sandbox):
    """Whether the name server lets the sandbox connect: it is there whatever else the machine reaches."""
    return sandbox.process.exec(f'bash -c "exec 3<>/dev/tcp/{GATEWAY}/53" 2>/dev/null').exit_code == 0


def test_a_sandbox_is_made_blocked_and_opened_while_it_runs(create, daytona):
    sandbox = create(network_block_all=True)
    assert sandbox.network_block_all is True
    assert not resolver_answers(sandbox)
    sandbox.update_network_settings(network_block_all=False)
    assert daytona.get(sandbox.id).network_block_all is False
    assert resolver_answers(sandbox)


def test_a_list_of_networks_is_kept_and_lifts_a_block(create, daytona):
    sandbox = create(network_allow_list="203.0.113.0/24,198.51.100.7/32")
    assert sandbox.network_allow_list == "203.0.113.0/24,198.51.100.7/32"
    assert not resolver_answers(sandbox)
    sandbox.update_network_settings(network_block_all=True)
    assert (sandbox.network_block_all, sandbox.network_allow_list) == (True, None)
    sandbox.update_network_settings(network_allow_list="0.0.0.0/0")
    found = daytona.get(sandbox.id)
    assert (found.network_block_all, found.network_allow_list) == (False, "0.0.0.0/0")
    assert resolver_answers(sandbox)
    sandbox.update_network_settings(network_allow_list="")
    assert daytona.get(sandbox.id).network_allow_list is None


def test_a_policy_holds_over_a_stop_and_a_start(create):
    sandbox = create(network_block_all=True)
    sandbox.stop()
    sandbox.start()
    assert not resolver_answers(sandbox)


@pytest.mark.parametrize("networks", ["10.0.0.1", "::/0", "10.0.0.0/33", ",".join(["10.0.0.0/8"] * 11)])
def test_what_is_no_list_of_networks_is_refused(sandbox, networks):
    with pytest.raises(DaytonaBadRequestError, match="networkAllowList"):
        sandbox.update_network_settings(network_allow_list=networks)


def looks_up(sandbox, name):
    """What the sandbox's name server says of a name: its code, and whether there is an answer."""
    program = f"""
import socket
labels = b"".join(bytes([len(label)]) + label.encode() for label in "{name}".split("."))
query = bytes([0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0]) + labels + bytes([0, 0, 1, 0, 1])
server = next(line.split()[1] for line in open("/etc/resolv.conf") if line.startswith("nameserver"))
asked = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asked.settimeout(30)
asked.sendto(query, (server, 53))
print(asked.recv(4096)[3] & 15)
"""
    return sandbox.process.code_run(program).result.strip()


NO_SUCH_NAME = "3"


def test_names_are_listed_and_others_do_not_exist(create):
    sandbox = create(domain_allow_list="a.invalid, *.Bücher.example")
    assert sandbox.domain_allow_list == "a.invalid,*.xn--bcher-kva.example"
    assert looks_up(sandbox, "localhost.b.invalid") == NO_SUCH_NAME
    assert looks_up(sandbox, "xn--bcher-kva.example") == NO_SUCH_NAME

    sandbox.update_network_settings(domain_allow_list="")
    assert resolver_answers(sandbox)


@pytest.mark.parametrize("names", ["a..b", "*", "https://a.example", "1.2.3.4", ",".join(["a.example"] * 11)])
def test_what_is_no_list_of_names_is_refused(sandbox, names):
    with pytest.raises(DaytonaBadRequestError, match="domainAllowList"):
        sandbox.update_network_settings(domain_allow_list=names)
