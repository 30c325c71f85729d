--| about = """
--| the mean residual of the other layers to the anchor, the nearest and the farthest of them, and that of random \
--| heads"""
with

residuals as (
    select
        model_id, operator, anchor_layer, layer,
        if(series = 'measured', mean_residual, null) as residual,
        if(series = 'chance', mean_residual, null) as chance
    from answer
    where layer <> anchor_layer
    qualify is_first_operator(model_id, operator)
)

select
    model_id,
    format(
        'Fitted to layer {}, the {} other layers leave {:.3f} of their spectra ({}) on average, from {:.3f} in layer {}'
        || ' to {:.3f} in layer {}',
        anchor_layer, count(residual), avg(residual), any_value(operator),
        min(residual), where_least(residual, layer), max(residual), where_most(residual, layer)
    )
    || coalesce(format('; random heads leave {:.3f}.', any_value(chance)), '.') as sentence
from residuals
group by model_id, anchor_layer
having count(residual) > 0
order by model_id
