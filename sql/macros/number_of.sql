--| about = """
--| The number that a text is, a date such as 2024-07-01 as its year with the fraction that has passed; null where it \
--| is none."""
create or replace macro number_of(value) as
    case
        when regexp_full_match(value, '[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?')
        then nullif(nullif(try_cast(value as double), 'infinity'), '-infinity')
        when regexp_full_match(value, '\d{4}-\d{2}-\d{2}')
        then year(try_cast(value as date))
            + (dayofyear(try_cast(value as date)) - 1)
            / dayofyear(make_date(year(try_cast(value as date)), 12, 31))
    end;
