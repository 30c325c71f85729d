-- The rows of the models of one chunk, in the temporary table `made`, as plausible as views, verdicts and verify want:
-- spectra fall at a rate that the family sets, entropy follows it, products of spectra are those of the rows, and what
-- must add up does. draw(…) is a number in [0, 1) that hangs on the seed and its arguments alone.

create or replace temp table made_layers as
select
    made.*, layer, layer % 2 = 0 or not is_linear as is_measured,
    case
        when is_linear and layer % 2 = 1 then 'linear'
        when window_size is not null and layer % 6 <> 5 then 'sliding'
        else 'full'
    end as attention_kind,
    layer / greatest(n_layers - 1, 1) as depth
from (select *, unnest(range(n_layers))::smallint as layer from made) as made
order by model_key, layer;

insert into models by name
select
    model_id, model_key, name, revision, revision_order, 'made up' as source, checkpoint, stack, weights_sha256,
    architecture, n_layers, n_heads, n_kv_heads, head_dim, hidden_size, ffn_size, 'bfloat16' as dtype,
    head_dim ** -0.5 as attention_scale, architecture like 'gemma%' as has_qk_norm,
    architecture = 'qwen2' as has_qk_bias, position_encoding, family, n_parameters
from made;

-- a benchmark that larger models and flatter spectra do better at, and luck
insert into model_tags by name
select model_key, tag, value
from (
    select
        model_key,
        unnest([
            {
                'tag': 'score',
                'value': format('{:.1f}', 8 * ln(n_parameters) - 20 * rate + 10 * draw('score', model_key, 0, 0))
            },
            {'tag': 'licence', 'value': if(draw('licence', model_key, 0, 0) < 0.5, 'open', 'research')}
        ], recursive := true)
    from made
);

insert into layers by name
select
    model_key, layer, n_heads, n_kv_heads, head_dim, attention_kind,
    if(attention_kind = 'sliding', window_size, null) as window_size, is_measured
from made_layers;

create or replace temp table made_heads as
select
    * replace (
        -- middle layers fall faster, and each head in its own way
        rate * (1 + 0.5 * sin(depth * pi()) + 0.5 * (draw('rate', model_key, layer, head) - 0.5)) as rate
    ),
    exp(draw('size', model_key, layer, head) - depth) as size,
    has_zero_head and layer = 2 and head = 1 as is_zero
from (select *, unnest(range(n_heads))::smallint as head from made_layers where is_measured)
order by model_key, layer, head;

create or replace temp table made_spectra as
with

operators as (
    select 'head_product' as operator, 1.6 as factor, 1.4 as steeper
    union all
    select 'metric', 1, 1
    union all
    select 'metric_folded', 2.5, 1.1
)

select
    made_heads.* replace (if(is_zero, 0, size * factor) as size, rate * steeper as rate), operator
from made_heads
cross join operators
where operator <> 'metric_folded' or is_folded
order by model_key, operator, layer, head;

insert into singular_values by name
select
    model_key, operator, layer, head, k,
    -- a draw of less than a step keeps the order
    size * exp(-rate * (k + 0.8 * draw(operator, model_key, layer, head, k)) / head_dim) as sigma
from (select *, unnest(range(head_dim)) as k from made_spectra);

