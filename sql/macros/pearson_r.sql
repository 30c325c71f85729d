--| about = """
--| Aggregate: Pearson r over the rows that have both numbers, -1 to 1; null where one of the two is constant, \
--| or under `least` such rows"""
create or replace macro pearson_r(y, x, least := 2) as
    -- corr of a constant is NaN, which sorts above every number, and of two points 1 or -1
    case when regr_count(y, x) >= least then nullif(corr(y, x), 'nan'::double) end;
