"""The figures of an analysis, on files small enough to count by hand."""

import random
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from daemon.data_tools.analysis import survey as survey_module
from daemon.data_tools.analysis.findings import Topic
from daemon.data_tools.analysis.languages import language_shares, script_shares
from daemon.data_tools.analysis.page import page
from daemon.data_tools.analysis.picture import picture, topic_names
from daemon.data_tools.analysis.survey import Survey
from daemon.data_tools.analysis.text import lines_of
from daemon.data_tools.analysis.topics import find_topics
from daemon.data_tools.analysis.words import summarize, words_of
from daemon.data_tools.reading import LeftOut
from trainer.data.conversation import Conversation, Message

COOKING = ["butter", "flour", "oven", "bake", "dough", "sugar", "recipe"]
SAILING = ["sail", "mast", "harbour", "wind", "anchor", "deck", "tide"]


def talk(question: str, answer: str, *, system: str | None = None) -> Conversation:
    turns = [Message("system", system)] if system is not None else []
    return Conversation((*turns, Message("user", question), Message("assistant", answer)))


def survey_of(*conversations: Conversation):
    survey = Survey()
    for line, conversation in enumerate(conversations, start=1):
        survey.add(line, "messages", conversation)
    return survey.result()


# ---- all rows


def test_lengths_are_those_of_rows_and_of_answers():
    analysis = survey_of(talk("one two three", "four"), talk("a", "b c", system="be kind"))

    rows, answers = analysis.lengths["characters a row"], analysis.lengths["words an answer"]
    assert (rows.smallest, rows.largest, rows.mean, rows.total) == (11, 17, 14.0, 28)
    assert (answers.smallest, answers.largest, answers.total) == (1, 2, 3)
    assert analysis.turns == {2: 1, 3: 1}
    assert analysis.roles == {"user": 2, "assistant": 2, "system": 1}


def test_percentiles_are_values_that_occur():
    analysis = survey_of(*(talk("", "x" * length) for length in range(1, 101)))

    spread = analysis.lengths["characters an answer"]
    assert (spread.percentile_5, spread.median, spread.percentile_95, spread.percentile_99) == (5, 50, 95, 99)


@pytest.mark.parametrize(
    "lengths, expected",
    [
        ([0], {"0": 1}),
        ([1, 2, 3, 4], {"1": 1, "2-3": 2, "4-7": 1}),
        ([7, 8, 32], {"4-7": 1, "8-15": 1, "16-31": 0, "32-63": 1}),
    ],
)
def test_answers_are_counted_in_classes_that_double(lengths, expected):
    assert survey_of(*(talk("q", "x" * length) for length in lengths)).answer_lengths == expected


def test_rows_that_say_the_same_are_counted_with_their_first_line():
    once, twice, thrice = talk("a", "b"), talk("c", "d"), talk("e", "f")

    found = survey_of(once, twice, thrice, twice, thrice, thrice).duplicates

    assert found.extra_rows == 3
    assert found.largest_groups == ((3, 3), (2, 2))


# ---- the sample


def test_every_row_of_a_large_file_may_be_sampled_and_no_more_are_kept(monkeypatch):
    monkeypatch.setattr(survey_module, "SAMPLE_ROWS", 100)

    sampled = survey_of(*(talk("q", f"word{chr(97 + i // 200)}") for i in range(2000))).sampled

    assert sampled.rows == 100
    assert sampled.vocabulary.distinct == 11  # "q", and one word for each tenth of the file


