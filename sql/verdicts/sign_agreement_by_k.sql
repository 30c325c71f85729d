--| about = """
--| on how many of the first and of all compared eigenvalues the signs agree with the anchor's, and what chance gives"""
with

-- strata differ in their pairs
agreements as (
    select
        model_id, anchor_layer, k,
        sum(n_pairs) filter (series = 'measured') as n_all,
        sum(agreement * n_pairs) filter (series = 'measured') / n_all as agreement,
        sum(answer.agreement * n_pairs) filter (series <> 'measured') / n_all as chance_agreement
    from answer
    where operator = 'metric'
    group by model_id, anchor_layer, k
)

select
    model_id,
    format(
        'Against layer {}, {:.1f}% of the first {} eigenvalues of a metric have the anchor''s sign, and {:.1f}% of the'
        || ' first {} ({} pairs of a head and a layer); random signs give 50%, each head''s own share of positives'
        || ' alone {:.1f}% and {:.1f}%.',
        anchor_layer,
        100 * arg_min(agreement, k), min(k), 100 * arg_max(agreement, k), max(k), arg_min(n_all, k),
        100 * arg_min(chance_agreement, k), 100 * arg_max(chance_agreement, k)
    ) as sentence
from agreements
group by model_id, anchor_layer
order by model_id
