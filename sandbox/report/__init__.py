"""Run folders to pages: results, statistics, tables, plots, TensorBoard."""