def test_system_prompts_are_no_part_of_the_vocabulary():
    vocabulary = survey_of(talk("hello", "world", system="obey")).sampled.vocabulary

    assert dict(vocabulary.most_frequent) == {"hello": 1, "world": 1}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Don't STOP, 42 times!", ["don't", "stop", "times"]),
        ("snake_case x2y", ["snake", "case", "x", "y"]),
        ("你好 world", ["你", "好", "world"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_and_single_ideographs(text, expected):
    assert words_of(text) == expected


@pytest.mark.parametrize(
    "words, ratio",
    [
        ([], None),
        (["a", "a", "b", "c"], 0.75),
        (["a"] * 999 + ["b"] + ["c"], 0.002),  # the one word after a full run does not count
    ],
)
def test_the_type_token_ratio_is_taken_over_runs_of_a_thousand_words(words, ratio):
    assert summarize([words]).type_token_ratio == ratio


def test_scripts_are_shares_of_letters():
    assert script_shares(["abc 123", "д"]) == {"Latin": 0.75, "Cyrillic": 0.25}


@pytest.mark.parametrize(
    "text, language",
    [
        ("What is the capital of the country that you are from?", "English"),
        ("Wie heißt die Stadt, in der du mit dem Zug nicht ankommst?", "German"),
        ("Quelle est la ville dans laquelle vous êtes née et que vous aimez ?", "French"),
        ("¿Cuál es la ciudad en la que no vive el hermano de los reyes?", "Spanish"),
        ("blickets zorpons", "unknown"),
        ("de", "unknown"),  # five languages have it
        ("", "unknown"),
    ],
)
def test_languages_are_guessed_from_common_words_or_not_at_all(text, language):
    assert language_shares([words_of(text)]) == {language: 1.0}


# ---- topics


def two_topics(number: int = 60) -> list[Conversation]:
    generator = random.Random(1)
    words = [generator.choices((COOKING, SAILING)[i % 2], k=6) for i in range(number)]
    return [talk("please tell", " ".join(some)) for some in words]


def test_rows_that_share_words_become_a_topic_with_a_typical_row():
    topics = survey_of(*two_topics()).sampled.topics

    assert [topic.share for topic in topics] == [0.5, 0.5]
    assert {len({*topic.words} & {*COOKING}) for topic in topics} == {0, 6}
    assert {len({*topic.words} & {*SAILING}) for topic in topics} == {0, 6}
    assert all(topic.example.startswith("please tell") for topic in topics)


def test_the_same_file_always_has_the_same_topics():
    assert survey_of(*two_topics()) == survey_of(*two_topics())


@pytest.mark.parametrize("rows", [two_topics(19), [talk("same", "row")] * 30, [talk("1", "2")] * 30])
def test_few_or_equal_rows_have_no_topics(rows):
    assert survey_of(*rows).sampled.topics == ()


def test_rows_without_telling_words_belong_to_no_topic():
    topics = survey_of(*two_topics(), *(talk("please tell", str(i)) for i in range(60))).sampled.topics

    assert sum(topic.share for topic in topics) == pytest.approx(0.5)


def test_no_words_make_no_topics():
    assert find_topics([], [], seed=0) == ()


# ---- showing it


def test_nothing_of_a_file_is_obeyed_by_a_browser():
    attack = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> &amp; \u202e"
    rows = [talk(attack, f"{COOKING[i % 7]} {attack}") for i in range(40)]
    left_out = LeftOut()
    left_out.add("<b>.jsonl:7", attack)

    written = page("<i>name</i>.jsonl", survey_of(*rows), left_out)

    assert not any(found in written for found in ("<script", "<img", "<i>", "<b>", "\u202e"))
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in written
    assert "default-src 'none'" in written


def test_a_word_that_is_markup_is_escaped_in_charts_and_tables():
    analysis = survey_of(*two_topics())
    vocabulary = replace(analysis.sampled.vocabulary, most_frequent=(("<svg onload=x>", 3),))
    topics = (replace(analysis.sampled.topics[0], words=("<a>",), example="<u>"),)
    sampled = replace(analysis.sampled, vocabulary=vocabulary, topics=topics, scripts={"<p x>": 1.0})

    written = page("f", replace(analysis, sampled=sampled), LeftOut())

    assert not any(tag in written for tag in ("<svg onload", "<a>", "<u>", "<p x>"))


def test_a_page_loads_nothing():
    written = page("f", survey_of(*two_topics()), LeftOut())

    assert "<svg" in written
    assert not any(word in written for word in ("<link", "<script", "src=", "href=", "url(", "@import"))


def test_the_table_of_lengths_fits_a_narrow_terminal():
    analysis = survey_of(talk("one two three", "four"), talk("a", "b c", system="be kind"))

    shown = list(lines_of("f", analysis, LeftOut()))

    table = [line for line in shown if line.startswith(("\nLENGTHS", "characters a row"))]
    assert [len(line.strip()) for line in table] == [78, 78]


@pytest.mark.long
def test_rows_without_answers_words_or_turns_of_a_person_can_be_shown():
    analysis = survey_of(Conversation((Message("system", ""),)))

    shown, written = list(lines_of("f", analysis, LeftOut())), page("f", analysis, LeftOut())

    assert "words: 0, 0 of them distinct" in shown
    assert "<h2>Characters of answers</h2>" in written
    pytest.importorskip("matplotlib")
    assert picture("f", analysis).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words, name",
    [
        (("butter", "flour", "oven", "bake"), "butter, flour, oven"),
        (("Größe", "économie", "море"), "Größe, économie, море"),
        (("海", "帆"), "topic 1"),
        ((), "topic 1"),
        (("$x$", "a_b"), "$x$, a_b"),
        (("a" * 40,), "a" * 31 + "…"),
    ],
)
def test_a_picture_names_a_topic_by_its_words_if_the_font_has_their_letters(words, name):
    pytest.importorskip("matplotlib")

    assert topic_names([Topic(share=1.0, words=words, example_line=1, example="")]) == [name]


def test_a_picture_of_topics_that_look_like_formulas_is_drawn():
    pytest.importorskip("matplotlib")
    analysis = survey_of(*two_topics())
    topics = tuple(replace(topic, words=("$x$", "$\\frac")) for topic in analysis.sampled.topics)
    assert topics

    drawn = picture("f", replace(analysis, sampled=replace(analysis.sampled, topics=topics)))

    assert drawn.startswith(b"\x89PNG")


class Tags(HTMLParser):
    """Notes which tags are open when one is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.closed: list[tuple[str, str]] = []

    def handle_starttag(self, tag, attrs):
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        self.closed.append((self.open.pop(), tag))


def test_every_tag_of_a_page_is_closed():
    tags = Tags()

    tags.feed(page("f", survey_of(*two_topics()), LeftOut()))

    assert all(opened == closed for opened, closed in tags.closed)
    assert tags.closed[-1] == ("html", "html")
    assert tags.open == []


@pytest.mark.parametrize(
    "formats, is_refused, leaves_texts_out",
    [
        (["messages"], False, False),
        (["messages", "alpaca"], True, False),
        (["text"], False, False),
        (["messages", "text"], True, True),
    ],
)
def test_a_file_of_several_formats_is_said_to_be_refused(formats, is_refused, leaves_texts_out):
    survey = Survey()
    for line, name in enumerate(formats, start=1):
        survey.add(line, name, talk("a", "b"))

    shown = "\n".join(lines_of("my chat.jsonl", survey.result(), LeftOut()))

    assert ("is refused as a whole" in shown) == is_refused
    assert ("training_data convert 'my chat.jsonl' OUT.jsonl --to messages" in shown) == is_refused
    assert ("leaves plain texts out" in shown) == leaves_texts_out


def test_nothing_of_a_file_is_obeyed_by_a_terminal():
    rows = [talk("\x1b[2J\u202e", f"{COOKING[i % 7]} \x1b]0;owned\x07") for i in range(40)]

    shown = "\n".join(lines_of("f", survey_of(*rows), LeftOut()))

    assert shown.replace("\n", "").isprintable()
