"""Private data and secrets are found where their form or their check digits say so, and never shown."""

import pytest

from tests.trainer.row_texts import answer, talk
from trainer.data.checks.private_data import find_private_data, masked
from trainer.data.conversation import Conversation, Message
from trainer.protocol.deep_findings import PRIVATE_PATTERNS

# Put together here, so that nobody takes this file for one that holds secrets
JWT = ".".join(["eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiIxMjM0NTYifQ", "c2lnbmF0dXJlLW9mLWl0"])
KEY = "-----BEGIN " + "RSA PRIVATE KEY-----"
EXAMPLES = [
    ("email", "jane.doe+news@mail.example.org"),
    ("phone", "+49 30 1234 5678"),
    ("phone", "+1 (555) 123-4567"),
    ("phone", "(555) 123-4567"),
    ("phone", "555-123-4567"),
    ("iban", "DE89 3704 0044 0532 0130 00"),
    ("iban", "GB82WEST12345698765432"),
    ("credit_card", "4111 1111 1111 1111"),
    ("credit_card", "378282246310005"),
    ("ipv4", "8.8.4.4"),
    ("private_key", KEY),
    ("private_key", KEY.replace("RSA ", "")),
    ("aws_key", "AKIA" + "ABCDEFGHIJ234567"),
    ("github_token", "ghp_" + "a1B2" * 9),
    ("github_token", "github_pat_" + "a1B2_" * 6),
    ("slack_token", "xoxb-" + "1234567890-abcdef"),
    ("google_key", "AIza" + "Sy-a1B2_" * 4 + "xyz"),
    ("jwt", JWT),
]
HARMLESS = [
    ("email", "write to jane at example.org, or @jane"),
    ("phone", "in 2024-05-17 at 10:15, number 1234567890, 12-34-5678"),
    ("phone", "3 + 123456789 is 123456792"),
    ("iban", "DE89 3704 0044 0532 0130 01"),
    ("iban", "VERSION AB12 CDEF"),
    ("credit_card", "4111 1111 1111 1112"),
    ("credit_card", "0000 0000 0000 0000 and 4444"),
    ("credit_card", "id 94111111111111111234"),
    ("ipv4", "127.0.0.1, 192.168.1.7, 10.0.0.1, 999.8.8.8, 1.2.3 and 8.8.4.4.1"),
    ("private_key", "-----BEGIN PUBLIC KEY-----"),
    ("aws_key", "AKIAlowercaseletters"),
    ("github_token", "ghp_short"),
    ("slack_token", "xoxb and xoxo-kisses-for-you"),
    ("google_key", "AIzaTooShort"),
    ("jwt", "eyJhbGciOiJIUzI1NiJ9.something.else"),
]


def kinds_in(text):
    return dict(find_private_data(answer(text), PRIVATE_PATTERNS))


def test_every_pattern_has_an_example_and_something_like_it():
    assert {kind for kind, _ in EXAMPLES} == {kind for kind, _ in HARMLESS} == set(PRIVATE_PATTERNS)


@pytest.mark.parametrize("kind, text", EXAMPLES)
@pytest.mark.parametrize("frame", ["{}", "It is {}.", "(see {})", "first\n{}\nlast"])
def test_private_data_is_found_and_shown_by_its_first_characters(kind, text, frame):
    found = kinds_in(frame.format(text))

    assert found == {kind: f"{text[:3]}…"}


@pytest.mark.parametrize("kind, text", HARMLESS)
def test_what_only_looks_like_it_is_left_alone(kind, text):
    assert kind not in kinds_in(text)


def test_an_account_number_before_a_word_in_capitals_is_found():
    assert kinds_in("BE68 5390 0754 7034 NOW") == {"iban": "BE6…"}


def test_only_the_kinds_that_were_asked_for_are_looked_for():
    conversation = answer("jane@example.org or 8.8.4.4")

    assert list(find_private_data(conversation, ["ipv4"])) == [("ipv4", "8.8…")]
    assert list(find_private_data(conversation, [])) == []


def test_every_turn_is_looked_through_and_every_call_and_tool():
    call = {"type": "function", "function": {"name": "mail", "arguments": '{"to": "ann@example.org"}'}}
    tool = {"type": "function", "function": {"name": "mail", "description": "Mail to bob@example.org"}}
    system = talk(("system", "You are cid@example.org."), ("user", "Hi"), ("assistant", "Hello."))
    calls = Conversation((Message("user", "Hi"), Message("assistant", "", tool_calls=(call,))))
    tools = Conversation(answer("Hello.").messages, tools=(tool,))

    beginnings = [dict(find_private_data(item, ["email"])) for item in (system, calls, tools)]

    assert beginnings == [{"email": "cid…"}, {"email": "ann…"}, {"email": "bob…"}]


def test_what_is_shown_obeys_no_terminal():
    assert masked("\x1b[2J secret") == "\\x1b[2…"


@pytest.mark.parametrize(
    "unit", ["a", "1 ", "eyJaaaaaaaa-", "eyJaaaaaaaa.", "xoxb-", "A1 ", "8.", "+1 ", "-----BEGIN A "]
)
def test_no_text_takes_quadratic_time(unit):
    """It would not end."""
    assert kinds_in(unit * 200_000).keys() <= {"jwt", "slack_token"}
