"""What became of predictions: the tables `prediction` and `outcome`, and how labels join them."""
