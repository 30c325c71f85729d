--| about = "the mean cosine of spectra beside that of operators over all pairs of layers, each with its chance"
with

-- n_pairs are the pairs of layers at a distance; chance is the same at all of them
totals as (
    select
        model_id,
        sum(n_pairs) filter (object = 'spectra' and series = 'measured') as n,
        sum(cosine * n_pairs) filter (object = 'spectra' and series = 'measured') / n as shape_cosine,
        sum(cosine * n_pairs) filter (object = 'operators' and series = 'measured') / n as operator_cosine,
        any_value(cosine) filter (object = 'spectra' and series = 'chance') as null_mean
    from answer
    where operator = 'metric'
    group by model_id
)

select
    model_id,
    format(
        'Over {} pairs of layers the spectra of a head''s metric have a mean cosine of {:.3f} (random heads: {}),'
        || ' the metrics themselves {:.3f} (random heads: 0).',
        n, shape_cosine, coalesce(format('{:.4f}', null_mean), 'not known'), operator_cosine
    ) as sentence
from totals
where n > 0
order by model_id
