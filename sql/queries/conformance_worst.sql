--| title = "The heads whose stored factors reproduce the model's own attention logits least well"
--| theme = "What is there"
--| reading = """
--| max_rel_error is the largest difference of a logit from the model's own, as a share of the largest logit: rounding \
--| is near 1e-6, a wrong layout near 1. witness: who else dequantized a quantized layer's weights, and how far apart \
--| the two are."""
--| [parameters]
--| model = {}
--| k = {default = 10}
select
    models.model_id, conformance.layer, conformance.head, conformance.layout,
    conformance.max_rel_error, conformance.witness, conformance.witness_max_rel_error
from conformance
inner join models on conformance.model_key = models.model_key
where is_chosen(models.model_id, $model)
order by conformance.max_rel_error desc, models.model_id, conformance.layer, conformance.head
limit $k
