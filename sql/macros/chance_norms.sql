--| about = "The largest singular value of random factors with each head's norms: null_head_spectra at k = 0"
create or replace macro chance_norms(model := null) as table
    select model_id, operator, layer, head, mean_sigma
    from null_head_spectra
    where k = 0 and is_chosen(model_id, model);
