--| about = "the verdict on the metric's shapes with its mean cosine and the heads' range, beside that of random heads"
with

stabilities as (
    select *
    from shape_stability
    where $model is null or model_id = $model
    -- the metric, or the first operator that an imported file has
    qualify row_number() over (partition by model_id order by operator <> 'metric', operator) = 1
)

select
    model_id,
    coalesce(
        format(
            'The spectra of the {} are {} through the layers, by the bounds of the definitions: mean cosine {:.4f},'
            || ' heads from {:.4f} to {:.4f} ({} heads, {} pairs of layers)',
            operator, verdict, mean, min, max, n_heads, n_pairs
        )
        || coalesce(
            format(
                '; random heads of the shape have {:.5f}, so these are {} alike than chance.',
                null_mean, if(mean < null_mean, 'less', 'no less')
            ),
            '; there is no chance level to hold that against.'
        ),
        'There are no two layers whose spectra could be compared.'
    ) as sentence
from stabilities
order by model_id
