"""Tasks: what a model predicts. Each task has its labels, metrics, decision rule, criteria and card sections."""
