--| about = "on how many of the first and of all compared eigenvalues the signs agree with the anchor's, and what chance gives"
with

anchored as (
    select
        sign_agreement_by_stratum.model_id, sign_agreement_by_stratum.anchor_layer, sign_agreement_by_stratum.k,
        sum(sign_agreement_by_stratum.n_pairs) as n_all,
        -- strata differ in their pairs
        sum(sign_agreement_by_stratum.mean_agreement_others * sign_agreement_by_stratum.n_pairs) / n_all as agreement,
        sum(sign_agreement_by_stratum.mean_chance_agreement * sign_agreement_by_stratum.n_pairs) / n_all
            as chance_agreement
    from sign_agreement_by_stratum
    left join anchors
        on sign_agreement_by_stratum.model_id = anchors.model_id
        and sign_agreement_by_stratum.operator = anchors.operator
        and anchors.anchor = $anchor
        and ($model is null or anchors.model_id = $model)
    where
        ($model is null or sign_agreement_by_stratum.model_id = $model)
        and sign_agreement_by_stratum.operator = 'metric'
        and sign_agreement_by_stratum.n_pairs > 0
        and (
            sign_agreement_by_stratum.anchor_layer = anchors.anchor_layer
            or sign_agreement_by_stratum.anchor_layer::varchar = $anchor
        )
    group by
        sign_agreement_by_stratum.model_id, sign_agreement_by_stratum.anchor_layer, sign_agreement_by_stratum.k
)

select
    model_id,
    format(
        'Against layer {}, {:.1f}% of the first {} eigenvalues of a metric have the anchor''s sign, and {:.1f}% of the'
        || ' first {} ({} pairs of a head and a layer); random signs give 50%, each head''s own share of positives alone'
        || ' {:.1f}% and {:.1f}%.',
        anchor_layer,
        100 * arg_min(agreement, k), min(k), 100 * arg_max(agreement, k), max(k), arg_min(n_all, k),
        100 * arg_min(chance_agreement, k), 100 * arg_max(chance_agreement, k)
    ) as sentence
from anchored
group by model_id, anchor_layer
order by model_id
