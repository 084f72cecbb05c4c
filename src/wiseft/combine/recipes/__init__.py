"""Merge recipes, one file each.

A file has `Options` and `Inputs`, models of what `wiseft combine` is told and given, and
`apply(options, inputs, device)`, which returns a `wiseft.combine.recipe.Mixture` and alone
imports torch.
"""
