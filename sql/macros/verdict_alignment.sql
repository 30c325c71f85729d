--| about = """
--| The verdict on an alignment as a multiple of chance: coupled above 1.5, avoids below 0.7, else near chance; \
--| null for a null"""
create or replace macro verdict_alignment(ratio) as
    case
        when ratio > 1.5 then 'coupled'
        when ratio < 0.7 then 'avoids'
        when ratio is not null then 'near chance'
    end;
