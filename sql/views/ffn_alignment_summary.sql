--| question = "Over all layers, does a head lie where the MLPs read, beside it, or as chance would have it?"
--| grain = ["model_id", "head", "side", "weight", "expert"]
--| [columns]
--| mean = "mean energy_fraction over layers, 0 to 1; null for a head that is zero throughout"
--| std = "population std over layers"
--| min = "smallest energy_fraction"
--| min_layer = "its layer, the first on a tie"
--| max = "largest energy_fraction"
--| max_layer = "its layer, the first on a tie"
--| chance = "subspace_size / hidden_size: the share that random directions hold; null where hidden_size is unknown"
--| ratio = "mean / chance, 0 and up, 1 by chance; null where one of them is"
--| verdict = "verdict_alignment of ratio: coupled, avoids or near chance; null where ratio is"
--| other_layers_mean = """
--| mean over layers of ffn_alignment's other_layers_mean: the same weights on the head's directions of other layers"""
--| layers_above_chance = "layers with energy_fraction > chance; null where chance is"
--| layers_below_chance = "layers with energy_fraction < chance; null where chance is"
--| n_layers = "layers in the mean"
create or replace view ffn_alignment_summary as
with

summaries as (
    select
        model_id, head, side, weight, expert,
        avg(energy_fraction) as mean,
        stddev_pop(energy_fraction) as std,
        min(energy_fraction) as min,
        -- the order decides ties
        arg_min(layer, energy_fraction order by layer) as min_layer,
        max(energy_fraction) as max,
        arg_max(layer, energy_fraction order by layer) as max_layer,
        any_value(chance) as chance,
        avg(other_layers_mean) filter (energy_fraction is not null) as other_layers_mean,
        count(*) filter (energy_fraction > chance) as n_above,
        count(*) filter (energy_fraction < chance) as n_below,
        count(energy_fraction) as n_layers
    from ffn_alignment
    group by model_id, head, side, weight, expert
)

select
    model_id, head, side, weight, expert, mean, std, min, min_layer, max, max_layer, chance,
    mean / chance as ratio,
    verdict_alignment(ratio) as verdict,
    other_layers_mean,
    if(chance is null, null, n_above) as layers_above_chance,
    if(chance is null, null, n_below) as layers_below_chance,
    n_layers
from summaries;
