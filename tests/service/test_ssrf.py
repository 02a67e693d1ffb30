"""Nobody has the server connect to where only the server can: no spelling of an address, no name, no redirect."""

from __future__ import annotations

import asyncio
import base64
import socket
import sqlite3
import sys
import time
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import httpx
import pytest
from conftest import Serve
from httpx_secure import SSRFProtectionError
from receiver import SECRET, Trap, receiving, resolving, trap
from served import IMAGE, serving
from skipstep_service.webhooks.addresses import is_public
from skipstep_service.webhooks.sending import Sender, SendError
from skipstep_service.webhooks.signing import Signer
from skipstep_service.webhooks.targets import parse_target, refusal

PRIVATE = {
    "loopback": ("127.0.0.1", "127.0.0.2", "127.255.255.254", "::1"),
    "this": ("0.0.0.0", "0.1.2.3", "::"),
    "private": ("10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255"),
    "shared": ("100.64.0.1", "100.100.100.200", "100.127.255.255"),
    "link-local": ("169.254.169.254", "169.254.170.2", "fe80::1", "fe80::1%1", "febf::1"),
    "clouds' own": ("168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    "documentation": ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "3fff::1"),
    "benchmarks": ("198.18.0.1", "198.19.255.255", "2001:2::1"),
    "multicast": ("224.0.0.1", "239.255.255.250", "ff02::1", "ff0e::1"),
    "reserved": ("240.0.0.1", "255.255.255.255", "4000::1", "5f00::1"),
    "unique local": ("fc00::1", "fd12:3456:789a::1"),
    "site-local": ("fec0::1", "feff::1"),
    "mapped": ("::ffff:127.0.0.1", "::ffff:7f00:1", "::ffff:10.0.0.1", "::ffff:8.8.8.8"),
    "compatible": ("::127.0.0.1", "::7f00:1", "::ffff:0:127.0.0.1"),
    "6to4": ("2002:7f00:1::", "2002:a00:1::1", "2002:808:808::1", "192.88.99.1"),
    "teredo": ("2001:0:4136:e378:8000:63bf:80ff:fffe", "2001::1"),
    "NAT64": ("64:ff9b::7f00:1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::7f00:1"),
}
PUBLIC = (
    *("1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"),
    *("128.0.0.0", "169.253.255.255", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0"),
    *("223.255.255.255", "2606:4700:4700::1111", "2a00:1450::1", "64:ff9b::8.8.8.8"),
)


@pytest.mark.parametrize("kind", PRIVATE)
def test_addresses_that_are_not_public(kind: str) -> None:
    for text in PRIVATE[kind]:
        assert not is_public(ip_address(text)), text


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_that_are_public(text: str) -> None:
    assert is_public(ip_address(text))


HOSTS = (
    # as addresses are usually written
    *("127.0.0.1", "127.0.0.2", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("168.63.129.16", "224.0.0.1", "255.255.255.255", "192.0.0.192", "198.18.0.1"),
    # shortened, in other bases, too large, with zeros in front
    *("127.1", "127.0.1", "0", "0x7f.1", "0x7f.0.0.1", "0x7f000001", "0X7F000001", "2130706433", "017700000001"),
    *("0177.0.0.1", "0177.0.0.01", "127.0.0.01", "127.000.000.001", "00127.0.0.1", "4294967297", "0x17f000001"),
    *("127.0.0.1.", "127.0.0.1..", ".127.0.0.1", "127..0.1", "127.0.0.0x1", "a.127", "256.0.0.1", "127.0.0.257"),
    # IPv6
    *("[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:7F00:0001]"),
    *("[0:0:0:0:0:ffff:127.0.0.1]", "[::ffff:0:127.0.0.1]", "[::127.0.0.1]", "[::7f00:1]", "[64:ff9b::7f00:1]"),
    *("[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]"),
    *("[fc00::1]", "[fd00:ec2::254]", "[fec0::1]", "[ff02::1]", "[fe80::1]", "[fe80::1%25eth0]", "[fe80::1%eth0]"),
    *("[::1%25lo]", "[::1%lo]", "[127.0.0.1]", "[localhost]", "[v1.127.0.0.1]", "::1", "[::1", "::1]", "[]", "[:::1]"),
    # names
    *("localhost", "LOCALHOST", "localhost.", "localhost..", "loopback.example", "mapped.example", "meta.example"),
    *("zone.example", "both.example", "nat64.example", "xn--a.example", "no-such.example", "-localhost", "local_host"),
    # percent-encoded, other scripts' digits and dots, and what is no host
    *("127.0.0.%31", "%31%32%37.0.0.1", "127%2e0.0.1", "%6c%6f%63%61%6c%68%6f%73%74", "localhost%00.example.com"),
    *("127。0。0。1", "127\uff0e0\uff0e0\uff0e1", "127｡0｡0｡1", "①②⑦.0.0.1", "\uff11\uff12\uff17.0.0.1"),
    *("١٢٧.0.0.1", "ⓛocalhost", "loc\u00adalhost"),
    *("local\u200bhost", "127.0.0.1\u3000", "example.com@127.0.0.1", "127.0.0.1@example.com"),
    *("a:b@localhost", "@localhost"),
    *("example.com\\@127.0.0.1", "127.0.0.1\\.example.com", "127.0.0.1#.example.com", "example.com#@127.0.0.1"),
    *("127.0.0.1 .example.com", " 127.0.0.1", "127.0.0.1\t", "127.0.0.1\r\nHost: x", "127.0.0.1\n", "127.0.0.1\0", ""),
    *("$(hostname)", "{127,0,0,1}", "127.0.0.1;x", "127.0.0.1,x", "a" * 64 + ".example", "a." * 130 + "example"),
)
WHOLE = (
    *("file:///etc/passwd", "gopher://127.0.0.1:{port}/_x", "ftp://127.0.0.1:{port}/", "unix:///var/run/docker.sock"),
    *("http+unix://%2Fvar%2Frun%2Fdocker.sock/x", "data:text/plain,x", "javascript:alert(1)", "ws://127.0.0.1:{port}/"),
    *("dict://127.0.0.1:{port}/x", "ldap://127.0.0.1:{port}/", "jar:http://127.0.0.1:{port}!/"),
    "tftp://127.0.0.1:{port}/",
    *("//127.0.0.1:{port}/", "/etc/passwd", "127.0.0.1:{port}", "https:127.0.0.1:{port}", "https:/127.0.0.1:{port}/"),
    *("https:///127.0.0.1:{port}/", "https:\\\\127.0.0.1:{port}\\", "HTTPS://127.0.0.1:{port}/"),
    " https://127.0.0.1:{port}/",
    *("https://127.0.0.1:{port}/\r\nX: y", "https://127.0.0.1:{port}/#x"),
    "https://a:{port}:80/",
    *("https://localhost:0/", "https://localhost:65536/", "https://localhost:-1/"),
    *("https://localhost:\uff18\uff10/", "", "https://"),
    *("https://localhost:{port}/" + "x" * 2000, "https://localhost:{port}/é", "https://localhost:{port}/ x"),
)
NAMES = {
    "loopback.example": ["127.0.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "meta.example": ["169.254.169.254"],
    "zone.example": ["fe80::1"],
    "both.example": ["1.1.1.1,127.0.0.1"],
    "nat64.example": ["64:ff9b::7f00:1"],
}
LOCAL = ("localhost", "LOCALHOST", "loopback.example")  # well-formed, and known by looking them up only


@pytest.fixture(scope="module")
def port() -> Iterator[Trap]:
    """What nobody may connect to, on all addresses of this machine."""
    with trap("::" if socket.has_dualstack_ipv6() else "0.0.0.0") as found, pytest.MonkeyPatch.context() as patch:
        hosts = ("127.0.0.1", "::1") if socket.has_dualstack_ipv6() else ("127.0.0.1",)
        for host in hosts:
            socket.create_connection((host, found.port)).close()
        until(lambda: found.connections == len(hosts))  # it does see who connects
        found.connections = 0
        patch.setattr(socket, "getaddrinfo", resolving(NAMES))
        yield found
    assert found.connections == 0


def until(is_so: Any) -> None:
    end = time.monotonic() + 10
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def spellings(port: int, scheme: str) -> list[str]:
    return [f"{scheme}://{host}:{port}/" for host in HOSTS] + [url.replace("{port}", str(port)) for url in WHOLE]


MODES: dict[str, dict[str, Any]] = {
    "https": {},
    "http": {"webhook_allow": ["127.0.0.77/32", "fd77::/64"]},  # of others; so that http is not refused as such
}


@pytest.mark.parametrize("scheme", MODES)
def test_no_spelling_gets_through(scheme: str, port: Trap, tmp_path: Path) -> None:
    urls = spellings(port.port, scheme)
    assert len(set(urls)) == len(urls) >= 120
    accepted = {}
    with serving(tmp_path, webhook_secret=SECRET, webhook_retries_s=[], max_queue=500, **MODES[scheme]) as client:
        for url in urls:
            answer = client.post("/v1/jobs", json={**IMAGE, "webhook": {"url": url}})
            assert answer.status_code in (202, 422), url
            if answer.status_code == 202:
                accepted[answer.json()["id"]] = url
        database = sqlite3.connect(tmp_path / "jobs.db")
        asked = "select job_id, last_error from deliveries where given_up_at is not null and delivered_at is null"
        until(lambda: len(database.execute(asked).fetchall()) == len(accepted))
        errors = {accepted[job]: error for job, error in database.execute(asked)}
        database.close()
    assert port.connections == 0
    # only names are left to the delivery, and each was refused there for what it is
    known = {f"{scheme}://{name}:{port.port}/" for name in (*LOCAL, *(set(NAMES) - {"loopback.example"}))}
    unknown = {f"{scheme}://{name}:{port.port}/" for name in ("xn--a.example", "no-such.example")}
    assert set(errors) == known | unknown
    for url, error in errors.items():
        expected = "an address that may not be reached" if url in known else "gaierror"
        assert expected in error, url


def sender(allowed: tuple[str, ...] = (), *, timeout_s: float = 5) -> Sender:
    return Sender(Signer(SECRET), allowed=[ip_network(text) for text in allowed], timeout_s=timeout_s)


@pytest.mark.parametrize("scheme", MODES)
def test_no_spelling_gets_through_where_none_was_refused_before(scheme: str, port: Trap) -> None:
    one = sender(MODES[scheme].get("webhook_allow", ()))

    async def send_all() -> None:
        for url in spellings(port.port, scheme):
            with pytest.raises(SendError):
                await one.send(url, message_id="x", body="{}")

    asyncio.run(send_all())
    assert port.connections == 0


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "224.0.0.1"]
)
def test_the_socket_refuses_what_was_not_checked_before(text: str, port: Trap, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unchecked(*_: Any) -> list[Any]:
        return [ip_address(text)]

    monkeypatch.setattr(Sender, "_addresses_of", unchecked)
    with pytest.raises(SendError, match=SSRFProtectionError.__name__):
        asyncio.run(sender().send(f"https://hooks.example:{port.port}/", message_id="x", body="{}"))
    assert port.connections == 0


needs_loopback_net = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")


@needs_loopback_net
def test_a_name_that_is_bound_anew_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first answer may be reached, those after it may not: between tries, and within one."""
    with trap("127.0.0.1") as inside, receiving((500,), host="127.0.0.77", port=inside.port) as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", resolving({"rebinding.example": ["127.0.0.77", "127.0.0.1"]}))
        one, url = sender(("127.0.0.77/32",)), f"http://rebinding.example:{inside.port}/"
        assert asyncio.run(one.send(url, message_id="x", body="{}")) == 500  # looked up once, or it were inside
        with pytest.raises(SendError, match="an address that may not be reached"):
            asyncio.run(one.send(url, message_id="x", body="{}"))
        assert len(receiver.posted) == 1
        assert receiver.posted[0].headers["host"] == f"rebinding.example:{inside.port}"
    assert inside.connections == 0


@needs_loopback_net
@pytest.mark.parametrize("answer", ["127.0.0.77,127.0.0.1", "127.0.0.1,127.0.0.77"])
def test_one_bad_address_of_a_name_is_enough(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with trap("127.0.0.1") as inside, receiving(host="127.0.0.77", port=inside.port) as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", resolving({"two.example": [answer]}))
        with pytest.raises(SendError, match="an address that may not be reached"):
            asyncio.run(sender(("127.0.0.77/32",)).send(f"http://two.example:{inside.port}/", message_id="x", body=""))
        assert receiver.posted == []
    assert inside.connections == 0


@needs_loopback_net
@pytest.mark.parametrize("answer", ["127.0.0.77,127.0.0.78", "127.0.0.78,127.0.0.77"])
def test_the_next_address_is_tried_where_nobody_listens(answer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving(host="127.0.0.78") as receiver:
        monkeypatch.setattr(socket, "getaddrinfo", resolving({"two.example": [answer]}))
        one = sender(("127.0.0.0/8",))
        assert asyncio.run(one.send(f"http://two.example:{receiver.port}/", message_id="x", body="")) == 200


def test_what_is_allowed_is_reached_and_no_more(serve: Serve) -> None:
    with receiving() as receiver, serve(webhook_secret=SECRET, webhook_allow=["127.0.0.1/32"]) as client:
        client.job(webhook={"url": receiver.url()})
        client.job(webhook={"url": f"http://localhost:{receiver.port}/"})
        receiver.until(2)
        for url in (f"http://127.0.0.2:{receiver.port}/", "http://8.8.8.8/", "https://10.0.0.1/", "https://[::1]/"):
            answer = client.post("/v1/jobs", json={**IMAGE, "webhook": {"url": url}})
            assert answer.status_code == 422, url
            assert answer.json()["error"]["message"] == "webhook.url: must not be an address of a private network"
    assert refusal("https://8.8.8.8/x", ()) is None


def test_without_tls_nothing_is_sent_to_the_internet(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(webhook_secret=SECRET) as client:
        answer = client.post("/v1/jobs", json={**IMAGE, "webhook": {"url": "http://hooks.example.com/"}})
        assert answer.status_code == 422
        assert answer.json()["error"]["message"] == "webhook.url: must be https"
    monkeypatch.setattr(socket, "getaddrinfo", resolving({"public.example": ["1.1.1.1"]}))
    with pytest.raises(SendError, match="an address that may not be reached"):
        asyncio.run(sender(("10.0.0.0/8",)).send("http://public.example/", message_id="x", body=""))


def test_addresses_of_the_internet_are_accepted_as_they_are_usually_written() -> None:
    for url, host, port in (
        ("https://8.8.8.8", "8.8.8.8", 443),
        ("https://[2606:4700:4700::1111]:8443/a?b=c&d=%20", "2606:4700:4700::1111", 8443),
        ("https://Hooks.Example.com/a/b-c_d~e;f=1,2@x:y", "hooks.example.com", 443),
        ("https://xn--bcher-kva.example?x", "xn--bcher-kva.example", 443),
        ("https://1.example.com:1/", "1.example.com", 1),
    ):
        target = parse_target(url)
        assert (target.host, target.port) == (host, port)
        at = httpx.URL(target.at(ip_address("8.8.8.8")))
        assert (at.host, at.port or 443) == ("8.8.8.8", port)
        assert at.raw_path.decode() == httpx.URL(url).raw_path.decode()
    assert (
        httpx.URL(parse_target("https://a.example:8443/").at(ip_address("64:ff9b::8.8.8.8"))).host == "64:ff9b::808:808"
    )


def test_nothing_else_takes_urls(port: Trap, serve: Serve) -> None:
    urls = [
        *(f"{scheme}://127.0.0.1:{port.port}/x.png" for scheme in ("http", "https", "ftp", "gopher")),
        *(f"//localhost:{port.port}/x.png", "file:///etc/passwd", "/etc/passwd", "unix:///run/x.sock", "s3://x/y"),
    ]
    quoted = [f"data:image/png;base64,{base64.b64encode(url.encode()).decode()}" for url in urls]
    video = {"kind": "video", "steps": 5}
    with serve(webhook_secret=SECRET, a1111=True) as client:
        for url in (*urls, *quoted):
            for path, body in (
                ("/v1/jobs", {**IMAGE, "image": url}),
                ("/v1/jobs", {**video, "image": url}),
                ("/v1/videos", {"prompt": "x", "input_reference": url}),
                ("/v1/videos", {"prompt": "x", "input_reference": {"image_url": url}}),
                ("/sdapi/v1/img2img", {"prompt": "x", "init_images": [url]}),
                ("/sdapi/v1/png-info", {"image": url}),
            ):
                answer = client.post(path, json=body)
                assert 400 <= answer.status_code < 500, (path, body, answer.text)
        for url in urls:
            for path, body in (
                ("/v1/jobs", {**IMAGE, "model": url}),
                ("/v1/jobs", {**IMAGE, "loras": [{"name": url}]}),
                ("/v1/jobs", {**IMAGE, "acceleration": {"plan": url}}),
                ("/v1/images/generations", {"prompt": "x", "model": url}),
                ("/v1/videos", {"prompt": "x", "model": url, "input_reference": "x"}),
                ("/sdapi/v1/txt2img", {"prompt": "x", "override_settings": {"sd_model_checkpoint": url}}),
                ("/sdapi/v1/options", {"sd_model_checkpoint": url}),
            ):
                answer = client.post(path, json=body)
                assert 400 <= answer.status_code < 500, (path, body, answer.text)
    assert port.connections == 0
