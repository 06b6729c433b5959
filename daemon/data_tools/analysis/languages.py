"""Guess scripts and languages: scripts from the names of letters, languages from their most common words."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

COMMON_WORDS = {
    "Danish": "og det at en den til er som på de med han af for ikke der var mig sig men et har om",
    "Dutch": "de het een van en is dat niet op te zijn voor met die aan er ook maar om bij dan nog",
    "English": "the of and to in is that it was for on with as are this be at by not have from or you",
    "French": "le la les de des et est un une dans que qui pas pour ce il elle sur avec je vous au ne",
    "German": "der die das und ist nicht ein eine zu den mit von es auf sich dem auch ich als wie für im",
    "Italian": "il la che di e non un una per è sono con del si le lo gli alla più come anche della nel",
    "Polish": "i w na nie się z jest do to że jak co po tak za od ale są dla czy tylko przez już być",
    "Portuguese": "o a que de e do da em um uma para não com os as no se na por mais dos como mas foi ao",
    "Spanish": "el la de que y en los se del las un por con no una su para es al lo como más pero sus",
    "Swedish": "och att det som en på är av för med den till inte om ett han men var jag från vi så",
    "Turkish": "ve bir bu da de için ile çok ne gibi daha olarak olan kadar sonra ama var değil her mi",
}
MEANINGS = {
    word: tuple(language for language, words in COMMON_WORDS.items() if word in words.split())
    for words in COMMON_WORDS.values()
    for word in words.split()
}
WORDS_LOOKED_AT = 200
LEAST_SHARE = 0.1  # of a row's words; in running text about every third word is one of the commonest
UNKNOWN = "unknown"


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """Return the share of each script among all letters, the largest first.

    The first word of a letter's name in Unicode is its script, with few exceptions.
    """
    characters: Counter[str] = Counter()
    for text in texts:
        characters.update(text)
    scripts: Counter[str] = Counter()
    for character, count in characters.items():
        if character.isalpha():
            scripts[unicodedata.name(character, "other").partition(" ")[0].capitalize()] += count
    return _shares(scripts)


def language_shares(rows: Iterable[Sequence[str]]) -> dict[str, float]:
    """Return the share of rows in each language, the largest first.

    Args:
        rows: words of each in lower case.
    """
    return _shares(Counter(map(_language, rows)))


def _language(words: Sequence[str]) -> str:
    looked_at = words[:WORDS_LOOKED_AT]
    hits: Counter[str] = Counter()
    for word in looked_at:
        hits.update(MEANINGS.get(word, ()))
    if not hits:
        return UNKNOWN
    (language, count), *others = hits.most_common(2)
    is_clear = count >= LEAST_SHARE * len(looked_at) and all(count > other for _, other in others)
    return language if is_clear else UNKNOWN


def _shares(counts: Counter[str]) -> dict[str, float]:
    total = counts.total()
    return {name: count / total for name, count in counts.most_common()}
