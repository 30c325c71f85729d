--| about = """
--| The verdict on the trends of overlap before and after a layer: convergence point where the first is above 0.3 \
--| and the second below -0.3, partial where the first alone is, else none; null where a trend is"""
create or replace macro verdict_trends(pre_trend, post_trend) as
    case
        when pre_trend is null or post_trend is null then null
        when pre_trend > 0.3 then if(post_trend < -0.3, 'convergence point', 'partial')
        else 'none'
    end;
