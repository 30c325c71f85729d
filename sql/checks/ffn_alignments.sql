--| wanted = "energy_fraction in [0, 1]"
select layer, head, side, weight, expert, energy_fraction
from ffn_alignments
where model_key = $model_key and energy_fraction not between 0 and 1
limit 1;
