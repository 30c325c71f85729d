--| wanted = "a row for each layer of a model, and a proof for each head of those that are measured"
with

counts as (
    select
        models.model_key,
        any_value(models.weights_sha256) as weights_sha256,
        any_value(models.n_layers) as n_layers,
        count(layers.layer) as n_rows,
        coalesce(sum(layers.n_heads) filter (layers.is_measured), 0) as n_heads
    from models
    left join layers on models.model_key = layers.model_key
    group by models.model_key
),

proofs as (
    select model_key, count(*) as n_proofs
    from conformance
    group by model_key
)

select
    counts.model_key,
    format('{} rows of {} layers, {} proofs of {} heads', n_rows, n_layers, coalesce(n_proofs, 0), n_heads) as found
from counts
left join proofs on counts.model_key = proofs.model_key
where n_rows <> n_layers or (weights_sha256 is not null and coalesce(n_proofs, 0) <> n_heads)
