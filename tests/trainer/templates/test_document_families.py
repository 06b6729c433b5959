"""The page about families is what the generator makes, and knows every family."""

from tests.trainer.templates import document_families
from tests.trainer.templates.document_families import PLAIN, Supervision
from tests.trainer.templates.families import FAMILIES
from tests.trainer.templates.known_models import KNOWN
from tests.trainer.templates.tokenizers_of_families import TOKENIZERS
from trainer.model.training_templates import BY_NAME


def test_the_committed_page_shows_what_the_families_show():
    committed = document_families.PAGE.read_text(encoding="utf-8")

    made = document_families.page()

    assert committed == made, "run: python -m tests.trainer.templates.document_families"


def test_people_know_every_family_by_a_title_of_its_own():
    assert KNOWN.keys() == {family.name for family in FAMILIES}
    assert len({known.title.lower() for known in KNOWN.values()}) == len(KNOWN)


def test_every_training_template_is_that_of_a_family():
    named = {known.training_template for known in KNOWN.values()}

    assert named == {"", *BY_NAME}


def test_a_template_trains_as_it_is_only_if_it_lets_every_answer_train():
    found = {name: Supervision(TOKENIZERS[name]) for name in ("qwen 2.5", "qwen 3", "metharme", "falcon")}

    assert {name: one.is_of_every_answer for name, one in found.items()} == {
        "qwen 2.5": True,
        "qwen 3": False,
        "metharme": True,
        "falcon": False,
    }
    assert found["metharme"].ends == ["`<|user|>`", "`</s>`"]
    assert found["qwen 2.5"].refused == ["thoughts"]
    assert "rewrites messages[1]" in found["qwen 3"].refusal(PLAIN)
