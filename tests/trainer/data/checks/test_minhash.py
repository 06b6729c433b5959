"""Equal rows have one identity, similar ones similar signatures, and different ones neither."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer.row_texts import answer, minhashed, talk, words
from trainer.data.checks.minhash import NEAR, minhash_row, similarity
from trainer.data.conversation import Conversation, Message

CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"place": "Rome"}'}}


def likeness(one, other):
    return similarity(minhashed(one).signature, minhashed(other).signature)


# ---- identity


@pytest.mark.parametrize(
    "other", [answer("It  is\tRome.\n"), answer("it is ROME."), answer("\u2003It\u00a0is Rome.")]
)
def test_rows_that_differ_in_spaces_and_case_only_are_the_same(other):
    assert minhashed(answer("It is Rome.")).identity == minhashed(other).identity


@pytest.mark.parametrize(
    "other",
    [
        answer("It is Rom."),
        talk(("assistant", "Tell me."), ("user", "It is Rome.")),
        talk(("user", "Tell me. It is"), ("assistant", "Rome.")),
        talk(("system", "Be brief."), ("user", "Tell me."), ("assistant", "It is Rome.")),
        Conversation((Message("user", "Tell me."), Message("assistant", "It is Rome.", tool_calls=(CALL,)))),
    ],
)
def test_rows_that_differ_in_a_word_a_role_or_a_call_are_not_the_same(other):
    assert minhashed(answer("It is Rome.")).identity != minhashed(other).identity


def test_what_is_kept_on_disk_is_the_same_for_ever():
    row = minhashed(answer("The quick brown fox jumps over the lazy dog."))

    assert (row.identity, row.signature[:8].hex()) == (4117891359866716985, "528d8228dc3c5800")


# ---- similarity


@given(number=st.integers(100, 400), seed=st.integers(0, 10_000), place=st.floats(0, 1))
def test_a_row_with_few_words_changed_is_near(number, seed, place):
    text = words(number, seed)
    first = int(place * (number - 1))
    changed = text.copy()
    for index in range(first, min(first + number // 100, number)):
        changed[index] = "another"

    assert likeness(answer(text), answer(changed)) >= NEAR


@given(number=st.integers(1, 400), seed=st.integers(0, 10_000))
def test_a_different_row_is_not_near(number, seed):
    assert likeness(answer(words(number, seed)), answer(words(number, seed + 20_000))) < NEAR


@given(seed=st.integers(0, 10_000), kept=st.floats(0, 1))
def test_the_similarity_is_about_the_share_of_common_shingles(seed, kept):
    """400 words of which the first ones are kept: 396 shingles a row, besides the ones with the question."""
    number = round(400 * kept)
    one, other = words(400, seed), words(400, seed)[:number] + words(400 - number, seed + 20_000)
    common = max(0, number - 4)
    jaccard = common / (2 * 400 - common)

    assert likeness(answer(one), answer(other)) == pytest.approx(jaccard, abs=0.16)


def test_a_short_row_with_one_changed_word_is_near():
    text = words(30, 1)

    changed = [*text[:15], "another", *text[16:]]

    assert likeness(answer(text), answer(changed)) >= NEAR


def test_rows_under_the_same_long_system_prompt_are_not_near():
    prompt = " ".join(words(500, 1))

    one = talk(("system", prompt), ("user", "What is the capital of Italy?"), ("assistant", "Rome."))
    other = talk(("system", prompt), ("user", "Who wrote the play of Hamlet?"), ("assistant", "Shakespeare."))

    assert likeness(one, other) < NEAR


def test_a_text_without_spaces_is_compared_by_its_characters():
    chance = random.Random(1)
    signs = [chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(120)]

    one, other, different = "".join(signs), "".join([*signs[:60], "人", *signs[61:]]), "".join(signs[::-1])

    assert likeness(answer(one), answer(other)) >= NEAR
    assert likeness(answer(one), answer(different)) < NEAR


def test_a_row_without_words_has_nothing_to_compare():
    assert minhashed(talk(("user", " "), ("assistant", "\n"))).signature == b""


def test_a_very_long_row_has_the_signature_of_its_set_of_shingles():
    """More shingles than are hashed at once; a repeated text has the same set but for its seam."""
    text = words(3000, 1)

    assert likeness(answer(text), answer(text * 2)) > 0.95


# ---- rows of one pattern


def test_rows_that_differ_in_a_number_are_not_near():
    text = words(100, 1)

    one, other = ([*text[:50], number, *text[50:]] for number in ("12", "13"))

    assert likeness(answer(one), answer(other)) < NEAR


def test_rows_with_different_short_answers_are_not_near():
    question = " ".join(words(100, 1))

    assert likeness(answer("Rome.", question=question), answer("Paris.", question=question)) < NEAR


@pytest.mark.parametrize("other", ["rome", "Rome!", "Rome. "])
def test_an_edited_question_with_the_same_short_answer_is_near(other):
    text = words(40, 1)
    changed = [*text[:20], "another", *text[21:]]

    one, edited = (answer(said, question=" ".join(q)) for said, q in (("Rome.", text), (other, changed)))

    assert likeness(one, edited) >= NEAR - 0.05


def test_long_answers_must_be_the_same_only_if_that_is_asked():
    text = words(100, 1)
    pair = (answer(text), answer([*text[:50], "another", *text[51:]]))

    loose, strict = (
        [minhash_row(1, row, must_answer_same=must).signature for row in pair] for must in (False, True)
    )

    assert similarity(*loose) >= NEAR
    assert similarity(*strict) < NEAR


@pytest.mark.parametrize(
    "one, other",
    [
        *(("5", "-5"), ("5", "\N{MINUS SIGN}5"), ("1e5", "1e-5"), ("x²", "x³"), ("½", "¼"), ("0xaf", "0xbf")),
        *(
            (".5", "5"),
            ("1_5", "1 5"),
            ("12 + 6", "12 - 6"),
            ("12 \N{MULTIPLICATION SIGN} 6", "12 ÷ 6"),
            ("三", "四"),
        ),
    ],
)
def test_quantities_must_be_the_same_if_that_is_asked(one, other):
    text = words(100, 1)
    rows = [answer("Yes.", question=" ".join([*text, f"({said})?", *text])) for said in (one, other)]

    signatures = [minhash_row(1, row, must_answer_same=True).signature for row in rows]

    assert similarity(*signatures) < NEAR


def test_signs_around_a_number_make_no_other_number():
    text = words(100, 1)
    rows = [answer("Yes.", question=" ".join([*text, said, *text])) for said in ("12", '("12"),')]

    signatures = [minhash_row(1, row, must_answer_same=True).signature for row in rows]

    assert similarity(*signatures) >= NEAR


@pytest.mark.parametrize(
    "changed",
    [
        {"tools": ({"name": "add"},)},
        {"messages": (Message("system", "You have 12 apples."), *answer("Yes.").messages)},
        {"messages": (Message("user", "Why?"), Message("assistant", "Yes.", extra={"thinking": "Well."}))},
        {"messages": (Message("user", "Why?"), Message("assistant", "Yes.", is_trained=False))},
    ],
    ids=["tools", "system", "thoughts", "not trained"],
)
def test_what_stands_beside_the_words_must_be_the_same_if_that_is_asked(changed):
    row = answer("Yes.", question="Why?")

    one, other = (minhash_row(1, one, must_answer_same=True) for one in (row, replace(row, **changed)))

    assert one.identity != other.identity
    assert similarity(one.signature, other.signature) < NEAR


def test_plain_texts_have_no_answers_that_must_be_the_same():
    text = words(12, 1)

    one, other = (
        Conversation((Message("assistant", " ".join(said)),), is_plain_text=True)
        for said in (text, [*text, "more"])
    )

    signatures = [minhash_row(1, row, must_answer_same=True).signature for row in (one, other)]
    assert similarity(*signatures) > 0.5
