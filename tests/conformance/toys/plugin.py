"""Twelve small networks, one of each kind, written from docs/contract.md alone."""

from hub import Family, hookimpl

#: Module and class to the keywords of the architecture that the kit is run on.
TOYS = {
    "nextlike:NextLike": dict(depths=(1, 2, 1), widths=(16, 24, 32), hidden=48),
    "flat:Flat": dict(widths=(16, 24, 32), hidden=64),
    "wide:Wide": dict(depths=(1, 2, 1), widths=(16, 24, 32), last=96),
    "tokens:Tokens": dict(img_size=(32, 32), width=32, depth=3),
    "late:Late": dict(width=32, depth=3),
    "taught:Taught": dict(img_size=(32, 32), width=32, depth=3),
    "levit:Levit": dict(widths=(32, 48), depths=(2, 1), heads=(2, 3)),
    "former:Former": dict(widths=(16, 24, 32), depths=(1, 2, 1), heads=2),
    "hrnet:HRNet": dict(widths=(8, 16, 24), depth=1, head_widths=(16, 24, 32)),
    "focal:FocalPyramid": dict(widths=(16, 24, 32), depths=(1, 2, 1)),
    "sam:SamEncoder": dict(
        width=32, depth=3, heads=2, neck=24, window=3, global_blocks=(2,), img_size=(64, 64)
    ),
    "mobile:Mobile": dict(widths=(8, 12, 16), depths=(1, 2, 2), kernels=(3, 5, 5), hidden=64),
}


@hookimpl
def hub_models():
    return [
        Family(
            name=(name := f"toy_{model.partition(':')[0]}"),
            model=f"hub_toys.{model}",
            variants={name: keywords},
        )
        for model, keywords in TOYS.items()
    ]
