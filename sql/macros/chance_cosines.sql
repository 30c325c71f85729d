--| about = "null_cosines of a model's own head_dim, one row a model at most; of the one model, where one is given"
create or replace macro chance_cosines(model := null) as table
    select null_cosines.model_id, null_cosines.null_mean, null_cosines.null_residual
    from null_cosines
    inner join models
        on null_cosines.model_id = models.model_id
        and null_cosines.head_dim = models.head_dim
    where is_chosen(null_cosines.model_id, model);
