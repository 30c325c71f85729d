"""The stored forms that test_stored_forms.py leaves: in a file of their own, for another worker."""

import pytest
from stored_forms_check import check_both_readings

from bench.stored_forms import FORMS


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*FORMS][1::2])
def test_both_readings_come_to_what_is_expected(name):
    check_both_readings(name)
