"""The engine for servers: what a good one is asked, and a bad one's prompt back within the timeout, with a reason."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest
from bad_servers import Behaviour, delta, drips, floods, head, is_silent, message, sends, server

from skipstep.errors import OptionError
from skipstep.promptllm import ClipTokens, ExpandRequest, Expansion, Preset, PromptExpander, RemoteEngine
from skipstep.promptllm.remote import KEY_VARIABLE

TIMEOUT = 0.6
EVENTS = head(kind="text/event-stream")
DONE = b"data: [DONE]\n\n"


def expand(clip: ClipTokens, preset: Preset, url: str, *, seed: int = 1, timeout_s: float = 30) -> Expansion:
    request = ExpandRequest(prompt="a cat", preset=preset, seed=seed, timeout_s=timeout_s)
    return PromptExpander(RemoteEngine(url, model="small"), tokens=clip).expand(request)


GOOD: dict[str, Behaviour] = {
    "events": sends(EVENTS + delta("warm li") + delta("ght", "stop") + DONE),
    "events without [DONE]": sends(EVENTS + delta("warm li") + delta("ght", "stop")),
    "a last event without choices": sends(EVENTS + delta("warm light", "stop") + b'data: {"choices": []}\n\n' + DONE),
    "comments and other fields": sends(EVENTS + b": ping\r\nevent: x\r\n" + delta("warm light") + DONE),
    "one document": sends(head() + message("warm light")),
    "stays open after [DONE]": drips(EVENTS + delta("warm light") + DONE, b": ping\n"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_answers(clip: ClipTokens, photo: Preset, name: str) -> None:
    with server(GOOD[name]) as served:
        made = expand(clip, photo, served.url)
    assert (made.prompt, made.reason, made.engine, made.model) == ("a cat, warm light", None, "openai", "small")


def test_letters_may_come_in_halves(clip: ClipTokens, photo: Preset) -> None:
    event = b'data: {"choices": [{"delta": {"content": "lumi\xc3\xa8re \xf0\x9f\x8c\x85"}}]}\n\n'

    def byte_by_byte(connection: socket.socket, _: threading.Event) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in EVENTS + event + DONE:
            connection.sendall(bytes([byte]))

    with server(byte_by_byte) as served:
        assert expand(clip, photo, served.url).added == "lumi\u00e8re \U0001f305"


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
def test_what_a_server_is_asked(clip: ClipTokens, photo: Preset, monkeypatch: pytest.MonkeyPatch, ending: str) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret-1")
    with server(GOOD["events"]) as served:
        expand(clip, photo, served.url + ending, seed=7)
    (request,) = served.requests
    top, body = request.split(b"\r\n\r\n", 1)
    assert top.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert b"\r\nauthorization: bearer secret-1\r\n" in top.lower() + b"\r\n"
    asked = json.loads(body)
    assert (asked["model"], asked["seed"], asked["stream"], asked["max_tokens"]) == ("small", 7, True, 64)
    assert asked["messages"][0] == {"role": "system", "content": photo.system}
    assert asked["messages"][-1] == {"role": "user", "content": "a cat"}


def test_without_a_key_none_is_sent(clip: ClipTokens, photo: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with server(GOOD["events"]) as served:
        expand(clip, photo, served.url)
    assert b"authorization" not in served.requests[0].lower()


BAD: dict[str, tuple[Behaviour, str]] = {
    "silent": (is_silent, "no whole answer within"),
    "slow headers": (drips(b"HTTP/1.1 200 OK\r\nX: ", b"x"), "no whole answer within"),
    "slow body": (drips(EVENTS, b": ping\n"), "no whole answer within"),
    "slow text": (drips(EVENTS, delta("a")), "no whole answer within"),
    "slow document": (drips(head(), b" "), "no whole answer within"),
    "endless text": (floods(EVENTS, delta("words " * 100)), "the answer has more than 32768 characters"),
    "endless comments": (floods(EVENTS, b": ping\n" * 1000), "more than 1048576 bytes"),
    "endless line": (floods(EVENTS, b"x" * 10_000), "more than 1048576 bytes"),
    "endless document": (floods(head(), b" " * 10_000), "more than 1048576 bytes"),
    "huge answer": (sends(head() + message("a " * 1_000_000)), "more than 1048576 bytes"),
    "long answer": (sends(head() + message("a " * 20_000)), "more than 32768 characters"),
    "closed at once": (sends(b""), "RemoteProtocolError"),
    "another protocol": (sends(b"SSH-2.0-OpenSSH_9.9\r\n"), "RemoteProtocolError"),
    "redirect": (sends(head("302 Found", more="Location: http://127.0.0.1:1/\r\n")), "redirects (302), which is not"),
    "permanent redirect": (sends(head("308 Moved", more="Location: /v2\r\n")), "redirects (308)"),
    "wrong key": (sends(head("401 Unauthorized") + b"{}"), "another key (401); put it into SKIPSTEP_PROMPT_API_KEY"),
    "not found": (sends(head("404 Not Found") + b"{}"), "answered with status 404"),
    "failing": (sends(head("500 Oops") + b"{}"), "answered with status 500"),
    "no content": (sends(head("204 No Content")), "answered with status 204"),
    "HTML": (sends(head(kind="text/html") + b"<html>warm light</html>"), "answered text/html"),
    "no content type": (sends(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nx"), "without a content type"),
    "compressed": (sends(head(more="Content-Encoding: gzip\r\n") + b"\x1f\x8b"), "answered in gzip"),
    "no JSON": (sends(head() + b"warm light"), "not JSON"),
    "half of JSON": (sends(head() + message("warm light")[:-5]), "not JSON"),
    "deep JSON": (sends(head() + b"[" * 100_000), "not JSON"),
    "a list": (sends(head() + b"[]"), "no chat completion"),
    "no choices": (sends(head() + b"{}"), "without choices"),
    "choices of another kind": (sends(head() + b'{"choices": 5}'), "without choices"),
    "empty choices": (sends(head() + b'{"choices": []}'), "stops in its middle"),
    "an empty choice": (sends(head() + b'{"choices": [{}]}'), "without a text"),
    "a choice of another kind": (sends(head() + b'{"choices": [7]}'), "without a text"),
    "an empty text": (sends(head() + message("")), "without a text"),
    "no text": (sends(head() + message(None)), "without a text"),
    "a text of another kind": (sends(head() + message(["warm light"])), "whose content is no text"),
    "an error": (sends(head() + b'{"error": {"message": "out of memory"}}'), "out of memory"),
    "an error in events": (sends(EVENTS + delta("wa") + b'data: {"error": "lost"}\n\n'), "lost"),
    "bytes that are no text": (sends(head() + b'{"choices": [{"message": {"content": "\xff\xfe"}}]}'), "not UTF-8"),
    "no events": (sends(EVENTS + DONE), "without a text"),
    "events that stop": (sends(EVENTS + delta("warm li")), "stops in its middle"),
    "a body that is cut": (sends(head(more="Content-Length: 9000\r\n") + message("warm")), "RemoteProtocolError"),
    "events that are no JSON": (sends(EVENTS + b"data: warm light\n\n"), "not JSON"),
    "the prompt again": (sends(head() + message("A cat.")), "the model added nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_server_gives_the_prompt_within_the_timeout_and_a_reason(
    clip: ClipTokens, photo: Preset, name: str
) -> None:
    behave, reason = BAD[name]
    before = set(threading.enumerate())
    with server(behave) as served:
        started = time.monotonic()
        made = expand(clip, photo, served.url, timeout_s=TIMEOUT if "within" in reason else 30)
        took = time.monotonic() - started
        left = [thread for thread in threading.enumerate() if thread.name == "skipstep-prompt" and thread not in before]
        for thread in left:
            thread.join(5)
        assert not any(thread.is_alive() for thread in left)  # though the server goes on
    assert (made.prompt, made.added, made.clip_tokens, made.negative) == ("a cat", "", 4, photo.negative)
    assert reason in str(made.reason)
    assert len(str(made.reason)) < 400
    assert took < (TIMEOUT + 0.5 if "within" in reason else 10)


def test_a_dead_port(clip: ClipTokens, photo: Preset) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    made = expand(clip, photo, f"http://127.0.0.1:{port}", timeout_s=TIMEOUT)
    assert made.prompt == "a cat"
    assert "ConnectError" in str(made.reason)


def test_a_redirect_gets_neither_the_question_nor_the_key(
    clip: ClipTokens, photo: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "secret-1")
    with server(GOOD["events"]) as other:
        there = head("307 Temporary Redirect", more=f"Location: {other.url}/v1/chat/completions\r\n")
        with server(sends(there)) as served:
            made = expand(clip, photo, served.url)
        assert other.requests == []
    assert made.prompt == "a cat"
    assert "secret-1" not in json.dumps(made.as_dict())


def test_a_key_that_cannot_be_sent_is_a_reason_without_it(
    clip: ClipTokens, photo: Preset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sec\u00e9ret\n1")
    with server(GOOD["events"]) as served:
        made = expand(clip, photo, served.url)
    assert served.requests == []
    assert "cannot be in a header" in str(made.reason)
    assert "\u00e9" not in str(made.reason)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://x", "file:///etc/passwd", "http://", "http://h:x", "http://h/?a=1"]
)
def test_a_url_that_cannot_be_asked_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="url must be http://HOST:PORT"):
        RemoteEngine(url, model="small")


def test_a_password_in_the_url_is_refused_and_not_shown() -> None:
    with pytest.raises(OptionError, match="no name or password") as refused:
        RemoteEngine("http://me:secret-1@host", model="small")
    assert "secret-1" not in str(refused.value)
    with pytest.raises(OptionError, match="name of a model on the server, got ' '"):
        RemoteEngine("http://host", model=" ")
