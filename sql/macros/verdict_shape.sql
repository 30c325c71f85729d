--| about = """
--| The verdict on a mean shape cosine: very stable above 0.98, approximately stable above 0.9, else not stable; \
--| null for a null"""
create or replace macro verdict_shape(mean_cosine) as
    case
        when mean_cosine > 0.98 then 'very stable'
        when mean_cosine > 0.9 then 'approximately stable'
        when mean_cosine is not null then 'not stable'
    end;
