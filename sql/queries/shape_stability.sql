--| title = "Do heads keep the shape of their spectra through the layers?"
--| theme = "Rescaled copies"
--| reading = """
--| Each circle is the mean over heads and pairs of layers of the cosine of two spectra; the cross is chance, what \
--| heads of random factors have. To the right of 0.98 the verdict is very stable, of 0.9 approximately stable, else \
--| not stable: a circle left of its cross is less alike than chance, whatever the verdict."""
--| [chart]
--| mark = {type = "point", size = 90, filled = false, strokeWidth = 2}
--| x = {shorthand = "mean_cosine:Q", scale = {zero = false}}
--| y = "model_id:N"
--| shape = {shorthand = "series:N", scale = {range = ["circle", "cross"]}}
--| height = {step = 44}
--| facet = "operator:N"
--| rules = [{x = 0.9, label = "0.9"}, {x = 0.98, label = "0.98"}]
--| tooltip = [
--|     "model_id", "operator", "series", "mean_cosine", "std", "lowest_head", "highest_head", "mean_log_correlation",
--|     "n_heads", "n_pairs", "verdict",
--| ]
--| [chart.crowd]
--| some = "intervals"
--| many = "distribution"
--| where = "series = 'measured'"
--| shape = ""
--| layers = [{mark = {type = "tick", color = "black", thickness = 2}, x = "chance_cosine"}]
--| [parameters]
--| model = {}
with

stabilities as (
    select *
    from shape_stability
    where is_chosen(model_id, $model)
),

series as (
    select
        model_id, operator, 'measured' as series, mean as mean_cosine, null_mean as chance_cosine,
        std, min as lowest_head, max as highest_head, mean_log_correlation, n_heads, n_pairs, verdict
    from stabilities
    union all by name
    select model_id, operator, 'chance' as series, null_mean as mean_cosine
    from stabilities
    where null_mean is not null
)

select *
from series
order by model_id, operator, series desc
