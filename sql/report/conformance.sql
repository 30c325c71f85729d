--| title = "Conformance: stored factors against the model's own attention logits"
--| [parameters]
--| model = {}
select
    conformance.layout,
    count(*) as n_heads,
    median(conformance.max_rel_error) as median_rel_error,
    max(conformance.max_rel_error) as largest_rel_error,
    string_agg(distinct conformance.witness, ', ') as witness,
    max(conformance.witness_max_rel_error) as witness_rel_error
from conformance
inner join models on conformance.model_key = models.model_key
where models.model_id = $model
group by conformance.layout
order by conformance.layout
