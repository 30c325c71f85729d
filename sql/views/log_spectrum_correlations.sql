--| question = "Do the spectra of a head fall alike from layer to layer, beyond what any spectrum does?"
--| grain = ["model_id", "operator", "head"]
--| [columns]
--| mean_log_correlation = "mean over pairs of layers of Pearson r of ln(sigma), -1 to 1; null without pairs"
--| n_pairs = "pairs of layers whose spectra have as many positive values; constant spectra have no correlation"
create or replace view log_spectrum_correlations as
with

-- one list a spectrum: its own mean and length join it without a second scan
spectra as (
    select
        models.model_id, singular_values.operator, singular_values.layer, singular_values.head,
        count(*) as n_values,
        avg(ln(singular_values.sigma::double)) as centre,
        stddev_pop(ln(singular_values.sigma::double)) * sqrt(count(*)) as length,
        list({'k': singular_values.k, 'value': ln(singular_values.sigma::double)}) as logarithms
    from singular_values
    inner join models on singular_values.model_key = models.model_key
    where singular_values.sigma > 0
    group by models.model_id, singular_values.operator, singular_values.layer, singular_values.head
    -- rounding can leave a constant a little spread
    having min(singular_values.sigma) < max(singular_values.sigma)
),

spectrum_values as (
    select model_id, operator, head, n_values, centre, length, unnest(logarithms, recursive := true)
    from spectra
),

-- centred, of length 1: inner products are the correlations
unit_values as (
    select
        model_id, operator, head, n_values, k,
        sum((value - centre) / length) as total,
        count(*) as n_layers
    from spectrum_values
    group by model_id, operator, head, n_values, k
),

-- |sum of n unit vectors|^2 is n plus twice the correlations of all pairs
pair_sums as (
    select
        model_id, operator, head,
        (sum(total * total) - max(n_layers)) / 2 as total,
        max(n_layers) * (max(n_layers) - 1) // 2 as n_pairs
    from unit_values
    group by model_id, operator, head, n_values
)

select
    model_id, operator, head,
    sum(total) filter (n_pairs > 0) / nullif(sum(n_pairs), 0) as mean_log_correlation,
    sum(n_pairs)::bigint as n_pairs
from pair_sums
group by model_id, operator, head;
