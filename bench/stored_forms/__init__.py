"""One tiny model stored in every form that checkpoints come in, each ingested and held against what it stands for."""

from bench.stored_forms import bitsandbytes, compressed, folders, foreign, fp4, fp8, gguf_files, gptq_awq
from bench.stored_forms.form import FORMS as FORMS
from bench.stored_forms.form import store_form as store_form

for family in (fp8, fp4, compressed, bitsandbytes, gptq_awq, foreign, folders, gguf_files):
    family.register()
