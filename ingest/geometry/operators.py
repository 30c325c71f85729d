"""The names of the variants: further operators of the same heads, beside `metric` and `head_product`.

folded: both factors hold the gain of the norm that feeds attention · biased: they hold the biases, as one more column ·
qk_normed: they hold the gains of q- and k-norm · position: they are of the features that latent attention has for
positions alone, the plain metric being of the others · rope_Δ: between the factors, of all features, stands the
rotation of a query Δ tokens after its key. Stored as `metric_<name>`.
"""

from eigenhouse.errors import EigenhouseError

NAMES = ("folded", "biased", "qk_normed", "position", *(f"rope_{distance}" for distance in (1, 4, 16, 64, 256)))
DEFAULT = "folded,biased,position,rope_1,rope_16"


def asked(variants: str) -> tuple[str, ...]:
    """The names in `all`, `none` or a list such as `folded,rope_16`. Raises EigenhouseError for any other."""
    if variants in ("all", "none", ""):
        return NAMES if variants == "all" else ()
    names = [name.strip().removeprefix("metric_") for name in variants.split(",")]
    if unknown := [name for name in names if name not in NAMES]:
        raise EigenhouseError(f"want VARIANTS=all, none or a list of {', '.join(NAMES)}; got {unknown[0]!r}")
    return tuple(name for name in NAMES if name in names)


def distance(name: str) -> int:
    """Δ of a rotation; 0 for any other variant."""
    return int(name.removeprefix("rope_")) if name.startswith("rope_") else 0
