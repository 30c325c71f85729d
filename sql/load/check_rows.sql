-- Of the load's rows, how many have a key that is not above that of the row before (none proves the keys unique and the
-- rows sorted), how many a number that is not finite, and how many break the rule in sql/checks/.
-- They are read by load/section.sql, several joined by `union all`, which threads scan side by side. Nulls pass:
-- columns that may not be null say so in their table.
select
    count(*) filter ({not_above_previous}) as n_not_above,
    count(*) filter ({not_finite}) as n_not_finite,
    count(*) filter ({broken}) as n_broken
from ({sections});
