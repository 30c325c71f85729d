-- How many rows the load has, and in one scan how many of them have a key that is not above that of the row before
-- (none proves the keys unique and the rows sorted), have a number that is not finite, and break the rule in
-- sql/checks/. lag() over () follows the stored order in one streaming pass, in little memory. The filter comes
-- first, so that a row without fault costs one look. Nulls pass: columns that may not be null say so in their table.
select
    (select count(*) from {table} where {scope}) as n_rows,
    count(*) filter ({not_above_previous}) as n_not_above,
    count(*) filter ({not_finite}) as n_not_finite,
    count(*) filter ({broken}) as n_broken
from (select *, {previous} from {table} where {scope})
where {not_above_previous} or {not_finite} or {broken};
