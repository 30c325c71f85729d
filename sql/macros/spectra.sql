--| about = "singular_values with the name of each model, sigma as a double"
create or replace macro spectra(model := null) as table
    select
        models.model_id, singular_values.operator, singular_values.layer, singular_values.head, singular_values.k,
        singular_values.sigma::double as sigma
    from singular_values
    inner join models on singular_values.model_key = models.model_key
    where is_chosen(models.model_id, model);
