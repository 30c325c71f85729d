--| about = """
--| the smallest and the largest mean temperature to the anchor, and how far the sizes of the weights alone explain \
--| it"""
with

temperatures as (
    select
        model_id, operator, anchor_layer, layer,
        max(mean_temperature) filter (series = 'measured') as temperature,
        max(mean_temperature) filter (series = 'chance') as chance
    from answer
    group by model_id, operator, anchor_layer, layer
    having max(mean_temperature) filter (series = 'measured') is not null
    qualify is_first_operator(model_id, operator)
)

select
    model_id,
    format(
        'Over {} layers the mean temperature to layer {} ({}) runs from {:.2f} in layer {} to {:.2f} in layer {}',
        count(*), any_value(anchor_layer), any_value(operator),
        min(temperature), where_least(temperature, layer), max(temperature), where_most(temperature, layer)
    )
    || coalesce(
        format(
            '; by the norms of the weights alone random heads would have from {:.2f} to {:.2f}.',
            min(chance), max(chance)
        ),
        '.'
    ) as sentence
from temperatures
group by model_id
order by model_id