insert into eigenvalues by name
select
    model_key, operator, layer, head, k,
    0.4 * size * exp(-rate * (k + 0.8 * draw('eigenvalue', model_key, operator, layer, head, k)) / (2 * head_dim))
    * if(draw('sign', model_key, layer // 2, head, k) < 0.5 + 0.2 * depth, 1, -1) as eigenvalue
from (
    select *, unnest(range(least(2 * head_dim, hidden_size))) as k
    from made_spectra
    where operator <> 'head_product' and stack is distinct from 'cross'
);

create or replace temp table made_lists as
select model_key, operator, head, layer, list(sigma::double order by k) as sigmas
from singular_values
where model_key in (select model_key from made)
group by model_key, operator, head, layer;

insert into head_norms by name
with

squares as (
    select model_key, operator, layer, head, list_inner_product(sigmas, sigmas) as square
    from made_lists
),

traces as (
    select model_key, operator, layer, head, sum(eigenvalue::double) as trace
    from eigenvalues
    where model_key in (select model_key from made)
    group by model_key, operator, layer, head
)

select
    squares.model_key, squares.operator, squares.layer, squares.head,
    squares.square as metric_fro_sq,
    traces.trace,
    sqrt(squares.square * made.hidden_size) as w_q_fro_sq,
    sqrt(squares.square * made.hidden_size) as w_k_fro_sq,
    products.square as head_product_fro_sq
from squares
inner join made using (model_key)
left join traces using (model_key, operator, layer, head)
left join squares as products
    on squares.model_key = products.model_key
    and squares.layer = products.layer
    and squares.head = products.head
    and squares.operator = 'metric'
    and products.operator = 'head_product'
where squares.operator <> 'head_product'
order by squares.model_key, squares.operator, squares.layer, squares.head;

insert into spectral_grams by name
select
    here.model_key, here.operator, here.head, here.layer, there.layer as other_layer,
    list_inner_product(here.sigmas, there.sigmas) as gram
from made_lists as here
inner join made_lists as there using (model_key, operator, head)
where here.layer <= there.layer
order by here.model_key, here.operator, here.head, here.layer, other_layer;

insert into grams by name
select
    model_key, operator, head, layer, other_layer,
    gram * if(
        layer = other_layer, 1,
        0.3 * exp(-(other_layer - layer) / 3)
        + 0.1 * (draw('gram', model_key, operator, head, layer, other_layer) - 0.5)
    ) as gram
from spectral_grams
where operator <> 'head_product' and model_key in (select model_key from made)
order by model_key, operator, head, layer, other_layer;

create or replace temp table made_pairs as
select
    here.model_key, here.head, here.layer, there.layer as other_layer, here.hidden_size, here.head_dim,
    there.layer - here.layer as distance,
    here.is_zero or there.is_zero as is_degenerate,
    draw('pair', here.model_key, here.head, here.layer, there.layer) as drawn
from made_heads as here
inner join made_heads as there using (model_key, head)
where here.layer < there.layer
order by here.model_key, here.head, here.layer, other_layer;

insert into eigenvector_overlaps by name
select model_key, head, layer, other_layer, drawn * drawn as top1_overlap, is_degenerate
from made_pairs;

insert into principal_cosines by name
select
    model_key, head, 'eigen' as basis, layer, other_layer, k,
    (0.3 + 0.6 * exp(-distance / 5)) * exp(-0.1 * (k + 0.8 * draw('cosine', model_key, head, layer, other_layer, k)))
        as cosine,
    is_degenerate
from (select *, unnest(range(least($n_eigen, 2 * head_dim))) as k from made_pairs);

create or replace temp table made_sides as
select 'key' as side
union all
select 'query';

insert into side_overlaps by name
select
    model_key, head, side, layer, other_layer,
    least($subspace_size, head_dim) as subspace_size,
    least(1, (least($subspace_size, head_dim) / hidden_size)
    + 0.3 * exp(-distance / 4) * draw(side, model_key, head, layer, other_layer)
    -- a boundary in the middle of the stack
    * if(layer < 6 and other_layer >= 6, 0.4, 1)) as overlap,
    is_degenerate
from made_pairs
cross join made_sides
order by model_key, head, side, layer, other_layer;

insert into head_matches by name
select
    model_key, side, layer, head, rank,
    -- another head of the layer, or the same one of another
    if(rank < n_heads - 1, layer, 2 * ((layer // 2 + rank) % n_measured)) as other_layer,
    if(rank < n_heads - 1, (head + rank + 1) % n_heads, head) as other_head,
    least($subspace_size, head_dim) as subspace_size,
    least(1, least($subspace_size, head_dim) / hidden_size + 0.4)
    * (1 - 0.1 * (rank + 0.8 * draw(side, 'match', model_key, layer, head, rank))) as overlap,
    least(0.4, least($subspace_size, head_dim) / hidden_size) as mean_overlap,
    is_zero as is_degenerate
from (select *, unnest(range($n_matches))::smallint as rank from made_heads cross join made_sides)
order by model_key, side, layer, head, rank;

create or replace temp table made_matrices as
with

matrices as (
    select *, unnest([
        {'weight': 'q', 'n_rows': n_heads * head_dim, 'n_cols': hidden_size},
        {'weight': 'k', 'n_rows': n_kv_heads * head_dim, 'n_cols': hidden_size},
        {'weight': 'v', 'n_rows': n_kv_heads * head_dim, 'n_cols': hidden_size},
        {'weight': 'o', 'n_rows': hidden_size, 'n_cols': n_heads * head_dim},
        {'weight': 'gate', 'n_rows': ffn_size, 'n_cols': hidden_size},
        {'weight': 'up', 'n_rows': ffn_size, 'n_cols': hidden_size},
        {'weight': 'down', 'n_rows': hidden_size, 'n_cols': ffn_size}
    ], recursive := true)
    from made_layers
)

select *, unnest(range(if(weight in ('gate', 'up', 'down'), n_experts, 1)))::smallint as expert
from matrices
where has_gate or weight <> 'gate'
order by model_key, layer, weight, expert;

insert into weights by name
select model_key, layer, weight, expert, n_rows, n_cols
from made_matrices;

insert into weight_singular_values by name
select
    model_key, layer, weight, expert, k,
    10 * exp(
        -(0.6 + rate / 3 * abs(0.6 - depth)) * (k + 0.8 * draw(weight, model_key, layer, expert, k))
        / least(n_rows, n_cols)
    ) as sigma
from (select *, unnest(range(least(n_rows, n_cols))) as k from made_matrices);

insert into ffn_alignments by name
select
    made_heads.model_key, made_heads.layer, made_heads.head, side, weight, expert,
    least($subspace_size, made_heads.head_dim) as subspace_size,
    least(1, least($subspace_size, made_heads.head_dim) / made_heads.hidden_size
    * (0.6 + 1.5 * draw(side, weight, made_heads.model_key, made_heads.layer, made_heads.head, expert)))
        as energy_fraction,
    least(1, least($subspace_size, made_heads.head_dim) / made_heads.hidden_size) as other_layers_mean,
    made_heads.is_zero as is_degenerate
from made_heads
inner join made_matrices using (model_key, layer)
cross join made_sides
where weight in ('gate', 'up')
order by made_heads.model_key, made_heads.layer, made_heads.head, side, weight, expert;

insert into conformance by name
select model_key, layer, head, 1e-6 * draw('gate', model_key, layer, head) as max_rel_error, 'split' as layout
from made_heads;

insert into attention_stats by name
with

prompted as (
    select
        *,
        50 + 10 * prompt as n_queries,
        -- flat spectra go with wide attention
        greatest(0.02, least(0.98, 0.9 - 0.12 * rate + 0.2 * draw('entropy', model_key, layer, head)
        + 0.03 * draw('prompt', model_key, prompt, layer, head))) as fraction
    from (select *, unnest(range($n_prompts)) as prompt from made_heads where has_attention)
)

select
    model_key, $prompt_set as prompt_set, prompt, layer, head, n_queries,
    n_queries - 1 as n_multi_queries,
    fraction * (ln(n_queries) - 1) as entropy_nats,
    fraction as entropy_fraction,
    1 + 3 * (1 - fraction) + draw('std', model_key, layer, head) as logit_std,
    1.5 + 3 * (1 - fraction) as logit_std_pooled,
    0.05 + 0.9 * (1 - fraction) as top1_weight,
    (1 - fraction) * draw('sink', model_key, layer, head) as sink_weight,
    fraction * (ln(n_queries) - 1.2) as entropy_without_sink_nats,
    'float32' as dtype
from prompted
order by model_key, prompt, layer, head;

insert into eigenvectors by name
with

vectors as (
    select
        model_key, layer, head, k,
        list_transform(
            range(hidden_size), lambda i: draw('vector', model_key, layer, head, k, i) - 0.5
        ) as vector
    from (select *, unnest(range(least($n_eigen, 2 * head_dim))) as k from made_heads where has_vectors)
)

select
    model_key, layer, head, k,
    list_transform(vector, lambda value: value / sqrt(list_inner_product(vector, vector)))::float[] as vector
from vectors
order by model_key, layer, head, k;

insert into ingest_runs by name
select
    'made-' || model_key as run_id, model_key,
    timestamp '2026-01-01' + interval (model_key - $first_key) minute as started_at,
    started_at + interval 30 second as finished_at,
    'done' as status, 30 as seconds, 900 as peak_rss_mb, '{}' as options, '{}' as versions, '{}' as stages
from made;

insert into ingested_stages by name
select
    model_key, if(stage.name = 'attention', 'attention:' || $prompt_set, stage.name) as stage,
    left(weights_sha256, 16) as fingerprint, 'made-' || model_key as run_id, stage.version as version
from (select *, unnest($stages) as stage from made)
where stage.name <> 'attention' or has_attention;

insert into skipped_modules by name
select model_key, 'metric_folded' as module, 'variants' as stage, 'no gain before attention' as reason
from made
where not is_folded;
