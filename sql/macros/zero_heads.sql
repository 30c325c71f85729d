--| about = "The heads whose metric is zero, so that rounding chose their directions"
create or replace macro zero_heads() as table
    select models.model_id, head_norms.layer, head_norms.head, true as is_zero
    from head_norms
    inner join models on head_norms.model_key = models.model_key
    where head_norms.operator = 'metric' and head_norms.metric_fro_sq = 0;
