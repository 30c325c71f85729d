--| about = """
--| Window, for `qualify`: whether a row is of the operator that a model is shown by, the metric, \
--| or the first by name where an imported file has no metric"""
create or replace macro is_first_operator(model_id, operator) as
    dense_rank() over (partition by model_id order by operator <> 'metric', operator) = 1;
