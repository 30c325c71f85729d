--| about = """
--| Whether a model is the one that was chosen (a text), or among those that were (a list); null chooses every model"""
create or replace macro is_chosen(its_model, chosen) as
    chosen is null
    or case
        -- = and in are not one: DuckDB passes = on to both sides of a join
        when typeof(chosen) = 'VARCHAR' then its_model = chosen::varchar
        else its_model in try_cast(chosen as varchar[])
    end;
