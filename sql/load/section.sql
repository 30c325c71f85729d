-- Rows at fault among those from one row to another, both counted in: the next section begins with the row that ends
-- this one, so every row is compared with the one before it. lag() over () follows the stored order in one streaming
-- pass, in little memory; a row without fault costs one look.
select *
from (select *, {previous} from {table} where {scope} and rowid between {first} and {last})
where {fault}
