--| question = "Does the MLP of a layer read the directions that its attention heads read?"
--| grain = ["model_id", "layer", "head", "side", "weight", "expert"]
--| [columns]
--| subspace_size = "leading directions of the head"
--| energy_fraction = """
--| share of the weight's energy within them, |W U|^2 / |W|^2, 0 to 1; null for a zero head or matrix"""
--| chance = "subspace_size / hidden_size: the share that random directions hold; null where hidden_size is unknown"
--| ratio = "energy_fraction / chance, 0 and up, 1 by chance; null where one of them is"
--| other_layers_mean = """
--| mean of the same share over the head's directions in all other layers: what a layer of its own must beat; null \
--| without another"""
--| is_degenerate = "whether rounding chose some of the head's directions: they are cut in a tie or at zero"
create or replace view ffn_alignment as
with

facts as (
    select
        models.model_id, ffn_alignments.layer, ffn_alignments.head, ffn_alignments.side, ffn_alignments.weight,
        ffn_alignments.expert, ffn_alignments.subspace_size,
        ffn_alignments.subspace_size / models.hidden_size as chance,
        ffn_alignments.energy_fraction::double as energy_fraction,
        ffn_alignments.other_layers_mean::double as other_layers_mean,
        ffn_alignments.is_degenerate,
        false as is_zero
    from ffn_alignments
    inner join models on ffn_alignments.model_key = models.model_key
    union all by name
    -- not joined: a filter on the model would reach only one side of a join
    from zero_heads()
),

shares as (
    select
        * exclude (is_zero, energy_fraction),
        -- rounding chose the directions of a zero head, so they have no share
        if(bool_or(is_zero) over (partition by model_id, layer, head), null, energy_fraction) as energy_fraction
    from facts
)

select
    model_id, layer, head, side, weight, expert, subspace_size, energy_fraction, chance,
    energy_fraction / chance as ratio,
    other_layers_mean, is_degenerate
from shares
where side is not null;
