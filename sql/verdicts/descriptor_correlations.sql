--| about = """
--| How many descriptors have an interval that leaves out chance over all layers, and how many of these keep their \
--| sign in every third."""
with

thirds as (
    select
        model_id, prompt_set, descriptor,
        any_value(n) filter (stratum = 'all') as n,
        any_value(n_layers) filter (stratum = 'all') as n_layers,
        any_value(pearson_r) filter (stratum = 'all') as r,
        any_value(pearson_low * pearson_high > 0) filter (stratum = 'all') as is_sure,
        count(pearson_r) = 4 and min(sign(pearson_r)) = max(sign(pearson_r)) as keeps_sign
    from answer
    group by model_id, prompt_set, descriptor
),

counts as (
    select
        model_id, prompt_set,
        max(n) as n,
        max(n_layers) as n_layers,
        count(*) filter (is_sure) as n_sure,
        count(is_sure) as n_intervals,
        count(*) filter (is_sure and keeps_sign) as n_keeping,
        string_agg(format('{} {:.2f}', descriptor, r), ', ' order by abs(r) desc, descriptor) filter (is_sure) as named
    from thirds
    group by model_id, prompt_set
)

select
    model_id,
    format(
        'Over {} heads of {} layers, {} of {} descriptors have a correlation with entropy whose 95% interval leaves '
        || 'out chance, 0{}; {} of these keep their sign in every third of the layers.',
        n, n_layers, n_sure, n_intervals, coalesce(' (' || named || ')', ''), n_keeping
    ) as sentence
from counts
where n_intervals > 0
qualify is_largest_set(model_id, prompt_set, n)
order by model_id
