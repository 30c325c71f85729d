-- The rows of some models in a table, and what stands for them in whatever order they lie. The mark is the hash of one
-- value of every type that a table has.
select
    {model_key} as model_key,
    '{table}' as table_name,
    count(*) as n_rows,
    (sum(hash({columns})) % 18446744073709551616)::ubigint as checksum,
    hash(
        1::bigint, 2::smallint, 3::integer, 4.5::float, 6.75::double, [8.125::float], true, 'nine',
        'a text of more than twelve bytes', null::integer, timestamp '2010-10-10 10:10:10', 11::ubigint
    ) as hash_mark
from {rows}
where {scope}
group by all
having n_rows > 0
