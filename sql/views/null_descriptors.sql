--| question = "How large and how flat would the spectrum of each head be if its factors were random?"
--| grain = ["model_id", "operator", "layer", "head"]
--| source = "macro descriptors, of mean_sigma in null_head_spectra"
--| [columns]
--| "*" = "tables/head_descriptor_rollup"
create or replace view null_descriptors as
select model_id, operator, layer, head, unnest(descriptors(mean_sigma))
from null_head_spectra
group by model_id, operator, layer, head;
