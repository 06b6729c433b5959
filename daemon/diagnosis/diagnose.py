"""Search for all illnesses, and drop what is only a symptom of another one. Pure."""

from collections.abc import Callable

from daemon.diagnosis.answers import find_short_answers, find_think_tag_drift
from daemon.diagnosis.findings import Diagnosis, Examined, Finding, Illness, Nothing, Result, TooLittle
from daemon.diagnosis.learning_rate import find_rate_too_high, find_rate_too_low
from daemon.diagnosis.observations import Observations
from daemon.diagnosis.overfitting import find_overfitting
from daemon.diagnosis.plateau import find_plateau
from daemon.diagnosis.repeated_rows import find_repeated_rows
from daemon.diagnosis.spikes import find_spikes
from daemon.diagnosis.waiting import find_slow_input

DETECTORS: dict[Illness, Callable[[Observations], Result]] = {
    Illness.RATE_TOO_HIGH: find_rate_too_high,
    Illness.RATE_TOO_LOW: find_rate_too_low,
    Illness.OVERFITTING: find_overfitting,
    Illness.PLATEAU: find_plateau,
    Illness.SPIKES: find_spikes,
    Illness.SLOW_INPUT: find_slow_input,
    Illness.REPEATED_ROWS: find_repeated_rows,
    Illness.SHORT_ANSWERS: find_short_answers,
    Illness.THINK_TAG_DRIFT: find_think_tag_drift,
}

SYMPTOMS = {
    Illness.RATE_TOO_HIGH: (Illness.PLATEAU, Illness.SPIKES),
    Illness.RATE_TOO_LOW: (Illness.PLATEAU,),
}
"""What an illness brings along: whoever cures it need not think of these."""


def diagnose(observed: Observations) -> Diagnosis:
    """Return what ails a training, and what was examined."""
    results = {illness: detector(observed) for illness, detector in DETECTORS.items()}
    for illness, symptoms in SYMPTOMS.items():
        if isinstance(results[illness], Finding):
            for symptom in symptoms:
                if isinstance(results[symptom], Finding):
                    results[symptom] = Nothing(read=f"what {illness} explains")
    return Diagnosis(
        first_step=observed.steps[0].global_step if observed.steps else None,
        last_step=observed.steps[-1].global_step if observed.steps else None,
        steps=len(observed.steps),
        findings=tuple(found for found in results.values() if isinstance(found, Finding)),
        examined=tuple(_examined(illness, result) for illness, result in results.items()),
    )


def _examined(illness: Illness, result: Result) -> Examined:
    match result:
        case Finding():
            return Examined(illness=illness, result="found", read=result.series.what, missing=None)
        case Nothing(read=read):
            return Examined(illness=illness, result="nothing", read=read, missing=None)
        case TooLittle(missing=missing):
            return Examined(illness=illness, result="not enough data", read=None, missing=missing)
