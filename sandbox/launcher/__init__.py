"""Many runs: the grid, pools, the worker, the screen, equal budgets."""
