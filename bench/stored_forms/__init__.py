"""One tiny model stored in every form that checkpoints come in, each ingested and held against what it stands for."""

from bench.stored_forms import bitsandbytes, compressed, fp4, fp8, gptq_awq
from bench.stored_forms.form import FORMS as FORMS
from bench.stored_forms.form import store_form as store_form

for family in (fp8, fp4, compressed, bitsandbytes, gptq_awq):
    family.register()
