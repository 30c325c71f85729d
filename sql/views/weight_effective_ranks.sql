--| question = "How many of its directions does each whole weight matrix use?"
--| grain = ["model_id", "layer", "weight", "expert"]
--| kept = true
--| source = "Roy & Vetterli 2007 (effective_rank); Rudelson & Vershynin 2007 (stable_rank)"
--| [columns]
--| n_rows = "outputs"
--| n_cols = "inputs"
--| effective_rank = "exp of the entropy of sigma / sum(sigma), 1 to min(n_rows, n_cols); null for a zero matrix"
--| rank_fraction = "effective_rank / min(n_rows, n_cols), in (0, 1]; null for a zero matrix"
--| stable_rank = "sum of sigma^2 / largest sigma^2, 1 to min(n_rows, n_cols); null for a zero matrix"
create or replace view weight_effective_ranks as
with

spectra as (
    select
        models.model_id, weight_singular_values.layer, weight_singular_values.weight, weight_singular_values.expert,
        weight_singular_values.sigma::double as sigma
    from weight_singular_values
    inner join models on weight_singular_values.model_key = models.model_key
),

facts as (
    select
        model_id, layer, weight, expert,
        effective_rank(sigma) as effective_rank,
        stable_rank(sigma) as stable_rank
    from spectra
    group by model_id, layer, weight, expert
    union all by name
    -- not joined: a filter on the model would reach only one side of a join
    select models.model_id, weights.layer, weights.weight, weights.expert, weights.n_rows, weights.n_cols
    from weights
    inner join models on weights.model_key = models.model_key
)

select
    model_id, layer, weight, expert,
    max(n_rows) as n_rows,
    max(n_cols) as n_cols,
    max(facts.effective_rank) as effective_rank,
    max(facts.effective_rank) / least(max(facts.n_rows), max(facts.n_cols)) as rank_fraction,
    max(facts.stable_rank) as stable_rank
from facts
group by model_id, layer, weight, expert;
