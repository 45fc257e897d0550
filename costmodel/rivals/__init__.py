"""Rivals of the latent model: what others publish and use, behind the same CostModel role.

| name | looks at | source |
|---|---|---|
| random, size | nothing; one measure of size | floors |
| ridge, forest | pooled features of the final program | scikit-learn |
| lightgbm, lightgbm_actions | pooled features of the final program; actions | LambdaRank trees |
| catboost | pooled features of the final program | the latent model's trees |
| xgboost | stores of the final program | TVM MetaSchedule |
| tenset_mlp | stores of the final program | TenSet |
| tlp, mamba | sequence of actions | TLP; TCL |
| pacm | stores, buffer accesses and loop nest | Pruner |

Make them by name with `foretune.costmodel.evaluation.registry`.
"""
