--| about = """
--| Window, for `qualify`: whether a row is of the prompt set that a model is shown by, the one with the most heads, \
--| the first by name of several"""
create or replace macro is_largest_set(model_id, prompt_set, n_heads) as
    row_number() over (partition by model_id order by n_heads desc, prompt_set) = 1;
