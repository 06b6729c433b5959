"""How far a model is: whose validation loss it has, and what is left of it without the average."""

import pytest

from trainer.protocol.manifest import Branch, JobFate, Progress

MEASURED = {"global_step": 6, "validated_step": 6}


def losses(progress):
    return progress.loss_of_these_weights, progress.validation_weights, progress.validation_other_loss


def test_a_loss_of_an_earlier_release_does_not_say_whose_it_is():
    assert losses(Progress.model_validate(MEASURED | {"validation_loss": 1.5})) == (1.5, None, None)


def test_without_its_average_a_model_has_the_loss_of_the_last_weights():
    of_average = Progress(
        **MEASURED, validation_loss=1.5, validation_weights="average", validation_other_loss=1.75
    )
    of_last = Progress(**MEASURED, validation_loss=1.75, validation_weights="last", validation_other_loss=1.5)

    assert losses(of_average.without_average()) == (1.75, "last", None)
    assert losses(of_last.without_average()) == (1.75, "last", None)


def test_without_its_average_a_model_has_no_loss_where_only_that_was_measured():
    of_average = Progress(**MEASURED, validation_loss=1.5, validation_weights="average")

    assert losses(of_average.without_average()) == (None, None, None)


@pytest.mark.parametrize(
    "fates, said",
    [
        (("undone", "undone"), "2 files undone"),
        (("undone", "requeued"), "2 files undone (1 of them queued again)"),
        (("requeued", "requeued"), "2 files undone and queued again"),
    ],
)
def test_going_back_says_how_many_files_are_queued_again(fates, said):
    jobs = tuple(JobFate(job_id=str(number), fate=fate) for number, fate in enumerate(fates))
    branch = Branch(
        number=1, from_branch=0, from_step=3, left_step=6, at="now", why="rollback", reason="", jobs=jobs
    )

    assert branch.text == f"the model went from step 6 to step 3; {said}"
