"""A folder of the machine as a source, and a linear model as an estimator."""
