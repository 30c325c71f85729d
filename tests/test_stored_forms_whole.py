"""Every stored form read whole, with prompts: in a file of its own, for another worker."""

import pytest

from bench.stored_forms import FORMS
from bench.stored_forms.walk import outcomes


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FORMS)
def test_the_whole_reading_comes_to_what_is_expected(name):
    [outcome] = outcomes(name, ("whole",)).values()
    assert outcome.is_expected(FORMS[name]), outcome
