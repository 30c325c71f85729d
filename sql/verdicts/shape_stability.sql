--| about = "the verdict on the metric's shapes with its mean cosine and the heads' range, beside that of random heads"
with

stabilities as (
    select *
    from answer
    where series = 'measured'
    qualify is_first_operator(model_id, operator)
)

select
    model_id,
    coalesce(
        format(
            'The spectra of the {} are {} through the layers, by the bounds of the definitions: mean cosine {:.4f},'
            || ' heads from {:.4f} to {:.4f} ({} heads, {} pairs of layers)',
            operator, verdict, mean_cosine, lowest_head, highest_head, n_heads, n_pairs
        )
        || coalesce(
            format(
                '; random heads of the shape have {:.5f}, so these are {} alike than chance.',
                chance_cosine, if(mean_cosine < chance_cosine, 'less', 'no less')
            ),
            '; there is no chance level to hold that against.'
        ),
        'There are no two layers whose spectra could be compared.'
    ) as sentence
from stabilities
order by model_id
