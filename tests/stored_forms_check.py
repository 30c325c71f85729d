"""One stored form read whole, with prompts, and layer by layer: what both readings must come to."""

from bench.stored_forms import FORMS
from bench.stored_forms.walk import first_of_models, outcomes

ALL_STAGES = first_of_models()  # what a stage does with a model is the same in every form of it


def check_both_readings(name):
    for reading, outcome in outcomes(name, compared_alone=name not in ALL_STAGES).items():
        assert outcome.is_expected(FORMS[name]), (reading, outcome)
