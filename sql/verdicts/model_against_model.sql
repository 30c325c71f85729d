--| about = "The medians of rank and entropy over the heads, the rank beside that of random heads."
select
    model_id,
    format(
        'The median of {} heads uses {:.0f}% of its directions ({}), and has {:.0f}% of the entropy of even attention.',
        n_heads, 100 * median_rank_fraction,
        coalesce(format('{:.0f}% with random factors', 100 * chance_rank_fraction),
            'no null spectrum of its shape is there'),
        100 * median_entropy_fraction
    ) as sentence
from answer
qualify is_largest_set(model_id, prompt_set, n_heads)
order by model_id
