--| question = "Is the operator of one layer the operator of another, over all heads?"
--| grain = ["model_id", "operator", "layer", "other_layer"]
--| kept = true
--| [keys]
--| other_layer = """
--| the layer compared with, the anchor of temperature; every ordered pair is there, layer = other_layer too"""
--| [columns]
--| mean_cosine = """
--| mean over heads of operator_cosines.cosine, -1 to 1, 0 by chance; like all means null where every head is zero in \
--| a layer"""
--| std_cosine = "population std of the cosine over heads"
--| mean_temperature = "mean over heads of <M, M'> / |M'|^2"
--| mean_residual = "mean over heads of sqrt(1 - cosine^2), 0 to 1"
--| residual_of_mean = "sqrt(1 - mean_cosine^2), 0 to 1; not the mean of the residuals"
--| chance_std_cosine = """
--| std of mean_cosine for independent heads of Gaussian factors, 1 / (hidden_size sqrt(n_heads)); null without \
--| hidden_size, and where layer = other_layer"""
--| n_heads = "heads that are in both layers and zero in neither"
create or replace view operator_cosines_by_layer as
with

means as (
    select
        model_id, operator, layer, other_layer,
        avg(cosine) as mean_cosine,
        stddev_pop(cosine) as std_cosine,
        avg(temperature) as mean_temperature,
        avg(residual) as mean_residual,
        count(cosine) as n_heads
    from operator_cosines
    group by model_id, operator, layer, other_layer
)

select
    means.model_id, means.operator, means.layer, means.other_layer,
    means.mean_cosine, means.std_cosine, means.mean_temperature, means.mean_residual,
    sqrt(1 - means.mean_cosine * means.mean_cosine) as residual_of_mean,
    case
        when means.layer <> means.other_layer then chance_std_cosine(models.hidden_size, means.n_heads)
    end as chance_std_cosine,
    means.n_heads
from means
inner join models on means.model_id = models.model_id;
