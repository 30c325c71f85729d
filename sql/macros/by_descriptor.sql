--| about = """
--| A relation with the columns of head_predictors, one row a head and descriptor: its name and its value in place \
--| of a column each"""
create or replace macro by_descriptor(heads) as table
    select *
    from query_table(heads)
        unpivot include nulls (descriptor_value for descriptor in (columns(* exclude (
            model_id, operator, prompt_set, layer, head, stratum, entropy_nats, logit_std, entropy_without_sink_nats
        ))));
