"""A notification arrives, or it is known why not, in a time that is set."""

import base64
import hashlib
import hmac
import os
import socket
import sys

import pytest

from daemon.notify.delivery import NotDelivered, UnusableSecret, command, read_secret, webhook

NOW = 1_000_000_000.0


def refused(deliver):
    with pytest.raises(NotDelivered) as found:
        deliver("l-1", b'{"event": "failed"}', NOW)
    return found.value


# ---- a web server


def test_the_document_is_posted_with_its_id(server):
    webhook(server.address, None, 10)("l-1", b'{"event": "failed"}', NOW)

    [(headers, body)] = server.received
    assert body == b'{"event": "failed"}'
    assert headers["Content-Type"] == "application/json"
    assert (headers["Webhook-Id"], headers["Webhook-Timestamp"]) == ("l-1", "1000000000")
    assert "Webhook-Signature" not in headers


def test_it_is_signed_as_the_standard_webhooks_are(server):
    webhook(server.address, b"secret", 10)("l-1", b"{}", NOW)

    [(headers, _)] = server.received
    expected = hmac.new(b"secret", b"l-1.1000000000.{}", hashlib.sha256).digest()
    assert headers["Webhook-Signature"] == f"v1,{base64.b64encode(expected).decode()}"


@pytest.mark.parametrize("answer", ["hang", "drip"])
def test_a_server_that_does_not_come_to_an_end_is_left(server, answer):
    server.answer = getattr(server, answer)

    error = refused(webhook(server.address, None, 0.2))

    assert str(error) == "http://127.0.0.1 has not answered within 0.2 s"
    assert not error.is_final


@pytest.mark.parametrize(
    "code, is_final", [(500, False), (503, False), (429, False), (400, True), (410, True)]
)
def test_what_time_cures_is_tried_again(server, code, is_final):
    server.answer = lambda request: request.say(code)

    error = refused(webhook(server.address, None, 10))

    assert (str(error), error.is_final) == (f"http://127.0.0.1 answers {code}", is_final)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(server, code):
    server.answer = lambda request: request.say(code, Location=server.address)

    error = refused(webhook(server.address, b"secret", 10))

    assert len(server.received) == 1
    assert error.is_final
    assert str(error).endswith("a redirect, which is not followed; set notify.webhook to the new one")


def test_a_server_that_is_not_there_may_come_back():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        error = refused(webhook(f"http://127.0.0.1:{nobody.getsockname()[1]}/token", None, 10))

    assert str(error).startswith("http://127.0.0.1 cannot be reached: ")
    assert "token" not in str(error)
    assert not error.is_final


def test_nonsense_in_place_of_an_answer_is_no_delivery(server):
    server.answer = lambda request: request.wfile.write(b"220 mail.example.org ESMTP\r\n")

    assert "cannot be reached" in str(refused(webhook(server.address, None, 10)))


# ---- a command


def test_a_command_reads_the_document_and_no_shell_sees_its_arguments(tmp_path):
    code = "import sys; open('told', 'w').write(sys.stdin.read() + sys.argv[1])"

    command([sys.executable, "-c", code, "$HOME; `id`"], tmp_path, 10)("l-1", b'{"event": "failed"}', NOW)

    assert (tmp_path / "told").read_text() == '{"event": "failed"}\n$HOME; `id`'


def test_a_command_that_reads_nothing_has_been_told(tmp_path):
    command(["/bin/true"], tmp_path, 10)("l-1", b" " * 1_000_000, NOW)


def test_what_a_command_says_is_why_it_failed(tmp_path):
    code = "import sys; print('no \\x1b[31mroute', file=sys.stderr); sys.exit(3)"

    error = refused(command([sys.executable, "-c", code], tmp_path, 10))

    assert str(error) == f"{sys.executable} ended with exit code 3: no \\x1b[31mroute"


@pytest.mark.parametrize(
    "code, said",
    [
        ("import os; os._exit(3)", "ended with exit code 3"),
        ("import os; os.abort()", "was killed by signal 6"),
    ],
)
def test_a_command_that_ends_without_a_word_is_told_without_one(tmp_path, code, said):
    with pytest.raises(NotDelivered) as error:
        command([sys.executable, "-c", code], tmp_path, 60)("id", b"{}", 0.0)

    assert str(error.value) == f"{sys.executable} {said}"


def test_a_command_that_does_not_end_is_killed_with_what_it_started(tmp_path):
    ours, theirs = socket.socketpair()
    os.set_inheritable(theirs.fileno(), True)
    script = f"sleep 1000 <&{theirs.fileno()} & sleep 1000"
    shell = f"import os; os.execv('/bin/sh', ['sh', '-c', {script!r}])"

    error = refused(command([sys.executable, "-c", shell], tmp_path, 0.2))

    theirs.close()
    assert "has not ended within 0.2 s" in str(error)
    assert ours.recv(1) == b""  # nobody holds the other end any more
    ours.close()


def test_a_command_that_is_not_there_is_named(tmp_path):
    error = refused(command(["/nowhere/tell-me"], tmp_path, 10))

    assert str(error).startswith("/nowhere/tell-me cannot be run: ")


# ---- the secret


def test_a_secret_comes_from_the_environment_or_from_a_file(tmp_path):
    (tmp_path / "secret").write_text("whsec_c2VjcmV0\n")
    (tmp_path / "secret").chmod(0o600)

    assert read_secret("S", None, tmp_path, {"S": " plain "}) == b"plain"
    assert read_secret(None, "secret", tmp_path, {}) == b"secret"
    assert read_secret(None, None, tmp_path, {}) is None


@pytest.mark.parametrize(
    "env, file, said",
    [
        ("GONE", None, "notify.secret_env is 'GONE', but that variable is empty"),
        (None, "gone", "notify.secret_file is 'gone', but that file cannot be read"),
        (None, "open", "can be read by other users; expected: chmod 600"),
        (None, "empty", "is empty; expected a secret"),
        ("ODD", None, "is no base64 after whsec_"),
    ],
)
def test_a_secret_that_cannot_be_used_is_no_missing_signature(tmp_path, env, file, said):
    for name, mode in (("open", 0o644), ("empty", 0o600)):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)

    with pytest.raises(UnusableSecret) as found:
        read_secret(env, file, tmp_path, {"ODD": "whsec_!"})

    assert said in str(found.value)
