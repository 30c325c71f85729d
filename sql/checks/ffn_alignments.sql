--| wanted = "energy_fraction and other_layers_mean in [0, 1]"
select layer, head, side, weight, expert, energy_fraction, other_layers_mean
from ffn_alignments
where
    model_key = $model_key
    and (energy_fraction not between 0 and 1 or other_layers_mean not between 0 and 1)
limit 1;
