--| title = "Which measured quantity of a model goes with what is said of it?"
--| theme = "Further questions"
--| reading = """
--| Each dot is Pearson's r over the models that have the tag, its bar a 95% interval from 1,000 draws of whole \
--| families, as models of one aren't independent; the tick is Spearman's. TAG is one of `make tags`, all without it; \
--| BY groups models in place of the family, as BY=tag:lineage. Under three families nothing is said, and with few the \
--| bars are too short. Of the two dozen quantities one in twenty leaves out 0 by chance alone; log10_parameters says \
--| what size does by itself."""
--| routine = "models_against_tag"
--| [chart]
--| mark = {type = "point", filled = true, size = 50, opacity = 1}
--| rules = [{x = 0, label = ""}]
--| x = {shorthand = "pearson_r:Q", scale = {domain = [-1, 1]}, axis = {values = [-1, -0.5, 0, 0.5, 1]}}
--| x_title = "Pearson r with the tag, over models"
--| y = {shorthand = "quantity:N", title = "", sort = {field = "pearson_r", op = "mean", order = "descending"}}
--| facet = "tag:N"
--| height = {step = 16}
--| [[chart.layers]]
--| mark = {type = "rule", strokeWidth = 1.5}
--| x = "pearson_low"
--| x2 = "pearson_high"
--| [[chart.layers]]
--| mark = {type = "tick", thickness = 1.5, size = 10, color = "black"}
--| x = "spearman_r"
--| [parameters]
--| tag = {}
--| by = {default = "family"}
with

-- a name that there isn't is refused: an answer without rows, or with each model as its own family, would mislead
asked as (
    select
        if(
            $tag is null or $tag in (select tag from tags), $tag,
            error(format(
                'no tag {}; there are {}', $tag,
                coalesce((select string_agg(distinct tag, ', ' order by tag) from tags), 'none')
            ))
        ) as tag,
        if(
            $by in (select property from model_groups), $by,
            error(format(
                'no model has {}; BY is one of {}', $by,
                (select string_agg(distinct property, ', ' order by property) from model_groups)
            ))
        ) as property
),

families as (
    select model_groups.model_id, model_groups.value as family
    from model_groups
    inner join asked on model_groups.property = asked.property
)

select
    tags.tag, tags.model_id, model_quantities.quantity,
    coalesce(families.family, tags.model_id) as family,
    tags.number, model_quantities.value
from asked
inner join tags on asked.tag is null or tags.tag = asked.tag
inner join model_quantities on tags.model_id = model_quantities.model_id
left join families on tags.model_id = families.model_id
where tags.number is not null
order by tags.tag, model_quantities.quantity, tags.model_id
